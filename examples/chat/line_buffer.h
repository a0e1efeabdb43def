// Lines out of bytes that arrive cut at arbitrary places.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace ppx::examples {

// Keeps at most kMaxLine bytes between calls; what a line has beyond is dropped. Not thread-safe.
class LineBuffer {
 public:
  static constexpr std::size_t kMaxLine = 1000;

  // Calls onLine for each line that these bytes end, without its \n or \r\n.
  void feed(std::string_view bytes, const std::function<void(std::string_view)>& onLine);

 private:
  std::string partial_;
};

}  // namespace ppx::examples
