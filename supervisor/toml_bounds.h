// Refuses text that nests so deep that toml++ would run out of stack: it bounds lists, but not dotted keys (a
// line of "a.a.a." thousands of times, or shorter ones within lists). Looks at brackets and dots outside
// strings and comments; whatever else is wrong with the text is left to the parser.
#pragma once

#include <string>
#include <string_view>

namespace ppx {

struct TomlBoundsError {
  int line = 0;  // 0: none
  int column = 0;
  std::string message;
};

inline constexpr int kMaxTomlBrackets = 16;
inline constexpr int kMaxTomlDotsInLine = 64;

TomlBoundsError checkTomlBounds(std::string_view text);

}  // namespace ppx
