// A log line at most once in a while, with how many there would have been.
#pragma once

#include <cstdint>

#include "common/clock.h"

namespace ppx {

class RateLimit {
 public:
  // Counts one event. Not 0: it is due, and so many happened since the last line.
  uint64_t due(Millis now = monotonicMillis()) {
    ++count_;
    if (last_ != 0 && now - last_ < kEveryMs) return 0;
    last_ = now;
    uint64_t counted = count_;
    count_ = 0;
    return counted;
  }

 private:
  static constexpr Millis kEveryMs = 5000;
  Millis last_ = 0;
  uint64_t count_ = 0;
};

}  // namespace ppx
