// How a process writes its log.
#pragma once

#include <cstdint>

namespace ppx {

// kAuto: the journal natively where stderr is the journal, else text.
enum class LogFormat : std::uint8_t { kAuto = 0, kText = 1, kJson = 2 };

}  // namespace ppx
