#include "supervisor/toml_bounds.h"

#include <fmt/format.h>

#include <algorithm>

namespace ppx {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  TomlBoundsError run() {
    while (at_ < text_.size()) {
      step();
      if (brackets_ > kMaxTomlBrackets)
        return error(fmt::format("at most {} brackets open", kMaxTomlBrackets));
      if (dots_ > kMaxTomlDotsInLine)
        return error(fmt::format("at most {} dots in a line", kMaxTomlDotsInLine));
    }
    return {};
  }

 private:
  void step() {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return skipString(c);
    if (c == '#') {
      at_ = std::min(text_.find('\n', at_), text_.size());
      return;
    }
    if (c == '\n') dots_ = 0;
    if (c == '.') ++dots_;
    if (c == '[' || c == '{') ++brackets_;
    if ((c == ']' || c == '}') && brackets_ > 0) --brackets_;
    ++at_;
  }

  // A string of one line ends at its end at the latest: the parser stops there with an error.
  void skipString(char quote) {
    const bool lines = text_.substr(at_).starts_with(std::string(3, quote));
    const std::string end(lines ? 3 : 1, quote);
    at_ += end.size();
    while (at_ < text_.size() && !text_.substr(at_).starts_with(end)) {
      if (!lines && text_[at_] == '\n') return;
      at_ += quote == '"' && text_[at_] == '\\' ? 2 : 1;
    }
    at_ = std::min(at_ + end.size(), text_.size());
    // Up to two quotes may stand directly before the three that end a string of several lines.
    for (int extra = 0; lines && extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra) ++at_;
  }

  TomlBoundsError error(std::string expected) const {
    const std::string_view before = text_.substr(0, at_);
    const auto line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1;
    const std::size_t start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return {line, static_cast<int>(at_ - start), "expected " + std::move(expected)};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int brackets_ = 0;
  int dots_ = 0;
};

}  // namespace

TomlBoundsError checkTomlBounds(std::string_view text) {
  return Scanner(text).run();
}

}  // namespace ppx
