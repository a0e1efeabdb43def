// The part of Supervisor that has to do with the admin API: its threads live beside the loop.
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <chrono>
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
          [this](const OperationRequest& request) { return operate(request); }};
}

OperationAnswer Supervisor::operate(const OperationRequest& request) {
  auto answer = std::make_shared<std::promise<OperationAnswer>>();
  std::future<OperationAnswer> future = answer->get_future();
  boost::asio::post(io_, [this, request, answer] { answer->set_value(startOperation(request)); });
  if (future.wait_for(kOperateDeadline) == std::future_status::ready) return future.get();
  return {503, "busy", "the supervisor does not answer in time", {}};
}

OperationAnswer Supervisor::startOperation(const OperationRequest& request) {
  if (phase_ != Phase::kServing)
    return {503, "not_serving", stopping() ? "the gateway is being stopped" : "the gateway is still starting",
            operations_->status()};
  return operations_->start(request);
}

std::optional<StartFailure> Supervisor::startAdmin() {
  admin_ = std::make_unique<AdminServer>(adminContext());
  auto port = admin_->start();
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
      spdlog::error("no slot is free for the upstream {}:{}", upstream.host, upstream.port);
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
  auto waited = [this] {
    adminWaited_ = true;
    advance();
  };
  adminStop_ = std::thread([this, waited] {
    admin_->stop();
    boost::asio::post(io_, [this, waited] {
      adminStopped_ = true;
      waited();
    });
  });
  adminDeadline_.expires_after(config_.management.shutdownTimeout);
  adminDeadline_.async_wait([waited](const boost::system::error_code& error) {
    if (!error) waited();
  });
}

}  // namespace ppx
