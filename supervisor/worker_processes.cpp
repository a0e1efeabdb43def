// The part of WorkerManager that deals with processes: their start, their adoption, their death.
#include <fcntl.h>

#include <chrono>

#include "common/failpoint.h"
#include "common/last_sign.h"
#include "common/log.h"
#include "supervisor/worker_identity.h"
#include "supervisor/worker_manager.h"

namespace ppx {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr size_t kMaxObituaries = 64;
constexpr milliseconds kLeaveSlack{30'000};
constexpr Millis kServedLong = 60'000;
constexpr Millis kRetireMs = 5'000;

}  // namespace

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

void WorkerManager::watchDeath(Worker& worker) {
  worker.deathWatch.assign(::fcntl(worker.process.pidfd.get(), F_DUPFD_CLOEXEC, 3));
  worker.deathWatch.async_wait(asio::posix::stream_descriptor::wait_read,
                               [this, &worker](const boost::system::error_code& error) {
                                 if (!error) fire(worker, WorkerEvent::kDied);
                               });
}

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
  std::string how = worker.process.pidfd ? reap(worker.process) : "ended";
  int pid = worker.process.pid;
  boost::system::error_code ignored;
  worker.deathWatch.close(ignored);
  worker.stopTimer.cancel();
  worker.process = {};
  ++worker.deaths;
  if (worker.peer) std::exchange(worker.peer, nullptr)->close();
  bool tell = worker.role == WorkerRole::kForwarder || worker.role == WorkerRole::kCustodian;
  Millis served = worker.readySince == 0 ? 0 : monotonicMillis() - worker.readySince;
  worker.readySince = 0;

  control::WorkerDied message;
  message.row = worker.row;
  message.incarnation = static_cast<uint32_t>(worker.incarnation);
  message.successorRow = heirOf(worker, respawn);
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
  failpoint("supervisor.buried");
  doorbells_.workerDied(table_);
  worker.incarnation = 0;
  obituaries_.push_back(message);
  if (obituaries_.size() > kMaxObituaries) obituaries_.pop_front();
  for (auto& [otherRow, other] : workers_)
    if (other->peer) other->peer->send(message);
  if (tell) tellPeersChanged(&worker);
  if (respawn) {
    logWarn("worker_died",
            {{"worker", nameOf(worker)},
             {"row", worker.row},
             {"incarnation", message.incarnation},
             {"worker_pid", pid},
             {"reason", how}},
            "{} (pid {}) died: {}", nameOf(worker), pid, how);
    worker.comesBack = true;
    if (handlers_.noted) handlers_.noted(nameOf(worker) + " died (" + how + ")");
    row.restarts.fetch_add(1);
    backOff(worker, served);
  } else {
    logInfo("worker_left",
            {{"worker", nameOf(worker)},
             {"row", worker.row},
             {"incarnation", message.incarnation},
             {"worker_pid", pid},
             {"reason", how}},
            "{} (pid {}) has left: {}", nameOf(worker), pid, how);
  }
  const bool planned = !respawn && (worker.sentAway || !crashed);
  death.how = how;
  death.lastWords = takeLastWords(options_.runtimeDir, death.id);
  if (!planned && handlers_.died) handlers_.died(std::move(death));
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

void WorkerManager::armLook() {
  lookTimer_.expires_after(milliseconds(lookInterval_));
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
