// The part of WorkerManager that finds the workers of a supervisor that is gone, and knows from their rows what each is for.
#include <chrono>

#include "common/log.h"
#include "supervisor/worker_identity.h"
#include "supervisor/worker_manager.h"

namespace ppx {
namespace {

constexpr std::chrono::milliseconds kLeaveSlack{30'000};
constexpr Millis kServedLong = 60'000;
constexpr Millis kRetireMs = 5'000;

}  // namespace

// The living first: somebody has to be there for what the dead leave.
void WorkerManager::adopt() {
  std::vector<Worker*> dead, vacant;
  for (uint8_t row = 0; row < kWorkerRows; ++row) {
    WorkerRow& entry = table_.worker(row);
    uint64_t incarnation = entry.incarnation.load();
    auto role = static_cast<WorkerRole>(entry.role.load());
    const bool respawns = static_cast<WorkerPlan>(entry.plan.load()) == WorkerPlan::kRespawns;
    if ((incarnation == 0 && !respawns) || role == WorkerRole::kNone || role > WorkerRole::kCustodian)
      continue;
    if (!workers_.contains(row)) addRow(role, row);
    Worker& worker = *workers_.at(row);
    if (incarnation == 0) {
      if (!isExternal(worker)) vacant.push_back(&worker);
      continue;
    }
    worker.wanted = true;
    worker.incarnation = incarnation;
    if (adoptProcess(worker, static_cast<int>(entry.pid.load()), incarnation))
      adoptLiving(worker);
    else
      dead.push_back(&worker);
  }
  for (Worker* worker : dead) adoptDead(*worker);
  for (Worker* worker : vacant) {
    spdlog::warn("{} had died and was not started again: it is now", nameOf(*worker));
    worker->wanted = true;
    fire(*worker, WorkerEvent::kSpawnDue);
  }
  // As many as there were, wherever their rows are: restarts and scaling move and add them.
  std::erase_if(workers_, [this](const auto& each) {
    return each.second->state == WorkerState::kAbsent && anyWanted(each.second->role);
  });
}

void WorkerManager::adoptLiving(Worker& worker) {
  tell(LogAt::info, "worker_adopted", worker, "lives on; waiting for its hello");
  watchDeath(worker);
  fire(worker, WorkerEvent::kSpawned);
  auto plan = static_cast<WorkerPlan>(table_.worker(worker.row).plan.load());
  const bool givesSessions = worker.role == WorkerRole::kForwarder;
  if (plan == WorkerPlan::kLeaving && givesSessions) {
    worker.wanted = false;
    fire(worker, WorkerEvent::kLeaveOrdered);
    killLater(worker, (options_.workers.drainMax + kLeaveSlack).count());
  } else if (plan == WorkerPlan::kLeaving) {
    retire(worker.row, kRetireMs);
  } else if (plan == WorkerPlan::kArriving && !turnHasCome(worker)) {
    tell(LogAt::warn, "worker_dismissed", worker, "was a successor whose turn had not come: it goes");
    if (givesSessions)
      kill(worker.row);
    else
      retire(worker.row, kRetireMs);  // it may be accepting
  }
}

// Of a process that an operation started: in somebody's place only once that one is leaving.
bool WorkerManager::turnHasCome(const Worker& worker) const {
  auto predecessor = predecessorOf(worker.process.pid);
  if (!predecessor) return true;
  const WorkerRow& row = table_.worker(predecessor->row);
  return static_cast<WorkerPlan>(row.plan.load()) == WorkerPlan::kLeaving &&
         (row.incarnation.load() & kIncarnationMask) == predecessor->incarnation;
}

void WorkerManager::adoptDead(Worker& worker) {
  WorkerRow& entry = table_.worker(worker.row);
  logWarn("worker_died",
          {{"worker", nameOf(worker)},
           {"row", worker.row},
           {"incarnation", worker.incarnation},
           {"worker_pid", entry.pid.load()}},
          "{} (pid {}) died while there was no supervisor", nameOf(worker), entry.pid.load());
  const auto plan = static_cast<WorkerPlan>(entry.plan.load());
  worker.wanted = plan == WorkerPlan::kStays || plan == WorkerPlan::kRespawns;
  if (entry.ready.load() != 0) worker.readySince = monotonicMillis() - kServedLong;  // nobody saw since when
  worker.state = worker.wanted ? WorkerState::kStarting : WorkerState::kLeaving;
  fire(worker, WorkerEvent::kDied);
}

// A pid may mean another process by now: it is taken for the worker only if its arguments say so.
bool WorkerManager::adoptProcess(Worker& worker, int pid, uint64_t incarnation) {
  auto process = openProcess(pid);
  if (!process) return false;
  if (isDead(*process) || !runsWith(pid, argumentsOf(worker, incarnation))) return false;
  worker.process = std::move(*process);
  return true;
}

}  // namespace ppx
