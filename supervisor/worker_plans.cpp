// The part of WorkerManager for planned operations: processes beside the usual ones, and those that give
// their work away.
#include <algorithm>
#include <chrono>

#include "common/failpoint.h"
#include "common/log.h"
#include "supervisor/worker_identity.h"
#include "supervisor/worker_manager.h"

namespace ppx {
namespace {

constexpr Millis kResizeStopMs = 5'000;

}  // namespace

WorkerView WorkerManager::view(uint8_t row) const {
  auto found = workers_.find(row);
  if (found == workers_.end()) return {};
  const Worker& worker = *found->second;
  return {nameOf(worker), worker.state, worker.process.pid, worker.incarnation, worker.deaths};
}

std::vector<uint8_t> WorkerManager::readyRows(WorkerRole role) const {
  std::vector<uint8_t> rows;
  for (const auto& [row, worker] : workers_)
    if (worker->role == role && worker->state == WorkerState::kReady) rows.push_back(row);
  return rows;
}

std::optional<uint8_t> WorkerManager::freeRow(WorkerRole role) const {
  uint32_t count = role == WorkerRole::kForwarder  ? kMaxForwarders
                   : role == WorkerRole::kAcceptor ? kMaxAcceptors
                                                   : 1;
  for (uint32_t i = 0; i < count; ++i) {
    auto row = static_cast<uint8_t>(firstRowOf(role) + i);
    auto found = workers_.find(row);
    if (found == workers_.end() || found->second->state == WorkerState::kAbsent) return row;
  }
  return std::nullopt;
}

bool WorkerManager::anyLeaving(WorkerRole role) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& each) {
    return each.second->role == role &&
           (each.second->state == WorkerState::kLeaving || each.second->state == WorkerState::kStopping);
  });
}

bool WorkerManager::anyWanted(WorkerRole role) const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [&](const auto& each) { return each.second->role == role && each.second->wanted; });
}

void WorkerManager::startIn(uint8_t row, std::optional<WorkerId> predecessor) {
  if (!workers_.contains(row)) addRow(roleOfRow(row), row);
  Worker& worker = *workers_.at(row);
  worker.wanted = true;
  worker.predecessor = predecessor;
  worker.heir.reset();
  worker.backoff =
      RespawnBackoff(options_.workers.respawnBackoffMin.count(), options_.workers.respawnBackoffMax.count());
  table_.worker(row).plan.store(static_cast<uint32_t>(WorkerPlan::kArriving));
  fire(worker, WorkerEvent::kSpawnDue);
}

void WorkerManager::configure(const WorkersConfig& workers) {
  options_.workers = workers;
  lookInterval_ = lookIntervalOf(workers);
  for (auto& [row, worker] : workers_)
    worker->backoff = RespawnBackoff(workers.respawnBackoffMin.count(), workers.respawnBackoffMax.count());
}

void WorkerManager::resize(WorkerRole role, uint32_t count) {
  std::vector<uint8_t> wanted;
  for (const auto& [row, worker] : workers_)
    if (worker->role == role && worker->wanted) wanted.push_back(row);
  for (; wanted.size() > count; wanted.pop_back()) retire(wanted.back(), kResizeStopMs);
  for (size_t have = wanted.size(); have < count; ++have)
    if (auto free = freeRow(role)) startIn(*free, std::nullopt);
}

void WorkerManager::leave(uint8_t row, uint8_t heir, Millis most) {
  Worker& worker = *workers_.at(row);
  worker.heir = heir;
  worker.wanted = false;
  forgetRespawn(worker);
  fire(worker, WorkerEvent::kLeaveOrdered);
  killLater(worker, most);
}

void WorkerManager::settle(uint8_t row) {
  failpoint("supervisor.settling");
  WorkerRow& entry = table_.worker(row);
  if (static_cast<WorkerPlan>(entry.plan.load()) == WorkerPlan::kArriving)
    entry.plan.store(static_cast<uint32_t>(WorkerPlan::kStays));
}

void WorkerManager::retire(uint8_t row, Millis deadline) {
  table_.worker(row).plan.store(static_cast<uint32_t>(WorkerPlan::kLeaving));
  stopRow(row, deadline);
}

// A row without a process that is not to be filled again.
void WorkerManager::forgetRespawn(const Worker& worker) {
  if (worker.process.pid == 0)
    table_.worker(worker.row).plan.store(static_cast<uint32_t>(WorkerPlan::kStays));
}

void WorkerManager::stay(uint8_t row) {
  Worker& worker = *workers_.at(row);
  if (worker.state != WorkerState::kLeaving) return;
  worker.heir.reset();
  worker.wanted = true;
  worker.stopTimer.cancel();
  table_.worker(row).plan.store(static_cast<uint32_t>(WorkerPlan::kStays));
  fire(worker, WorkerEvent::kStayOrdered);
}

void WorkerManager::kill(uint8_t row) {
  Worker& worker = *workers_.at(row);
  worker.wanted = false;
  worker.respawnTimer.cancel();
  forgetRespawn(worker);
  fire(worker, WorkerEvent::kStopOrdered);
  if (worker.process.pid == 0) return;
  worker.sentAway = true;
  killNow(worker.process);
}

void WorkerManager::bequeath(uint8_t row, uint8_t heir) {
  workers_.at(row)->heir = heir;
  for (control::WorkerDied& obituary : obituaries_) {
    if (obituary.row != row) continue;
    obituary.successorRow = heir;
    for (auto& [otherRow, other] : workers_)
      if (other->peer) other->peer->send(obituary);
  }
  kill(row);
}

// It is chosen no more, and serves on for what it has.
void WorkerManager::withdraw(Worker& worker) {
  WorkerRow& row = table_.worker(worker.row);
  row.plan.store(static_cast<uint32_t>(WorkerPlan::kLeaving));
  row.ready.store(0);
  tellPeersChanged(&worker);
}

// Who takes what a dead worker had. Without a plan: the row's next process.
uint32_t WorkerManager::heirOf(const Worker& worker, bool respawn) const {
  if (respawn) return worker.row;
  if (worker.role != WorkerRole::kForwarder) return kWorkerRows;
  if (worker.heir) {
    auto heir = workers_.find(*worker.heir);
    if (heir != workers_.end() && heir->second->wanted) return *worker.heir;
  }
  uint32_t heir = kWorkerRows;
  for (const auto& [row, other] : workers_) {
    if (other.get() == &worker || other->role != worker.role || !other->wanted) continue;
    if (other->state == WorkerState::kReady) return row;
    heir = row;
  }
  return heir;
}

}  // namespace ppx
