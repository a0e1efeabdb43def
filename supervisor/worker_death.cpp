// The part of WorkerManager that deals with the death of a process: who is told, what is noted, when another one starts.
#include <fcntl.h>

#include <chrono>

#include "common/failpoint.h"
#include "common/last_sign.h"
#include "common/log.h"
#include "supervisor/worker_manager.h"

namespace ppx {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr size_t kMaxObituaries = 64;

void logDeath(const WorkerDeath& death, bool respawn) {
  if (respawn)
    logWarn("worker_died",
            {{"worker", death.worker},
             {"row", death.id.row},
             {"incarnation", death.id.incarnation},
             {"worker_pid", death.pid},
             {"reason", death.how}},
            "{} (pid {}) died: {}", death.worker, death.pid, death.how);
  else
    logInfo("worker_left",
            {{"worker", death.worker},
             {"row", death.id.row},
             {"incarnation", death.id.incarnation},
             {"worker_pid", death.pid},
             {"reason", death.how}},
            "{} (pid {}) has left: {}", death.worker, death.pid, death.how);
}

}  // namespace

void WorkerManager::watchDeath(Worker& worker) {
  worker.deathWatch.assign(::fcntl(worker.process.pidfd.get(), F_DUPFD_CLOEXEC, 3));
  worker.deathWatch.async_wait(asio::posix::stream_descriptor::wait_read,
                               [this, &worker](const boost::system::error_code& error) {
                                 if (!error) fire(worker, WorkerEvent::kDied);
                               });
}

// Before its row is emptied and anybody else takes its sessions.
WorkerDeath WorkerManager::deathOf(const Worker& worker) const {
  WorkerDeath death;
  death.seenUs = monotonicMicros();
  death.realtimeMs = realtimeMillis();
  death.worker = nameOf(worker);
  death.role = worker.role;
  death.id = {worker.row, static_cast<uint32_t>(worker.incarnation)};
  death.pid = static_cast<int>(table_.worker(worker.row).pid.load());
  death.silent = worker.wasSilent;
  if (worker.role == WorkerRole::kForwarder) death.sessions = sessionsOf(table_, death.id);
  return death;
}

void WorkerManager::bury(Worker& worker, bool respawn) {
  WorkerDeath death = deathOf(worker);
  // What it worked on is blamed by its successor (forwarder/in_hand.h) for a crash or a hang only.
  bool guilty =
      std::exchange(worker.wasSilent, false) || (worker.process.pidfd && hasCrashed(worker.process));
  if (!guilty) table_.worker(worker.row).inHand.store(0);
  const bool crashed = guilty || (worker.process.pidfd && !endedWell(worker.process));
  death.how = worker.process.pidfd ? reap(worker.process) : "ended";
  boost::system::error_code ignored;
  worker.deathWatch.close(ignored);
  worker.stopTimer.cancel();
  worker.process = {};
  ++worker.deaths;
  if (worker.peer) std::exchange(worker.peer, nullptr)->close();
  Millis served = worker.readySince == 0 ? 0 : monotonicMillis() - worker.readySince;
  worker.readySince = 0;

  emptyRow(worker, respawn);
  tellOfDeath(worker, death.id, heirOf(worker, respawn));
  logDeath(death, respawn);
  if (respawn) {
    worker.comesBack = true;
    if (handlers_.noted) handlers_.noted(death.worker + " died (" + death.how + ")");
    table_.worker(worker.row).restarts.fetch_add(1);
    backOff(worker, served);
  }
  const bool planned = !respawn && (worker.sentAway || !crashed);
  death.lastWords = takeLastWords(options_.runtimeDir, death.id);
  if (!planned && handlers_.died) handlers_.died(std::move(death));
}

void WorkerManager::emptyRow(Worker& worker, bool respawn) {
  WorkerRow& row = table_.worker(worker.row);
  row.ready.store(0);
  // Before the incarnation goes: the next supervisor fills a row that says so.
  if (!respawn)
    row.plan.store(static_cast<uint32_t>(WorkerPlan::kStays));
  else if (static_cast<WorkerPlan>(row.plan.load()) == WorkerPlan::kStays)
    row.plan.store(static_cast<uint32_t>(WorkerPlan::kRespawns));
  row.pid.store(0);
  noteLastSign(row, worker.incarnation);
  row.incarnation.store(0);
  worker.incarnation = 0;
  failpoint("supervisor.buried");
}

void WorkerManager::tellOfDeath(const Worker& worker, WorkerId dead, uint32_t successorRow) {
  doorbells_.workerDied(table_);
  control::WorkerDied message;
  message.row = dead.row;
  message.incarnation = dead.incarnation;
  message.successorRow = successorRow;
  obituaries_.push_back(message);
  if (obituaries_.size() > kMaxObituaries) obituaries_.pop_front();
  for (auto& [row, other] : workers_)
    if (other->peer) other->peer->send(message);
  if (worker.role == WorkerRole::kForwarder || worker.role == WorkerRole::kCustodian)
    tellPeersChanged(&worker);
}

void WorkerManager::backOff(Worker& worker, Millis servedMs) {
  Millis wait = worker.backoff.afterDeath(servedMs);
  if (wait > 0)
    logWarn("worker_waits", {{"worker", nameOf(worker)}, {"row", worker.row}}, "{} is started again in {} ms",
            nameOf(worker), wait);
  worker.respawnTimer.expires_after(milliseconds(wait));
  worker.respawnTimer.async_wait([this, &worker](const boost::system::error_code& error) {
    if (!error && worker.wanted) fire(worker, WorkerEvent::kSpawnDue);
  });
}

}  // namespace ppx
