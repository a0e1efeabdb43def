#include "supervisor/forwarder_restart.h"

#include <fmt/format.h>

#include <chrono>

#include "supervisor/counted.h"

namespace ppx {
namespace {

// After barrier_timeout a stream of the old one lingers, and nobody waits for that.
constexpr std::chrono::milliseconds kLastSlack{2'000};

}  // namespace

ForwarderRestart::ForwarderRestart(OperationTools tools, std::vector<uint8_t> rows, Finish finish)
    : Operation(std::move(tools), std::move(finish)), rows_(std::move(rows)), endTimer_(tools_.io) {}

void ForwarderRestart::begin() {
  next();
}

void ForwarderRestart::next() {
  while (index_ < rows_.size() && tools_.workers.view(rows_[index_]).state != WorkerState::kReady) ++index_;
  if (index_ == rows_.size()) return waitForTheLast();
  auto free = tools_.workers.freeRow(WorkerRole::kForwarder);
  if (!free)
    return over(false, "no forwarder row is free: earlier ones still wait for the ends of their streams");
  move_ = std::make_unique<ForwarderMove>(
      tools_, ForwarderMove::Plan{.source = rows_[index_], .targets = {*free}, .startsTarget = true},
      [this](const std::string& error) { moved(error); });
  move_->begin();
}

void ForwarderRestart::moved(const std::string& error) {
  std::string name = tools_.workers.view(rows_[index_]).name;
  move_.reset();
  if (!error.empty()) return over(false, name + ": " + error);
  ++restarted_;
  ++index_;
  next();
}

void ForwarderRestart::waitForTheLast() {
  ending_ = true;
  endTimer_.expires_after(tools_.config.barrierTimeout + kLastSlack);
  endTimer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    over(true,
         counted(restarted_, "forwarder") + " restarted; old ones still wait for the ends of their streams");
  });
  advance();
}

void ForwarderRestart::advance() {
  if (isOver()) return;
  if (move_) return move_->advance();
  if (ending_ && !tools_.workers.anyLeaving(WorkerRole::kForwarder)) {
    endTimer_.cancel();
    over(true, counted(restarted_, "forwarder") + " restarted");
  }
}

void ForwarderRestart::handedOver(uint8_t row, const control::HandedOver& report) {
  if (move_) move_->handedOver(row, report);
}

void ForwarderRestart::tookOver(uint8_t row, const control::TookOver& report) {
  if (move_) move_->tookOver(row, report);
}

std::string ForwarderRestart::progress() const {
  std::string text = fmt::format("forwarder {} of {}", std::min(index_ + 1, rows_.size()), rows_.size());
  return move_ ? text + ", " + move_->progress() : text;
}

}  // namespace ppx
