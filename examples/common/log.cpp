#include "examples/common/log.h"

#include <cstdio>
#include <string>

#include "examples/common/time_text.h"

namespace ppx::examples {
namespace {
bool quiet_ = false;
}

void setQuiet(bool quiet) {
  quiet_ = quiet;
}

void logLine(std::string_view text) {
  if (!quiet_) {
    // One write, so that lines of several threads don't mix.
    const std::string line = fmt::format("{} {}\n", timeText(), text);
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
}

}  // namespace ppx::examples
