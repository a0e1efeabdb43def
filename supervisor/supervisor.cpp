#include "supervisor/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <chrono>

#include "common/log.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;

constexpr Millis kAcceptorStopMs = 2000;
constexpr Millis kOtherStopMs = 2000;
constexpr std::chrono::seconds kLate{10};

const char* phaseText(int phase) {
  static const char* const kTexts[] = {"nothing yet",
                                       "the custodian",
                                       "the forwarders and the prober",
                                       "an acceptor",
                                       "nobody: it serves",
                                       "the acceptors to leave",
                                       "the forwarders to end their sessions",
                                       "the prober to leave",
                                       "the custodian to leave",
                                       "nothing more"};
  return kTexts[phase];
}

// Beyond the step's own time, for those who are killed then to be dead.
constexpr std::chrono::seconds kStopSlack{5};

}  // namespace

int Supervisor::run() {
  listenForSignals();
  if (adopted_) workers_->adopt();
  service_.start();
  enter(Phase::kCustodian);
  io_.run();
  if (handedOn_)
    dir_.abandon();
  else
    dir_.removeFiles(!options_.externalCustodian);
  // A request that has outlived its deadline has threads that nobody can wait for, and so has a bus that hangs.
  if (!adminStopped_ || jobAsked_) ::_exit(kExitOrderly);
  adminStop_.join();
  return kExitOrderly;
}

void Supervisor::makeWorkers() {
  WorkerManager::Options options{dir_.path(), options_.programDir, config_.workers,
                                 options_.externalCustodian};
  WorkerManager::Handlers handlers;
  handlers.changed = [this] {
    // Dialled at once when it is back: until it has the table, its death and ours would be everybody's.
    if (workers_->anyReady(WorkerRole::kCustodian) && phase_ < Phase::kStoppingCustodian) custody_->start();
    advance();
    operations_->advance();
  };
  handlers.handedOver = [this](uint8_t row, const control::HandedOver& report) {
    operations_->handedOver(row, report);
  };
  handlers.renewed = [this](const control::Renewed& report) { operations_->renewed(report); };
  handlers.tookOver = [this](uint8_t row, const control::TookOver& report) {
    operations_->tookOver(row, report);
    obituaries_->tookOver(row, report);
  };
  handlers.died = [this](WorkerDeath death) {
    if (death.role == WorkerRole::kCustodian) custodyWatch_->lost();
    obituaries_->died(std::move(death));
  };
  handlers.upstreamChanged = [this](uint32_t upstream, uint32_t generation) {
    if (upstream < table_->sizes().upstreamSlots) serviceStatus_.noteUpstream(table_->upstream(upstream));
    if (upstreamChanged_) upstreamChanged_(upstream, generation);
  };
  handlers.noted = [this](const std::string& what) { serviceStatus_.note(what); };
  obituaries_.emplace(io_, *table_, dir_, events_, obituaryBook_);
  obituaries_->start();
  custodyWatch_.emplace(io_, *table_, [this] { publishStatus(); });
  workers_.emplace(io_, std::move(options), *table_, *doorbells_, sockets_, std::move(handlers));
  operations_.emplace(OperationTools{io_, *workers_, events_, config_.workers}, [this] { publishStatus(); });
  if (rollNote_) operations_->resume(rollNote_->operation, rollNote_->name);
  control_.emplace(io_, workers_->peerHandlers());
  auto incarnation = static_cast<uint32_t>(table_->header().nextIncarnation.fetch_add(1));
  custody_.emplace(io_, dir_.path(), incarnation, *table_, *doorbells_, sockets_);
  custody_->onFilled([this] {
    custodyFilled_ = true;
    custodyWatch_->filled();
    spdlog::info("the custodian holds what a successor needs");
    advance();
  });
}

// Called after each change of a worker's state; goes as far as it can.
void Supervisor::advance() {
  for (Phase before = phase_;; before = phase_) {
    switch (phase_) {
      case Phase::kCustodian:
        if (workers_->anyReady(WorkerRole::kCustodian) && custodyFilled_) enter(Phase::kForwarders);
        break;
      case Phase::kForwarders:
        if (workers_->settled(WorkerRole::kForwarder) && workers_->settled(WorkerRole::kProber))
          enter(Phase::kAcceptors);
        break;
      case Phase::kAcceptors:
        if (workers_->anyReady(WorkerRole::kAcceptor)) enter(Phase::kServing);
        break;
      case Phase::kStoppingAcceptors:
        if (workers_->gone(WorkerRole::kAcceptor)) enter(Phase::kStoppingForwarders);
        break;
      case Phase::kStoppingForwarders:
        if (workers_->gone(WorkerRole::kForwarder)) enter(Phase::kStoppingProber);
        break;
      case Phase::kStoppingProber:
        if (workers_->gone(WorkerRole::kProber) && adminWaited_) enter(Phase::kStoppingCustodian);
        break;
      case Phase::kStoppingCustodian:
        if (workers_->gone(WorkerRole::kCustodian)) enter(Phase::kStopped);
        break;
      case Phase::kPrepared:
      case Phase::kServing:
      case Phase::kStopped:
        break;
    }
    if (phase_ == before) break;
  }
  publishStatus();
}

void Supervisor::enter(Phase phase) {
  phase_ = phase;
  warnWhenLate();
  switch (phase) {
    case Phase::kCustodian:
      workers_->start(WorkerRole::kCustodian);
      return custody_->start();
    case Phase::kForwarders:
      workers_->start(WorkerRole::kForwarder);
      return workers_->start(WorkerRole::kProber);
    case Phase::kAcceptors:
      return workers_->start(WorkerRole::kAcceptor);
    case Phase::kServing:
      return serve();
    case Phase::kStoppingAcceptors:
      // The last copies of the listeners: nobody new arrives from here on.
      custody_->dropListeners({});
      sockets_.clear();
      service_.mayTake(milliseconds(kAcceptorStopMs) + kStopSlack);
      return workers_->stop(WorkerRole::kAcceptor, kAcceptorStopMs);
    case Phase::kStoppingForwarders:
      service_.mayTake(config_.management.shutdownTimeout + kStopSlack);
      return workers_->stop(WorkerRole::kForwarder, config_.management.shutdownTimeout.count());
    case Phase::kStoppingProber:
      service_.mayTake(config_.management.shutdownTimeout + kStopSlack);
      stopAdmin();
      return workers_->stop(WorkerRole::kProber, kOtherStopMs);
    case Phase::kStoppingCustodian:
      service_.mayTake(milliseconds(kOtherStopMs) + kStopSlack);
      custody_->stop();
      return workers_->stop(WorkerRole::kCustodian, kOtherStopMs);
    case Phase::kStopped:
      logInfo("stopped", {}, "stopped");
      control_->stop();
      sweepTimer_.cancel();
      return io_.stop();
    case Phase::kPrepared:
      return;
  }
}

void Supervisor::serve() {
  status_.ready = true;
  publishStatus();  // first: who hears that it is ready finds it so
  std::string places;
  for (const ListenerStatus& listener : status_.listeners)
    places += (places.empty() ? "" : ", ") + listener.host + ":" + std::to_string(listener.port) + " (" +
              listener.name + ")";
  logInfo("serving", {}, "listening on {}; admin API on {}:{}", places, config_.management.host, adminPort_);
  service_.ready();
  rollIfNoted();
}

void Supervisor::warnWhenLate() {
  lateTimer_.cancel();
  if (phase_ == Phase::kServing || phase_ == Phase::kStopped) return;
  lateTimer_.expires_after(kLate);
  lateTimer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    spdlog::warn("still waiting for {}", phaseText(static_cast<int>(phase_)));
    warnWhenLate();
  });
}

void Supervisor::listenForSignals() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    onSignal(signal);
    listenForSignals();
  });
}

void Supervisor::onSignal(int signal) {
  if (signal == SIGUSR2) return upgradeBySignal();
  if (signal == SIGHUP) {
    if (OperationAnswer answer = reload(); answer.status >= 300) spdlog::error("no reload: {}", answer.text);
    return;
  }
  if (signal == SIGTERM && !stopping() && !jobAsked_ && underServiceManager()) return stopOrHandOn();
  if (!stopping()) {
    logInfo("stopping", {}, "stopping (signal {}); once more: at once", signal);
    return beginStop();
  }
  spdlog::warn("killing what is left");
  adminWaited_ = true;
  workers_->killAll();
}

void Supervisor::publishStatus() {
  SupervisorStatus now = status_;
  now.ready = status_.ready && workers_->anyReady(WorkerRole::kAcceptor);
  now.workers = workers_->status();
  now.operation = operations_->status();
  now.custody = custodyWatch_->status();
  serviceStatus_.noteOperation(now.operation);
  board_.write(std::move(now));
}

std::string Supervisor::statusLine() const {
  bool accepts = phase_ == Phase::kServing && workers_->anyReady(WorkerRole::kAcceptor);
  std::string phase = accepts                     ? "serving"
                      : phase_ == Phase::kServing ? "no acceptor is ready"
                      : phase_ == Phase::kStopped ? "stopped"
                      : stopping()                ? "stopping, waiting for "
                                                  : "starting, waiting for ";
  if (phase.ends_with(' ')) phase += phaseText(static_cast<int>(phase_));
  return serviceStatus_.line(phase, *table_, operations_->status());
}

}  // namespace ppx
