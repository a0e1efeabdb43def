// From acceptor to forwarder: SEQPACKET on <runtime>/forwarder-<row>.sock, which the forwarder listens on.
//
//   acceptor                                  forwarder
//     | -- Handoff [records] + a socket each --> |   slots are HANDOFF(row) already; the forwarder owns() each
//     | <- HandoffDone {count} ----------------- |   so many descriptors were received (or were lost, see below)
//
// If either dies, the slot stays HANDOFF(row) and the custodian has the descriptor: whoever becomes the forwarder of
// that row fetches it. So does a forwarder that received fewer descriptors than records (MSG_CTRUNC).
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

namespace ppx::handoff {

inline constexpr uint32_t kMagic = 0x48787070;  // "ppxH"
inline constexpr uint16_t kVersion = 1;
inline constexpr uint32_t kMaxRecords = 253;
inline constexpr uint32_t kMaxUnacknowledged = 1024;

enum class Type : uint16_t { kHandoff = 1, kHandoffDone = 2 };

struct Head {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  Type type;
  uint32_t count = 0;  // Handoff: records that follow; HandoffDone: descriptors acknowledged
};

struct Record {
  uint32_t slot = 0;
  uint32_t generation = 0;
};
static_assert(std::is_trivially_copyable_v<Head> && sizeof(Record) == 8);

inline std::string socketName(uint8_t forwarderRow) {
  return "forwarder-" + std::to_string(forwarderRow) + ".sock";
}

}  // namespace ppx::handoff
