// The part of Supervisor that replaces its own program, and goes on where the one before it was.
#include <boost/asio/post.hpp>
#include <future>

#include "common/log.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/supervisor.h"
#include "supervisor/upgrade.h"

namespace ppx {

// On another thread than the loop: the check takes as long as a start.
OperationAnswer Supervisor::upgrade(const OperationRequest& request) {
  OperationAnswer may = onLoop([this] { return mayOperate(); });
  if (may.status != 202) return may;
  if (Status able = checkProgram(options_.image.file, options_.configFile, table_->memfd()); !able)
    return {500, "upgrade_impossible", able.error().text + "; the running gateway goes on", may.operation};
  return onLoop([this, request] {
    OperationAnswer answer = mayOperate();
    if (answer.status != 202) return answer;
    answer = operations_->announce(request.name(), "the admin API ends its requests");
    stopAdminForUpgrade();
    return answer;
  });
}

void Supervisor::upgradeBySignal() {
  if (upgradeThread_.joinable()) upgradeThread_.join();
  upgradeThread_ = std::thread([this] {
    OperationAnswer answer = upgrade({.kind = OperationRequest::Kind::kUpgrade});
    if (answer.status != 202) spdlog::error("no upgrade: {}", answer.text);
  });
}

// Its requests end first, that for the upgrade too; who listens to events comes again.
void Supervisor::stopAdminForUpgrade() {
  notifyStopOfAdmin([this] { exchangeProgram(); });
}

void Supervisor::exchangeProgram() {
  if (stopping()) return;
  RollNote note{operations_->status().id, events_.last(), operations_->status().name};
  Error error{0, ""};
  if (Status written = writeRollNote(dir_, note); written) {
    spdlog::info("going on as {}", options_.image.file);
    service_.reloading();
    error = replaceProgram(options_.image, dir_);
    service_.ready();
    removeRollNote(dir_);
  } else {
    error = written.error();
  }
  operations_->announceOver(false, error.text + "; the running gateway goes on");
  // A request that outlived its deadline still works with the old one: it stays, without a door.
  if (!adminStopped_) (void)admin_.release();
  adminWaited_ = adminStopped_ = false;
  events_.reopen();
  if (auto failure = startAdmin()) spdlog::error("{}", failure->text);
}

// The workers change over to the programs that are on disk now.
void Supervisor::rollIfNoted() {
  if (!rollNote_) return;
  operations_->roll([this] {
    rollNote_.reset();
    removeRollNote(dir_);
  });
}

}  // namespace ppx
