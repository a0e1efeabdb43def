// The contract's `time` field.
#pragma once

#include <string_view>

namespace ppx::examples {

// Now as RFC 3339 in UTC with milliseconds: 2026-01-31T12:00:00.250Z. Any thread; the text belongs to the
// calling thread and changes with its next call. Cheap enough for each message: the date is formatted once a
// second.
std::string_view timeText();

}  // namespace ppx::examples
