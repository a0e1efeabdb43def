// What happened to the gateway on purpose, for GET /admin/events: operations, their moves, how they ended.
// A bounded ring; a reader that is too late misses the oldest. Any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/clock.h"

namespace ppx {

struct Event {
  uint64_t sequence = 0;  // from 1, without gaps, for the life of this process
  Millis realtimeMs = 0;
  std::string type;  // operation_started, forwarder_moved, ...
  nlohmann::ordered_json data;
};

class EventLog {
 public:
  static constexpr size_t kKept = 1024;

  void append(const std::string& type, nlohmann::ordered_json data);
  // Those after `sequence` that are still there, at most `most`.
  std::vector<Event> after(uint64_t sequence, size_t most) const;
  // Until there is one after `sequence`, at most so long. False: there is none, or it was closed.
  bool wait(uint64_t sequence, Millis most) const;
  uint64_t last() const;
  void close();  // ends every wait
  bool closed() const;
  void reopen();
  void goOnAfter(uint64_t sequence);  // of the image before this one; before the first append

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<Event> events_;
  uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace ppx
