// A lane: the numbered replies of one upstream on their way through one forwarder row (`resume`,
// docs/PROTOCOL.md). One reply of a lane is under way at a time, in the order of its numbers:
//
//   cursor = {sequence, slot}   before each push: a unicast has one, a broadcast one for each session
//   push into the slot's mailbox, the message tagged {lane, instance, sequence}
//   pushed = sequence           after the last
//
// Whoever goes on with a lane after a crash finds in `cursor` the one push that may or may not have happened;
// the slot's mailbox tells (mailHolds), since its owner keeps a message that a cursor still names. Nothing is
// pushed twice, and the walk of a broadcast goes on where it stood.
#pragma once

#include "common/slot_word.h"
#include "common/table_layout.h"
#include "common/worker_role.h"

namespace ppx {

inline constexpr uint32_t kNoLane = 0xffffffff;

constexpr uint64_t laneCount(const TableSizes& sizes) {
  return static_cast<uint64_t>(sizes.upstreamSlots) * kMaxForwarders;
}
constexpr uint32_t laneIndex(uint32_t upstream, uint8_t row) {
  return upstream * static_cast<uint32_t>(kMaxForwarders) + row;
}
constexpr uint32_t laneUpstream(uint32_t lane) {
  return lane / static_cast<uint32_t>(kMaxForwarders);
}

// Written by its owner, but `owner` by compare-and-swap and `wanted` by the process of the row.
struct alignas(64) LaneRow {
  Atomic<uint64_t> owner;       // LaneOwner; 0: nobody
  Atomic<uint64_t> instance;    // of the upstream, a hash of its id and of the slot's life; 0: never used
  Atomic<uint64_t> pushed;      // all replies up to this number are in their mailboxes
  Atomic<uint64_t> cursor;      // LaneCursor of the push under way
  Atomic<uint64_t> wanted;      // incarnation of the row's process while it waits for the lane
  Atomic<uint64_t> releasedMs;  // monotonic: when its owner let it go; 0: taken, or its owner died
  Atomic<uint64_t> claims;      // how often it was taken: tells which of two attachments is older
  Atomic<uint64_t> reserved;
};
static_assert(sizeof(LaneRow) == 64);

// The process that may write to a lane.
constexpr uint64_t laneOwner(uint8_t row, uint32_t incarnation) {
  return uint64_t{1} << 63 | static_cast<uint64_t>(row) << 32 | incarnation;
}

// Which push is under way. The sequence's low 16 bits tell it from that of an earlier reply: a lane's replies
// follow one another.
constexpr uint64_t laneCursor(uint64_t sequence, SlotRef ref) {
  return uint64_t{1} << 63 | (sequence & 0xffff) << 46 |
         static_cast<uint64_t>(ref.slot & ((1u << 20) - 1)) << 26 | (ref.generation & kGenerationMask);
}
constexpr bool laneCursorIsOf(uint64_t cursor, uint64_t sequence) {
  return (cursor >> 63) != 0 && (cursor >> 46 & 0xffff) == (sequence & 0xffff);
}
constexpr SlotRef laneCursorSlot(uint64_t cursor) {
  return {static_cast<uint32_t>(cursor >> 26) & ((1u << 20) - 1),
          static_cast<uint32_t>(cursor) & kGenerationMask};
}

}  // namespace ppx
