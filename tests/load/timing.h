// Time in nanoseconds of CLOCK_MONOTONIC: milliseconds are too coarse for a latency.
#pragma once

#include <time.h>

#include <cstdint>

namespace ppx::load {

using Nanos = int64_t;

constexpr Nanos kMicrosecond = 1'000;
constexpr Nanos kMillisecond = 1'000'000;
constexpr Nanos kSecond = 1'000'000'000;

inline Nanos nowNanos() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

}  // namespace ppx::load
