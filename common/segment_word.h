// The word that says whose a journal segment is. A segment is owned before a byte is put into it.
//
//   63   62 61               42 41                          16 15                 0
//  +-------+-------------------+------------------------------+--------------------+
//  | kind  |       slot        |          generation          |       detail       |
//  +-------+-------------------+------------------------------+--------------------+
//   kFree  0
//   kIn    detail = ordinal: stream offset / 512, modulo 2^16; the owner of the slot writes here
//   kMail  detail = pusher: worker row (6 bits) and low 10 bits of its incarnation; the pusher writes here
//   until it
//          has linked the message into the slot's mailbox
//   kOut   detail = 0; stamped by the owner of the slot: part of the session's output
//
// A kMail segment that no mailbox reaches belongs to its pusher: only the pusher frees it, or anybody once
// the pusher's incarnation is gone from its worker row (fencing). Segments of the other kinds are freed by
// the owner of the slot before the slot's generation moves on, so a stale generation there is garbage that
// anybody may free.
#pragma once

#include <cstdint>

namespace ppx {

inline constexpr uint32_t kSegmentBytes = 512;
inline constexpr uint32_t kNoSegment = 0xffffff;  // 24 bits; also the largest number of segments
inline constexpr uint32_t kMaxSlots = 1u << 20;

enum class SegmentKind : uint8_t { kFree = 0, kIn = 1, kMail = 2, kOut = 3 };

struct SegmentWord {
  SegmentKind kind = SegmentKind::kFree;
  uint32_t slot = 0;
  uint32_t generation = 0;
  uint16_t detail = 0;

  static constexpr SegmentWord decode(uint64_t raw) {
    return {static_cast<SegmentKind>(raw >> 62), static_cast<uint32_t>(raw >> 42) & (kMaxSlots - 1),
            static_cast<uint32_t>(raw >> 16) & ((1u << 26) - 1), static_cast<uint16_t>(raw)};
  }
  constexpr uint64_t encode() const {
    return static_cast<uint64_t>(kind) << 62 | static_cast<uint64_t>(slot) << 42 |
           static_cast<uint64_t>(generation) << 16 | detail;
  }
  bool operator==(const SegmentWord&) const = default;
};

// `detail` of a kMail segment.
constexpr uint16_t pusherTag(uint8_t workerRow, uint32_t incarnation) {
  return static_cast<uint16_t>((workerRow & 0x3f) << 10 | (incarnation & 0x3ff));
}

}  // namespace ppx
