#include "supervisor/forwarder_scale.h"

#include <chrono>

#include "supervisor/counted.h"

namespace ppx {
namespace {

constexpr std::chrono::milliseconds kStartDeadline{20'000};
constexpr std::chrono::milliseconds kLastSlack{2'000};
constexpr uint32_t kAttempts = 3;

}  // namespace

ForwarderScale::ForwarderScale(OperationTools tools, uint32_t count, Finish finish)
    : Operation(std::move(tools), std::move(finish)),
      count_(count),
      before_(tools_.workers.readyRows(WorkerRole::kForwarder)),
      deadline_(tools_.io) {}

void ForwarderScale::begin() {
  if (before_.empty()) return over(false, "no forwarder is ready");
  if (count_ > before_.size()) return grow();
  shrink();
}

void ForwarderScale::grow() {
  starting_ = true;
  deadline_.expires_after(kStartDeadline);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error && starting_ && !isOver()) giveUpGrowing("a new forwarder did not become ready in time");
  });
  while (before_.size() + added_.size() < count_) {
    auto free = tools_.workers.freeRow(WorkerRole::kForwarder);
    if (!free) return giveUpGrowing("no forwarder row is free");
    added_.push_back(*free);
    deathsBefore_ += tools_.workers.view(*free).deaths;
    tools_.workers.startIn(*free, std::nullopt);
  }
}

void ForwarderScale::giveUpGrowing(const std::string& why) {
  for (uint8_t row : added_) tools_.workers.kill(row);
  deadline_.cancel();
  over(false, why + "; nothing has changed");
}

// Each of the old ones gives away what is above its even part.
void ForwarderScale::spread() {
  starting_ = false;
  deadline_.cancel();
  for (uint8_t row : before_) {
    uint64_t has = tools_.workers.sessions(row);
    auto surplus = static_cast<uint32_t>(has - has * before_.size() / count_);
    if (surplus > 0)
      plans_.push_back({.source = row, .targets = added_, .sessions = surplus, .leave = false});
  }
  next();
}

// The highest rows go: they were added last.
void ForwarderScale::shrink() {
  std::vector<uint8_t> remaining(before_.begin(), before_.begin() + count_);
  for (size_t i = before_.size(); i-- > count_;)
    plans_.push_back({.source = before_[i], .targets = remaining});
  next();
}

void ForwarderScale::next() {
  // One that died meanwhile has another process in its row, or none: nothing to move.
  while (!plans_.empty() && tools_.workers.view(plans_.front().source).state != WorkerState::kReady)
    plans_.pop_front();
  if (plans_.empty()) return ended();
  auto plan = std::move(plans_.front());
  plans_.pop_front();
  move_ = std::make_unique<ForwarderMove>(tools_, std::move(plan), [this](const std::string& error) {
    move_.reset();
    if (error.empty()) return next();
    over(false, error);
  });
  move_->begin();
}

void ForwarderScale::ended() {
  ending_ = true;
  deadline_.expires_after(tools_.config.barrierTimeout + kLastSlack);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !isOver())
      over(true, counted(count_, "forwarder") + "; old ones still wait for the ends of their streams");
  });
  advance();
}

void ForwarderScale::advance() {
  if (isOver()) return;
  if (move_) return move_->advance();
  if (ending_ && !tools_.workers.anyLeaving(WorkerRole::kForwarder)) {
    deadline_.cancel();
    return over(true, counted(count_, "forwarder"));
  }
  if (!starting_) return;
  size_t ready = 0;
  uint32_t deaths = 0;
  for (uint8_t row : added_) {
    WorkerView each = tools_.workers.view(row);
    if (each.state == WorkerState::kReady) ++ready;
    deaths += each.deaths;
  }
  if (deaths - deathsBefore_ >= kAttempts) return giveUpGrowing("new forwarders die");
  if (before_.size() + ready == count_) spread();
}

void ForwarderScale::handedOver(uint8_t row, const control::HandedOver& report) {
  if (move_) move_->handedOver(row, report);
}

void ForwarderScale::tookOver(uint8_t row, const control::TookOver& report) {
  if (move_) move_->tookOver(row, report);
}

std::string ForwarderScale::progress() const {
  if (starting_) return "starting " + counted(added_.size(), "forwarder");
  return move_ ? move_->progress() : counted(count_, "forwarder");
}

}  // namespace ppx
