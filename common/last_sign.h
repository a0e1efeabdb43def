// When a process was last heard of, which is not later than its death: what it may have lost is judged from there, however
// long it took until somebody else went on with its sessions.
//
//   row.heartbeatMs   the process itself, each turn
//   row.readUpTo      a forwarder, each turn: what its upstreams had sent before was read. Zero, or another's: not said
//   row.lastSigns[]   supervisor, when it buries a process: the last that died in the row, newest first
//   slot.lost         whoever reclaims a session from the dead: of the process that served it last; whoever serves it
//                     again: nothing is lost since
#pragma once

#include <algorithm>

#include "common/clock.h"
#include "common/rows.h"
#include "common/slot_word.h"

namespace ppx {

struct LastSign {
  uint32_t incarnation = 0;  // of the process; 26 bits
  Millis at = 0;             // monotonic, 38 bits; 0: it lives

  static LastSign unpack(uint64_t word) {
    return {static_cast<uint32_t>(word >> 38), static_cast<Millis>(word & ((1ull << 38) - 1))};
  }
  uint64_t pack() const {
    return static_cast<uint64_t>(incarnation & kIncarnationMask) << 38 |
           (static_cast<uint64_t>(at) & ((1ull << 38) - 1));
  }
};

// The supervisor, before the row is emptied. Once or more often for a process.
inline void noteLastSign(WorkerRow& row, uint64_t incarnation) {
  LastSign sign{static_cast<uint32_t>(incarnation & kIncarnationMask),
                static_cast<Millis>(row.heartbeatMs.load())};
  if (LastSign read = LastSign::unpack(row.readUpTo.load()); read.incarnation == sign.incarnation)
    sign.at = std::min(sign.at, read.at);
  if (LastSign::unpack(row.lastSigns[0].load()).incarnation == sign.incarnation) return;
  for (size_t i = std::size(row.lastSigns) - 1; i > 0; --i)
    row.lastSigns[i].store(row.lastSigns[i - 1].load());
  row.lastSigns[0].store(sign.pack());
}

// At the earliest, when too many have died in the row since to know.
inline LastSign lastSignOf(const WorkerRow& row, uint32_t incarnation) {
  for (const Atomic<uint64_t>& each : row.lastSigns)
    if (LastSign sign = LastSign::unpack(each.load()); sign.incarnation == incarnation && sign.at != 0)
      return sign;
  return {incarnation, 1};
}

}  // namespace ppx
