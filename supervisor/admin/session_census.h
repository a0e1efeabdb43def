// How many sessions there are, for the status and the metrics. Any thread of the supervisor.
#pragma once

#include <array>
#include <cstdint>

#include "common/session_table.h"

namespace ppx {

// Each session as it was when its slot was looked at; the slots are looked at one after the other.
struct SessionCensus {
  std::array<uint32_t, 5> inState{};  // by SlotState
  // In no forwarder's hands at that moment, but on its way to one: from an acceptor, in a planned move, or from a process
  // that died. Its bytes wait. Once it is 0 after a crash or a move, all that these concerned go on.
  uint32_t unserved = 0;

  uint32_t in(SlotState state) const { return inState[static_cast<size_t>(state)]; }
  uint32_t open() const { return in(SlotState::kHandoff) + in(SlotState::kOwned) + in(SlotState::kClosing); }
};

SessionCensus countSessions(const Table& table);

}  // namespace ppx
