#include "examples/chat/clean_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ppx::examples {
namespace {

constexpr std::size_t kMaxName = 24;

// The length of the well-formed UTF-8 character at the beginning, 0 if there is none.
std::size_t characterLength(std::string_view text, std::uint32_t& code) {
  const auto byteAt = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byteAt(0);
  if (lead < 0x80) {
    code = lead;
    return 1;
  }
  const std::size_t length = lead >> 5 == 0x06 ? 2 : lead >> 4 == 0x0e ? 3 : lead >> 3 == 0x1e ? 4 : 0;
  if (length == 0 || text.size() < length) {
    return 0;
  }
  code = lead & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (byteAt(i) >> 6 != 0x02) {
      return 0;
    }
    code = code << 6 | (byteAt(i) & 0x3fu);
  }
  static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool isSurrogate = code >= 0xd800 && code <= 0xdfff;
  return code >= kLeast[length] && code <= 0x10ffff && !isSurrogate ? length : 0;
}

}  // namespace

std::string cleanText(std::string_view bytes) {
  std::string clean;
  clean.reserve(bytes.size());
  while (!bytes.empty()) {
    std::uint32_t code = 0;
    const std::size_t length = characterLength(bytes, code);
    if (length == 0) {
      clean += "\xef\xbf\xbd";
    } else if (code == '\t') {
      clean += ' ';
    } else if (code >= 0x20 && (code < 0x7f || code > 0x9f)) {
      clean += bytes.substr(0, length);
    }
    bytes.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return clean;
}

bool isGoodName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace ppx::examples
