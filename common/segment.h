// The header of a journal segment; its kSegmentBytes of data lie in the data part at the same index.
#pragma once

#include "common/segment_word.h"
#include "common/table_layout.h"

namespace ppx {

inline constexpr uint64_t kUnstamped = ~0ull;

// What a reply says of the input that caused it: dealt with up to `offset` (0: nothing is said), in the session's
// `assignment` of that number (0: not said). Offsets have 48 bits, assignments are told apart by their last 16.
struct ImpliedAck {
  uint64_t offset = 0;
  uint16_t assignment = 0;
  uint64_t encode() const { return static_cast<uint64_t>(assignment) << 48 | (offset & ((1ull << 48) - 1)); }
  static ImpliedAck decode(uint64_t word) {
    return {word & ((1ull << 48) - 1), static_cast<uint16_t>(word >> 48)};
  }
};

// Fields other than `word` are written by the segment's owner (see segment_word.h): for a message the pusher,
// before it links it; from then on the owner of the slot. They have a meaning in the first segment of a
// message only, except `next`.
struct alignas(64) SegmentHeader {
  Atomic<uint64_t> word;      // SegmentWord
  Atomic<uint64_t> previous;  // MailHead before this message
  Atomic<uint64_t>
      startOffset;          // offset of its first byte in the session's output; kUnstamped until the commit
  Atomic<uint32_t> next;    // next segment of the same message, or kNoSegment
  Atomic<uint32_t> length;  // bytes of the message
  Atomic<uint32_t> newer;   // owner's hint: first segment of the next message in ticket order
  Atomic<uint32_t> sourceLane;  // lane that it came by, or kNoLane; with the next three: `resume` (minor 1)
  Atomic<uint64_t> sourceSequence;
  Atomic<uint64_t> impliedAck;  // ImpliedAck
  Atomic<uint64_t> sourceInstance;
};
static_assert(sizeof(SegmentHeader) == 64);

}  // namespace ppx
