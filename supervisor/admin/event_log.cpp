#include "supervisor/admin/event_log.h"

#include <algorithm>
#include <chrono>

namespace ppx {

void EventLog::append(const std::string& type, nlohmann::ordered_json data) {
  {
    std::lock_guard hold(mutex_);
    events_.push_back({++last_, realtimeMillis(), type, std::move(data)});
    if (events_.size() > kKept) events_.pop_front();
  }
  changed_.notify_all();
}

std::vector<Event> EventLog::after(uint64_t sequence, size_t most) const {
  std::lock_guard hold(mutex_);
  auto from = std::upper_bound(events_.begin(), events_.end(), sequence,
                               [](uint64_t wanted, const Event& each) { return wanted < each.sequence; });
  size_t count = std::min(most, static_cast<size_t>(events_.end() - from));
  return {from, from + static_cast<std::ptrdiff_t>(count)};
}

bool EventLog::wait(uint64_t sequence, Millis most) const {
  std::unique_lock hold(mutex_);
  changed_.wait_for(hold, std::chrono::milliseconds(most), [&] { return closed_ || last_ > sequence; });
  return !closed_ && last_ > sequence;
}

uint64_t EventLog::last() const {
  std::lock_guard hold(mutex_);
  return last_;
}

void EventLog::close() {
  {
    std::lock_guard hold(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

void EventLog::reopen() {
  std::lock_guard hold(mutex_);
  closed_ = false;
}

void EventLog::goOnAfter(uint64_t sequence) {
  std::lock_guard hold(mutex_);
  last_ = sequence;
}

bool EventLog::closed() const {
  std::lock_guard hold(mutex_);
  return closed_;
}

}  // namespace ppx
