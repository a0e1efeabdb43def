// The head of a slot's mailbox: the newest message, or none. Changed only by compare-and-swap.
//
//   63       62                                24 23                         0
//  +--------+------------------------------------+----------------------------+
//  | closed |              ticket                |          segment           |
//  +--------+------------------------------------+----------------------------+
//
// The ticket grows by one with each push and with each opening, over all lives of the slot, so an old head
// never comes back and a late push to an earlier session fails.
#pragma once

#include <cstdint>

namespace ppx {

struct MailHead {
  bool closed = true;
  uint64_t ticket = 0;   // 39 bits
  uint32_t segment = 0;  // first segment of the message; kNoSegment: none since the opening

  static constexpr MailHead decode(uint64_t raw) {
    return {(raw >> 63) != 0, (raw >> 24) & ((1ull << 39) - 1), static_cast<uint32_t>(raw) & 0xffffff};
  }
  constexpr uint64_t encode() const {
    return static_cast<uint64_t>(closed) << 63 | (ticket & ((1ull << 39) - 1)) << 24 | (segment & 0xffffff);
  }
};

}  // namespace ppx
