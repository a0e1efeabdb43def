#include "supervisor/worker_restart.h"

#include <fmt/format.h>

#include <chrono>

#include "supervisor/counted.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStartDeadline{15'000};
constexpr Millis kStopMs = 5'000;
constexpr milliseconds kStopDeadline{kStopMs + 5'000};  // it is killed before
constexpr uint32_t kAttempts = 3;

}  // namespace

WorkerRestart::WorkerRestart(OperationTools tools, WorkerRole role, Finish finish)
    : Operation(std::move(tools), std::move(finish)),
      role_(role),
      rows_(tools_.workers.readyRows(role)),
      deadline_(tools_.io) {}

void WorkerRestart::begin() {
  if (rows_.empty()) return over(false, std::string("no ") + workerRoleName(role_) + " is ready");
  next();
}

void WorkerRestart::next() {
  if (index_ == rows_.size()) {
    deadline_.cancel();
    return over(true, counted(index_, workerRoleName(role_)) + " restarted");
  }
  oldIncarnation_ = tools_.workers.view(rows_[index_]).incarnation;
  if (!startsFirst()) return stopOld();
  auto free = tools_.workers.freeRow(role_);
  if (!free) return over(false, std::string("no row is free for another ") + workerRoleName(role_));
  startNew(*free);
}

void WorkerRestart::startNew(uint8_t row) {
  step_ = Step::kStarting;
  newRow_ = row;
  deathsBefore_ = tools_.workers.view(row).deaths;
  arm(kStartDeadline);
  std::optional<WorkerId> predecessor;
  if (startsFirst()) predecessor = WorkerId{rows_[index_], static_cast<uint32_t>(oldIncarnation_)};
  tools_.workers.startIn(row, predecessor);
}

void WorkerRestart::stopOld() {
  step_ = Step::kStopping;
  arm(kStopDeadline);
  if (!startsFirst()) return tools_.workers.stopRow(rows_[index_], kStopMs);
  tools_.workers.retire(rows_[index_], kStopMs);
  tools_.workers.settle(newRow_);
}

void WorkerRestart::stepDone() {
  if (step_ == Step::kStarting && startsFirst()) return stopOld();
  if (step_ == Step::kStopping && !startsFirst()) return startNew(rows_[index_]);
  WorkerView now = tools_.workers.view(startsFirst() ? newRow_ : rows_[index_]);
  tools_.events.append(
      "worker_restarted",
      {{"worker", tools_.workers.view(rows_[index_]).name}, {"by", now.name}, {"pid", now.pid}});
  ++index_;
  next();
}

void WorkerRestart::advance() {
  if (isOver()) return;
  if (step_ == Step::kStopping) {
    if (tools_.workers.view(rows_[index_]).incarnation != oldIncarnation_) stepDone();
    return;
  }
  WorkerView fresh = tools_.workers.view(newRow_);
  if (fresh.state == WorkerState::kReady) return stepDone();
  if (fresh.deaths - deathsBefore_ >= kAttempts) late();
}

void WorkerRestart::arm(milliseconds deadline) {
  deadline_.expires_after(deadline);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !isOver()) late();
  });
}

void WorkerRestart::late() {
  deadline_.cancel();
  std::string name = tools_.workers.view(rows_[index_]).name;
  if (step_ == Step::kStopping) return over(false, name + " did not end in time");
  if (!startsFirst())
    return over(false, "the new " + name + " does not become ready; it is started again and again");
  tools_.workers.kill(newRow_);
  over(false, "the successor of " + name + " did not become ready; nothing has changed");
}

std::string WorkerRestart::progress() const {
  return fmt::format("{} {} of {}: {}", workerRoleName(role_), std::min(index_ + 1, rows_.size()),
                     rows_.size(), step_ == Step::kStarting ? "starting the new one" : "the old one ends");
}

}  // namespace ppx
