#include "examples/common/time_text.h"

#include <array>
#include <ctime>

namespace ppx::examples {

std::string_view timeText() {
  struct Cache {
    std::time_t second = -1;
    std::array<char, 32> text{};
  };
  static constexpr std::size_t kSecondsLength = sizeof("2026-01-31T12:00:00") - 1;
  alignas(64) thread_local Cache cache;

  std::timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != cache.second) {
    std::tm parts{};
    ::gmtime_r(&now.tv_sec, &parts);
    std::strftime(cache.text.data(), cache.text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    cache.second = now.tv_sec;
  }
  const long millis = now.tv_nsec / 1'000'000;
  char* tail = cache.text.data() + kSecondsLength;
  *tail++ = '.';
  *tail++ = static_cast<char>('0' + millis / 100);
  *tail++ = static_cast<char>('0' + millis / 10 % 10);
  *tail++ = static_cast<char>('0' + millis % 10);
  *tail++ = 'Z';
  return {cache.text.data(), kSecondsLength + 5};
}

}  // namespace ppx::examples
