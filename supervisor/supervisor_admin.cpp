// The part of Supervisor that has to do with the admin API: its threads live beside the loop.
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <fstream>
#include <future>

#include "common/log.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/supervisor.h"

namespace ppx {
namespace {

constexpr std::chrono::seconds kSweep{5};
constexpr std::chrono::seconds kOperateDeadline{10};

uint32_t millis(std::chrono::milliseconds time) {
  return static_cast<uint32_t>(time.count());
}

uint16_t portOfPredecessor(const RuntimeDir& dir) {
  uint16_t port = 0;
  std::ifstream(dir.file(kAdminPortFileName)) >> port;
  return port;
}

}  // namespace

// Both here, where AdminServer is known whole.
Supervisor::Supervisor(Config config, RuntimeDir dir, Options options)
    : config_(std::move(config)), dir_(std::move(dir)), options_(std::move(options)) {
  status_.pid = ::getpid();
  status_.startedRealtimeMs = realtimeMillis();
  status_.version = PPX_VERSION;
}

Supervisor::~Supervisor() {
  if (adminStop_.joinable()) adminStop_.join();
  if (upgradeThread_.joinable()) upgradeThread_.join();
}

AdminContext Supervisor::adminContext() {
  return {*table_,
          *doorbells_,
          config_,
          options_.configFile,
          dir_.path(),
          [this] { return board_.read(); },
          [this](std::function<void()> work) { boost::asio::post(io_, std::move(work)); },
          [this](AdminContext::UpstreamChangedHandler handler) { upstreamChanged_ = std::move(handler); },
          &events_,
          [this](const OperationRequest& request) { return operate(request); },
          [this](const LogChange& change) { return onLoop([this, change] { return changeLog(change); }); },
          &obituaryBook_};
}

OperationAnswer Supervisor::operate(const OperationRequest& request) {
  if (request.kind == OperationRequest::Kind::kUpgrade) return upgrade(request);
  if (request.kind == OperationRequest::Kind::kReload) return onLoop([this] { return reload(); });
  return onLoop([this, request] { return startOperation(request); });
}

OperationAnswer Supervisor::onLoop(std::function<OperationAnswer()> work) {
  auto answer = std::make_shared<std::promise<OperationAnswer>>();
  std::future<OperationAnswer> future = answer->get_future();
  boost::asio::post(io_, [work = std::move(work), answer] { answer->set_value(work()); });
  if (future.wait_for(kOperateDeadline) == std::future_status::ready) return future.get();
  return {503, "busy", "the supervisor does not answer in time", {}};
}

OperationAnswer Supervisor::mayOperate() const {
  if (phase_ != Phase::kServing)
    return {503, "not_serving", stopping() ? "the gateway is being stopped" : "the gateway is still starting",
            operations_->status()};
  return operations_->mayStart();
}

OperationAnswer Supervisor::startOperation(const OperationRequest& request) {
  OperationAnswer may = mayOperate();
  return may.status == 202 ? operations_->start(request) : may;
}

std::optional<StartFailure> Supervisor::startAdmin() {
  // Where the kernel chose the port, whoever knows the predecessor's finds us there too, if it is still free.
  uint16_t wanted = config_.management.port;
  if (wanted == 0 && adopted_) config_.management.port = portOfPredecessor(dir_);
  admin_ = std::make_unique<AdminServer>(adminContext());
  auto port = admin_->start();
  if (!port && wanted != config_.management.port) {
    config_.management.port = wanted;
    admin_ = std::make_unique<AdminServer>(adminContext());
    port = admin_->start();
  }
  config_.management.port = wanted;
  if (!port) {
    // A certificate that does not fit (no errno), or a port that is not ours to take, stays so.
    bool permanent = port.error().code == 0 || port.error().code == EACCES;
    return StartFailure{permanent ? kExitConfiguration : kExitTryAgain, "admin API: " + port.error().text};
  }
  adminPort_ = *port;
  if (Status written = dir_.write(kAdminPortFileName, std::to_string(*port) + "\n"); !written)
    return StartFailure{kExitTryAgain, written.error().text};
  registerUpstreams();
  sweepUpstreams();
  return std::nullopt;
}

// In an adopted table they are there already.
void Supervisor::registerUpstreams() {
  SettingsPublisher publisher(*table_);
  for (const UpstreamConfig& upstream : config_.upstreams) {
    AddOutcome outcome =
        admin_->upstreams().add({upstream.host, upstream.port, publisher.poolRow(upstream.pool),
                                 millis(upstream.aliveTimeout), millis(upstream.readyTimeout)});
    if (outcome.kind == AddOutcome::Kind::kFull)
      logError("upstream_refused", {{"upstream", upstream.host + ":" + std::to_string(upstream.port)}},
               "no slot is free for the upstream {}:{}", upstream.host, upstream.port);
  }
}

void Supervisor::sweepUpstreams() {
  sweepTimer_.expires_after(kSweep);
  sweepTimer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    admin_->upstreams().sweep();
    sweepUpstreams();
  });
}

void Supervisor::stopAdmin() {
  notifyStopOfAdmin([this] {
    adminWaited_ = true;
    advance();
  });
}

// `stopped`: all its requests have ended, or their time is over.
void Supervisor::notifyStopOfAdmin(std::function<void()> stopped) {
  if (adminStop_.joinable()) adminStop_.join();
  auto once = std::make_shared<std::function<void()>>(std::move(stopped));
  auto done = [once] {
    if (*once) std::exchange(*once, {})();
  };
  adminStop_ = std::thread([this, done] {
    admin_->stop();
    boost::asio::post(io_, [this, done] {
      adminStopped_ = true;
      adminDeadline_.cancel();
      done();
    });
  });
  adminDeadline_.expires_after(config_.management.shutdownTimeout);
  adminDeadline_.async_wait([done](const boost::system::error_code& error) {
    if (!error) done();
  });
}

}  // namespace ppx
