// The extensions of the upstream contract (docs/PROTOCOL.md), as far as it takes no gRPC to know them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/uuid.h"

namespace ppx {

inline constexpr uint32_t kExtensionsVersion = 1;

// Capabilities, as bits.
inline constexpr uint8_t kEvents = 1;
inline constexpr uint8_t kClose = 2;
inline constexpr uint8_t kResume = 4;

constexpr std::string_view capabilityName(uint8_t bit) {
  return bit == kEvents ? "events" : bit == kClose ? "close" : "resume";
}
constexpr uint8_t capabilityBit(std::string_view name) {  // 0: not one that we know
  return name == "events" ? kEvents : name == "close" ? kClose : name == "resume" ? kResume : 0;
}

// How much input an upstream may leave unacknowledged before its client is read no further.
inline constexpr uint32_t kMaxUnacknowledged = 256 << 10;

// In one message; a decoded mark takes many times its bytes.
inline constexpr size_t kMaxMarks = 4096;

// `events`: what an upstream is told of a session.
struct SessionNews {
  enum class Kind : uint8_t { kOpened = 1, kEnd = 2, kClosed = 3, kMoved = 4, kListed = 5 };
  Kind kind = Kind::kListed;
  Uuid client;              // all but kListed
  std::string peer;         // kOpened
  std::string listener;     // kOpened
  bool continued = false;   // kOpened: another instance may know of it
  uint64_t offset = 0;      // kOpened
  uint32_t assignment = 0;  // kOpened, with `resume`; and this:
  uint64_t announcement = 0;
  std::string_view reason;  // kClosed: of a literal
};

}  // namespace ppx
