// Between the files of the core.
#pragma once

#include <chrono>
#include <ctime>
#include <string>

#include "upstream.pb.h"

namespace paradox::upstream {

namespace wire = ::upstream::grpc::service;
using std::chrono::milliseconds;

// Others join a mark meanwhile; and the longest that a reply waits before it looks again for room.
inline constexpr milliseconds kMarkEvery{50};

// For a message's field `time`: ISO 8601 in UTC, with milliseconds.
inline std::string timeText() {
  std::timespec at{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &at);
  std::tm parts{};
  ::gmtime_r(&at.tv_sec, &parts);
  char text[40];
  std::size_t size = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof(text) - size, ".%03ldZ", at.tv_nsec / 1'000'000);
  return text;
}

}  // namespace paradox::upstream
