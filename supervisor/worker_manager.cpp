#include "supervisor/worker_manager.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/log_settings.h"
#include "supervisor/worker_identity.h"

namespace ppx {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr Millis kStopSlackMs = 500;  // beyond its own deadline, before it is killed

bool sameFile(int a, int b) {
  struct stat one {
  }, other{};
  return ::fstat(a, &one) == 0 && ::fstat(b, &other) == 0 && one.st_ino == other.st_ino &&
         one.st_dev == other.st_dev;
}

}  // namespace

WorkerManager::WorkerManager(asio::io_context& io, Options options, Table& table, const Doorbells& doorbells,
                             const ListenerSockets& sockets, Handlers handlers)
    : io_(io),
      options_(std::move(options)),
      table_(table),
      doorbells_(doorbells),
      sockets_(sockets),
      handlers_(std::move(handlers)),
      lookTimer_(io),
      lookInterval_(lookIntervalOf(options_.workers)),
      lastLook_(monotonicMillis()) {
  for (WorkerRole role : roles()) addRows(role);
  armLook();
}

Millis WorkerManager::lookIntervalOf(const WorkersConfig& workers) {
  return std::clamp<Millis>(workers.heartbeatTimeout.count() / 5, 50, 1000);
}

WorkerManager::~WorkerManager() = default;

std::vector<WorkerRole> WorkerManager::roles() {
  return {WorkerRole::kCustodian, WorkerRole::kForwarder, WorkerRole::kProber, WorkerRole::kAcceptor};
}

std::string WorkerManager::programName(WorkerRole role) {
  return std::string("paradox-").append(workerRoleName(role));
}

void WorkerManager::addRows(WorkerRole role) {
  uint32_t count = role == WorkerRole::kForwarder  ? options_.workers.forwarders
                   : role == WorkerRole::kAcceptor ? options_.workers.acceptors
                                                   : 1;
  for (uint32_t i = 0; i < count; ++i) addRow(role, static_cast<uint8_t>(firstRowOf(role) + i));
}

void WorkerManager::addRow(WorkerRole role, uint8_t row) {
  workers_.emplace(row, std::make_unique<Worker>(io_, role, row, options_.workers));
}

ControlPeer::Handlers WorkerManager::peerHandlers() {
  ControlPeer::Handlers handlers;
  handlers.hello = [this](ControlPeer& peer, const control::Hello& hello, std::optional<UniqueFd> memfd) {
    onHello(peer, hello, std::move(memfd));
  };
  handlers.ready = [this](ControlPeer& peer) { onReady(peer); };
  handlers.closed = [this](ControlPeer& peer) { onClosed(peer); };
  handlers.upstreamChanged = [this](ControlPeer& peer, const control::UpstreamChanged& changed) {
    if (of(peer) != nullptr && handlers_.upstreamChanged)
      handlers_.upstreamChanged(changed.upstream, changed.generation);
  };
  handlers.handedOver = [this](ControlPeer& peer, const control::HandedOver& report) {
    if (Worker* worker = of(peer); worker != nullptr && handlers_.handedOver)
      handlers_.handedOver(worker->row, report);
  };
  handlers.tookOver = [this](ControlPeer& peer, const control::TookOver& report) {
    if (Worker* worker = of(peer); worker != nullptr && handlers_.tookOver)
      handlers_.tookOver(worker->row, report);
  };
  handlers.renewed = [this](ControlPeer& peer, const control::Renewed& report) {
    if (of(peer) != nullptr && handlers_.renewed) handlers_.renewed(report);
  };
  return handlers;
}

void WorkerManager::fire(Worker& worker, WorkerEvent event) {
  WorkerTransition transition = workerTransition(worker.state, event);
  if (worker.state != transition.next) changedSoon();
  worker.state = transition.next;
  act(worker, transition.action);
}

void WorkerManager::act(Worker& worker, WorkerAction action) {
  switch (action) {
    case WorkerAction::kNone:
    case WorkerAction::kReject:  // onHello does both: it has the hello
    case WorkerAction::kWelcome:
      return;
    case WorkerAction::kSpawn:
      return spawnInto(worker);
    case WorkerAction::kBackOff:
      return backOff(worker, 0);
    case WorkerAction::kAnnounce:
      return announce(worker);
    case WorkerAction::kKill:
      tell(LogAt::err, "worker_silent", worker, "is silent: killing it");
      worker.wasSilent = true;
      return killNow(worker.process);
    case WorkerAction::kBury:
      return bury(worker, true);
    case WorkerAction::kBuryForGood:
      return bury(worker, false);
    case WorkerAction::kAskToStop:
      return askToStop(worker);
    case WorkerAction::kWithdraw:
      return withdraw(worker);
    case WorkerAction::kCloseChannel:
      if (worker.peer) std::exchange(worker.peer, nullptr)->close();
      return;
  }
}

std::string WorkerManager::whyNot(const ControlPeer& peer, const control::Hello& hello, int memfd) const {
  auto found = workers_.find(hello.row);
  if (found == workers_.end() || found->second->role != hello.role)
    return "no worker of its role has its row";
  const Worker& worker = *found->second;
  if (worker.incarnation == 0 || worker.incarnation != hello.incarnation)
    return "its incarnation is not the one in its row";
  if (worker.process.pid != peer.pid()) return "its pid is not the one in its row";
  if (isDead(worker.process)) return "its process is dead";
  if (memfd >= 0 && !sameFile(memfd, table_.memfd())) return "it has another table";
  return "";
}

void WorkerManager::onHello(ControlPeer& peer, const control::Hello& said, std::optional<UniqueFd> memfd) {
  control::Hello hello = said;
  if (!nameExternal(peer, hello)) return;
  if (std::string why = whyNot(peer, hello, memfd ? memfd->get() : -1); !why.empty()) return peer.reject(why);
  Worker& worker = *workers_.at(hello.row);
  WorkerAction action = workerTransition(worker.state, WorkerEvent::kHello).action;
  if (action == WorkerAction::kReject) return peer.reject("its row is empty");
  if (worker.peer) worker.peer->close();
  peer.row = worker.row;
  worker.peer = peer.shared_from_this();
  worker.silence.restart();
  welcome(worker, hello.hasTable != 0);
  fire(worker, WorkerEvent::kHello);
  if (hello.ready != 0) fire(worker, WorkerEvent::kReady);
}

void WorkerManager::onReady(ControlPeer& peer) {
  if (Worker* worker = of(peer)) fire(*worker, WorkerEvent::kReady);
}

void WorkerManager::onClosed(ControlPeer& peer) {
  Worker* worker = of(peer);
  if (worker == nullptr) return;
  worker->peer = nullptr;
  fire(*worker, WorkerEvent::kChannelClosed);
}

WorkerManager::Worker* WorkerManager::of(ControlPeer& peer) {
  if (!peer.row) return nullptr;
  auto found = workers_.find(*peer.row);
  return found != workers_.end() && found->second->peer.get() == &peer ? found->second.get() : nullptr;
}

void WorkerManager::welcome(Worker& worker, bool knowsTable) {
  control::Welcome message;
  message.incarnation = static_cast<uint32_t>(worker.incarnation);
  if (auto log = LogSettings::from(table_.header().logging.load())) message.logLevel = log->of(worker.role);
  std::vector<int> descriptors{table_.memfd()};
  for (int bell : doorbells_.all()) descriptors.push_back(bell);
  worker.peer->send(message, descriptors);
  if (worker.role == WorkerRole::kAcceptor) sendListeners(worker);
  // What it may have missed while it had no channel.
  if (knowsTable)
    for (const control::WorkerDied& obituary : obituaries_) worker.peer->send(obituary);
  worker.peer->send(control::PeersChanged{});
}

void WorkerManager::sendListeners() {
  for (auto& [row, worker] : workers_)
    if (worker->role == WorkerRole::kAcceptor && worker->peer) sendListeners(*worker);
}

void WorkerManager::sendListeners(Worker& worker) {
  control::Listeners message;
  std::vector<int> descriptors;
  for (const auto& [row, socket] : sockets_) {
    message.rows[message.count++] = static_cast<uint8_t>(row);
    descriptors.push_back(socket.socket.get());
  }
  worker.peer->send(message, descriptors);
}

void WorkerManager::announce(Worker& worker) {
  worker.readySince = monotonicMillis();
  WorkerRow& entry = table_.worker(worker.row);
  const bool isSuccessor =
      worker.predecessor && static_cast<WorkerPlan>(entry.plan.load()) == WorkerPlan::kArriving;
  if (!isSuccessor) entry.plan.store(static_cast<uint32_t>(WorkerPlan::kStays));
  entry.ready.store(1);
  if (isSuccessor) failpoint("supervisor.successor_ready");
  logInfo("worker_ready",
          {{"worker", nameOf(worker)},
           {"row", worker.row},
           {"incarnation", worker.incarnation},
           {"worker_pid", worker.process.pid}},
          "{} is ready (pid {})", nameOf(worker), worker.process.pid);
  if (std::exchange(worker.comesBack, false) && handlers_.noted)
    handlers_.noted(nameOf(worker) + " restarted");
  if (worker.role == WorkerRole::kForwarder || worker.role == WorkerRole::kCustodian)
    tellPeersChanged(&worker);
}

void WorkerManager::tellPeersChanged(const Worker* except) {
  for (auto& [row, worker] : workers_)
    if (worker.get() != except && worker->peer) worker->peer->send(control::PeersChanged{});
}

void WorkerManager::stop(WorkerRole role, Millis deadline) {
  for (auto& [row, worker] : workers_)
    if (worker->role == role) stop(*worker, deadline);
  changedSoon();
}

void WorkerManager::stopRow(uint8_t row, Millis deadline) {
  stop(*workers_.at(row), deadline);
}

void WorkerManager::stop(Worker& worker, Millis deadline) {
  worker.wanted = false;
  worker.respawnTimer.cancel();
  forgetRespawn(worker);
  worker.stopDeadlineMs = static_cast<uint32_t>(deadline);
  fire(worker, WorkerEvent::kStopOrdered);
  if (worker.state == WorkerState::kStopping) killLater(worker, deadline + kStopSlackMs);
}

void WorkerManager::killLater(Worker& worker, Millis deadline) {
  worker.stopTimer.expires_after(milliseconds(deadline));
  worker.stopTimer.async_wait([this, each = &worker](const boost::system::error_code& error) {
    if (error || each->process.pid == 0) return;
    tell(LogAt::warn, "worker_late", *each, "has not left in time: killing it");
    end(*each);
  });
}

void WorkerManager::askToStop(Worker& worker) {
  if (!worker.peer) return;
  control::Stop message;
  message.deadlineMs = worker.stopDeadlineMs;
  worker.peer->send(message);
}

void WorkerManager::killAll() {
  for (WorkerRole role : roles()) stop(role, 0);
  for (auto& [row, worker] : workers_)
    if (worker->process.pid != 0) end(*worker);
}

// Not SIGKILL where that would be a crash to whoever starts it again.
void WorkerManager::end(Worker& worker) {
  worker.sentAway = true;
  if (isExternal(worker))
    terminate(worker.process);
  else
    killNow(worker.process);
}

bool WorkerManager::gone(WorkerRole role) const {
  return std::none_of(workers_.begin(), workers_.end(), [&](const auto& each) {
    return each.second->role == role && each.second->process.pid != 0;
  });
}

bool WorkerManager::anyReady(WorkerRole role) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& each) {
    return each.second->role == role && each.second->state == WorkerState::kReady;
  });
}

bool WorkerManager::settled(WorkerRole role) const {
  return anyReady(role) && std::none_of(workers_.begin(), workers_.end(), [&](const auto& each) {
           return each.second->role == role && (each.second->state == WorkerState::kStarting ||
                                                each.second->state == WorkerState::kGreeted);
         });
}

std::vector<WorkerStatus> WorkerManager::status() const {
  std::vector<WorkerStatus> out;
  for (const auto& [row, worker] : workers_)
    out.push_back({nameOf(*worker), worker->role, row, worker->process.pid, worker->incarnation,
                   workerStateName(worker->state), table_.worker(row).restarts.load()});
  return out;
}

std::string WorkerManager::nameOf(const Worker& worker) {
  std::string name = workerRoleName(worker.role);
  if (worker.role == WorkerRole::kForwarder || worker.role == WorkerRole::kAcceptor)
    name.append("-").append(std::to_string(worker.row - firstRowOf(worker.role)));
  return name;
}

void WorkerManager::tell(LogAt level, std::string_view event, const Worker& worker, const std::string& text) {
  logEvent(level, event,
           {{"worker", nameOf(worker)},
            {"row", worker.row},
            {"incarnation", worker.incarnation},
            {"worker_pid", worker.process.pid}},
           "{} (pid {}) {}", nameOf(worker), worker.process.pid, text);
}

void WorkerManager::changedSoon() {
  if (changePosted_) return;
  changePosted_ = true;
  asio::post(io_, [this] {
    changePosted_ = false;
    if (handlers_.changed) handlers_.changed();
  });
}

}  // namespace ppx
