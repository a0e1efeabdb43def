// The part of Supervisor that ends: for good, or so that the next paradoxd goes on with what is there.
#include <boost/asio/post.hpp>
#include <chrono>
#include <thread>

#include "common/log.h"
#include "supervisor/supervisor.h"
#include "supervisor/upgrade.h"

namespace ppx {
namespace {

constexpr std::chrono::seconds kJobDeadline{3};
constexpr char kRestartName[] = "restart by systemd";

}  // namespace

// systemctl stop and systemctl restart send the same signal.
void Supervisor::stopOrHandOn() {
  jobAsked_ = true;
  // Detached: nothing bounds the time that a bus takes. It holds up nobody, and run() does not wait for it.
  std::thread([this] {
    auto job = serviceJob(ServiceRole::kMain);
    boost::asio::post(io_, [this, job] { onServiceJob(job); });
  }).detach();
  jobDeadline_.expires_after(kJobDeadline);
  jobDeadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error) onServiceJob(Error{ETIMEDOUT, "systemd does not say in time whether it restarts"});
  });
}

void Supervisor::onServiceJob(const Result<ServiceJob>& job) {
  if (std::exchange(jobAnswered_, true) || stopping()) return;
  jobDeadline_.cancel();
  if (job && job.value() == ServiceJob::kRestart) return handOn();
  if (!job) spdlog::warn("{}: this is taken for a stop", job.error().text);
  logInfo("stopping", {}, "stopping (SIGTERM); once more: at once");
  beginStop();
}

// The workers serve on and dial the next paradoxd, which then changes them for new ones, without a client noticing:
// limits, environment and programs of a service that was restarted are to be the new ones everywhere.
void Supervisor::handOn() {
  operations_->stop();
  operations_->announce(kRestartName, "the admin API ends its requests");
  service_.stopping();
  service_.mayTake(config_.management.shutdownTimeout);
  notifyStopOfAdmin([this] {
    if (stopping()) return;
    RollNote note{operations_->status().id, events_.last(), operations_->status().name};
    if (Status written = writeRollNote(dir_, note); !written)
      spdlog::error("{}: the workers stay the old ones", written.error().text);
    logInfo("handed_on", {},
            "systemd restarts the service: the workers serve on, the next paradoxd goes on with them");
    handedOn_ = true;
    control_->stop();
    io_.stop();
  });
}

void Supervisor::beginStop() {
  operations_->stop();
  status_.draining = true;
  status_.ready = false;
  service_.stopping();
  enter(Phase::kStoppingAcceptors);
  advance();
}

}  // namespace ppx
