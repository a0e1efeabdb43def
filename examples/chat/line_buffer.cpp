#include "examples/chat/line_buffer.h"

#include <algorithm>

namespace ppx::examples {

void LineBuffer::feed(std::string_view bytes, const std::function<void(std::string_view)>& onLine) {
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    partial_.append(bytes.substr(0, std::min(end, kMaxLine - partial_.size())));
    if (end == bytes.size()) {
      return;
    }
    bytes.remove_prefix(end + 1);
    std::string_view line = partial_;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    onLine(line);
    partial_.clear();
  }
}

}  // namespace ppx::examples
