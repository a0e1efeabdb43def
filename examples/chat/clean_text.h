// Strangers' bytes made fit for other people's terminals.
#pragma once

#include <string>
#include <string_view>

namespace ppx::examples {

// Valid UTF-8 without control characters (C0, DEL, C1): tabs become spaces, other controls vanish, each byte
// that is not UTF-8 becomes U+FFFD.
std::string cleanText(std::string_view bytes);

// 1 to 24 letters, digits, '_', '-' of ASCII.
bool isGoodName(std::string_view name);

}  // namespace ppx::examples
