#include "common/clock.h"

#include <fmt/chrono.h>
#include <time.h>

namespace ppx {
namespace {

Millis read(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<Millis>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

Millis monotonicMillis() {
  return read(CLOCK_MONOTONIC);
}
uint64_t monotonicMicros() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}
Millis realtimeMillis() {
  return read(CLOCK_REALTIME);
}

std::string rfc3339(Millis sinceEpoch) {
  time_t seconds = sinceEpoch / 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), sinceEpoch % 1000);
}

}  // namespace ppx
