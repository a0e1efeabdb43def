// The clocks of the gateway. Deadlines use the monotonic one, which all processes of a host share.
#pragma once

#include <cstdint>
#include <string>

namespace ppx {

using Millis = int64_t;

Millis monotonicMillis();  // CLOCK_MONOTONIC
uint64_t monotonicMicros();
Millis realtimeMillis();  // CLOCK_REALTIME, since 1970

// RFC 3339 in UTC with milliseconds: 2024-05-01T12:00:00.123Z
std::string rfc3339(Millis sinceEpoch);

}  // namespace ppx
