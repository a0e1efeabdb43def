// Log lines of the workers: one line to stderr, never to stdout, which carries the listening line only.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace ppx::examples {

void setQuiet(bool quiet);  // before any thread starts

void logLine(std::string_view text);

template <class... Args>
void log(fmt::format_string<Args...> format, Args&&... args) {
  logLine(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ppx::examples
