// The layout of the shared table, one sealed memfd that every process of a gateway maps.
//
//   0        header | listener rows | pool rows | worker rows            (rows.h)
//            upstream slots                                              (upstream_slot.h)
//            dirty sets, one per forwarder row: slots that have mail     (hint_bitmap.h)
//            free hints of session slots, of in and of out segments      (hint_bitmap.h)
//            address tags, one u32 a session slot
//            session slots                                               (session_slot.h)
//            segment headers                                             (segment.h)
//            segment data, kSegmentBytes each: first in, then out
//            lanes, one for each upstream slot and forwarder row         (lane_row.h; minor 1)
//
// No lock and no sequence count lives here. A field is written once before a release store of the word that
// publishes its row, or it is one atomic. Fields are only appended within a major version; a process maps
// what it was built for and what is one minor version older.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ppx {

inline constexpr uint64_t kTableMagic = 0x31656c6261547070;  // "ppTable1"
inline constexpr uint16_t kTableMajor = 1;
inline constexpr uint16_t kTableMinor = 1;

template <typename T>
using Atomic = std::atomic<T>;
static_assert(Atomic<uint64_t>::is_always_lock_free && Atomic<uint32_t>::is_always_lock_free);

// How many of each; fixed for the life of a table.
struct TableSizes {
  uint32_t sessionSlots = 16384;  // at most kMaxSlots
  uint32_t inSegments = 32768;    // 16 MiB
  uint32_t outSegments = 131072;  // 64 MiB; in and out together below kNoSegment
  uint32_t upstreamSlots = 1024;
  bool operator==(const TableSizes&) const = default;
};

// Byte offsets of the parts from the start of the mapping; computed from the sizes, stored for other builds.
struct TableOffsets {
  uint64_t listeners, pools, workers, upstreams, dirtySets, slotHints, inHints, outHints, addressTags,
      sessions, segmentHeaders, segmentData, end;
};

struct alignas(64) TableHeader {
  uint64_t magic;
  uint16_t major;
  uint16_t minor;
  uint32_t headerBytes;
  TableSizes sizes;
  uint32_t reserved0;
  TableOffsets offsets;
  uint64_t uuidKey[2];    // of session UUIDs; secret
  uint64_t gatewayId[2];  // UUID of this gateway, in the metadata of upstream streams
  uint64_t createdRealtimeMs;

  // Written by the supervisor.
  alignas(64) Atomic<uint64_t> nextIncarnation;  // counter; incarnations start at 1 and are never reused
  Atomic<uint64_t> settingsEpoch;    // grows with each change of a listener or pool row or a setting
  Atomic<uint64_t> upstreamEpoch;    // grows with each change of an upstream's admin state or health
  Atomic<uint32_t> sessionCapacity;  // admission: only slots below this number are claimed
  Atomic<uint32_t> maxPerAddress;    // admission: 0 = off
  Atomic<uint32_t> refuseAtLimit;    // admission: 1 = refuse, 0 = wait in the backlog
  Atomic<uint32_t> activeWindowMs;
  Atomic<uint32_t> barrierTimeoutMs;
  Atomic<uint32_t> drainMaxMs;
  Atomic<uint32_t> doubtWindowMs;
  Atomic<uint32_t> maxReplyBytes;
  Atomic<uint32_t> heartbeatTimeoutMs;
  Atomic<uint32_t> logging;  // common/log_settings.h; 0 in a table of a build without it

  // Written by acceptors (set) and by whoever releases a slot (cleared, then their doorbells rung).
  alignas(64) Atomic<uint32_t> acceptorsWaiting;  // bit per acceptor: waits for a free slot
  Atomic<uint32_t> sessionHighWater;              // one past the highest slot ever claimed

  // Where parts of later minors are. Zeros, and no such part, in a table of an earlier one.
  uint64_t lanes;  // minor 1
};

}  // namespace ppx
