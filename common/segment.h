// The header of a journal segment; its kSegmentBytes of data lie in the data part at the same index.
#pragma once

#include "common/segment_word.h"
#include "common/table_layout.h"

namespace ppx {

inline constexpr uint64_t kUnstamped = ~0ull;

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
  Atomic<uint64_t> impliedAck;  // the upstream has dealt with the session's input up to there
  Atomic<uint64_t> sourceInstance;
};
static_assert(sizeof(SegmentHeader) == 64);

}  // namespace ppx
