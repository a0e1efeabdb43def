// The part of WorkerManager that starts processes, and sees that they live.
#include <chrono>

#include "common/failpoint.h"
#include "common/log.h"
#include "supervisor/worker_identity.h"
#include "supervisor/worker_manager.h"

namespace ppx {

void WorkerManager::start(WorkerRole role) {
  // Adopted ones are as many as there are to be; what is absent by now was on its way out.
  if (anyWanted(role)) return;
  std::vector<Worker*> absent;
  for (auto& [row, worker] : workers_)
    if (worker->role == role && worker->state == WorkerState::kAbsent) absent.push_back(worker.get());
  // All of them before the first, so that a supervisor that comes in between starts the rest.
  for (Worker* worker : absent) {
    worker->wanted = true;
    table_.worker(worker->row).role.store(static_cast<uint32_t>(role));
    table_.worker(worker->row).plan.store(static_cast<uint32_t>(WorkerPlan::kRespawns));
  }
  for (Worker* worker : absent) fire(*worker, WorkerEvent::kSpawnDue);
}

void WorkerManager::spawnInto(Worker& worker) {
  if (isExternal(worker)) return;  // it dials when it is there
  uint64_t incarnation = table_.header().nextIncarnation.fetch_add(1);
  std::vector<std::string> arguments = argumentsOf(worker, incarnation);
  // Only while that one lives: the row's later processes are nobody's planned successors.
  if (worker.predecessor &&
      table_.worker(worker.predecessor->row).incarnation.load() == worker.predecessor->incarnation)
    addPredecessor(arguments, worker.predecessor->row, worker.predecessor->incarnation);
  auto process = spawn(options_.programDir + "/" + programName(worker.role), arguments);
  if (!process) {
    logError("worker_not_started", {{"worker", nameOf(worker)}, {"row", worker.row}}, "{}: {}",
             nameOf(worker), process.error().text);
    return fire(worker, WorkerEvent::kSpawnFailed);
  }
  failpoint("supervisor.spawned");
  enterRow(worker, std::move(*process), incarnation);
}

void WorkerManager::enterRow(Worker& worker, Process process, uint64_t incarnation) {
  worker.process = std::move(process);
  worker.incarnation = incarnation;
  worker.sentAway = false;
  WorkerRow& row = table_.worker(worker.row);
  row.pid.store(static_cast<uint32_t>(worker.process.pid));
  row.role.store(static_cast<uint32_t>(worker.role));
  row.startedRealtimeMs.store(static_cast<uint64_t>(realtimeMillis()));
  row.incarnation.store(incarnation);
  // Its predecessor may have been killed between hearing the bell and saying so; later rings would be saved.
  if (worker.role != WorkerRole::kCustodian) doorbells_.ring(worker.row);
  worker.silence.restart();
  watchDeath(worker);
  fire(worker, WorkerEvent::kSpawned);
}

bool WorkerManager::isExternal(const Worker& worker) const {
  return worker.role == WorkerRole::kCustodian && options_.externalCustodian;
}

std::vector<std::string> WorkerManager::argumentsOf(const Worker& worker, uint64_t incarnation) const {
  if (isExternal(worker)) return externalArguments(options_.runtimeDir);
  return workerArguments(options_.runtimeDir, worker.row, static_cast<uint32_t>(incarnation));
}

// A custodian that somebody else started gets the row, if it is empty. False: it is to dial again.
bool WorkerManager::nameExternal(ControlPeer& peer, control::Hello& hello) {
  if (!options_.externalCustodian || hello.role != WorkerRole::kCustodian || hello.incarnation != 0)
    return true;
  Worker& worker = *workers_.at(kCustodianRow);
  // Its predecessor is dead, or about to be: it holds what only one process can hold. But nobody has seen it die.
  if (worker.process.pid != 0 && worker.process.pid != peer.pid()) {
    peer.close();
    return false;
  }
  if (worker.process.pid == 0 && worker.wanted) {
    auto process = openProcess(peer.pid());
    if (!process) {
      peer.close();
      return false;
    }
    enterRow(worker, std::move(*process), table_.header().nextIncarnation.fetch_add(1));
  }
  hello.incarnation = static_cast<uint32_t>(worker.incarnation);
  return true;
}

void WorkerManager::armLook() {
  lookTimer_.expires_after(std::chrono::milliseconds(lookInterval_));
  lookTimer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    lookForSilence();
    armLook();
  });
}

void WorkerManager::lookForSilence() {
  Millis now = monotonicMillis(), elapsed = now - lastLook_;
  lastLook_ = now;
  for (auto& [row, worker] : workers_) {
    if (worker->process.pid == 0) continue;
    uint64_t heartbeat = table_.worker(row).heartbeatMs.load();
    if (worker->silence.look(heartbeat, worker->peer != nullptr, elapsed, lookInterval_,
                             options_.workers.heartbeatTimeout.count())) {
      worker->silence.restart();
      fire(*worker, WorkerEvent::kSilent);
    }
  }
}

}  // namespace ppx
