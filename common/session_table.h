// Claim, hand over and release session slots, and find a session by UUID. No state of its own but the
// table's.
#pragma once

#include <optional>

#include "common/close_reason.h"
#include "common/table.h"

namespace ppx {

// What an acceptor knows of a new client.
struct NewSession {
  Uuid uuid;  // made by claim()
  uint16_t listener = 0;
  uint16_t pool = 0;
  uint64_t cookie = 0;
  uint64_t peerHigh = 0, peerLow = 0;
  uint16_t peerPort = 0;
  uint32_t addressTag = 0;
  uint64_t baselineReceived = 0, baselineSent = 0;
};

// Who acts: the worker's row and incarnation.
struct WorkerId {
  uint8_t row = 0;
  uint32_t incarnation = 0;
  bool operator==(const WorkerId&) const = default;
};

// Any process; not thread-safe only in that `random` must not be shared.
class SessionTable {
 public:
  explicit SessionTable(const Table& table) : table_(&table) {}

  // FREE -> CLAIMED(self): below header().sessionCapacity. None: all are taken.
  std::optional<SlotRef> claim(const WorkerId& self, uint32_t startHint);
  // Fills a slot that `self` has claimed, makes its UUID, opens its mailbox.
  Uuid fill(SlotRef ref, const NewSession& session, RandomSource& random);
  // CLAIMED(self) -> HANDOFF(forwarder). From here on it is a session.
  bool handoff(SlotRef ref, const WorkerId& self, uint8_t forwarderRow);
  // HANDOFF(self.row) -> OWNED(self). The loser closes its copy of the descriptor.
  bool own(SlotRef ref, const WorkerId& self);
  // OWNED(self) -> HANDOFF(forwarder): a planned move; HANDOFF(from) -> HANDOFF(forwarder): a lost handoff.
  bool move(SlotRef ref, const WorkerId& self, uint8_t forwarderRow);
  bool redirect(SlotRef ref, uint8_t fromRow, uint8_t toRow);
  // OWNED(self) -> CLOSING(self), with its reason; then closes the mailbox. What was pushed before can still
  // be collected. A successor that finds CLOSING closes the mailbox again: its predecessor may not have got
  // there.
  bool beginClosing(SlotRef ref, const WorkerId& self, CloseReason reason);
  // The word of a dead owner (CLAIMED, OWNED or CLOSING) to {state, self}; false: it was not `dead`'s any
  // more. A HANDOFF belongs to the row, not to a process: redirect() it, or let the row's successor own() it.
  bool reclaim(SlotRef ref, const WorkerId& dead, const WorkerId& self);
  // CLAIMED(self) or CLOSING(self) -> FREE with the next generation. The caller has freed all its segments
  // and the custodian has dropped its descriptor. Wakes nobody: see AcceptorBell.
  bool release(SlotRef ref, const WorkerId& self);

  // The session of a UUID, if it is one that takes mail now.
  std::optional<SlotRef> find(const Uuid& uuid) const;
  std::optional<SlotRef> findAny(const Uuid& uuid) const;  // also one that is closing
  SlotWord word(uint32_t slot) const;
  Uuid uuid(uint32_t slot) const;  // meaningful while the generation stands: read the word before and after

  // Asks the owner to end it; the first request stands. False: gone, or asked before.
  bool requestClose(SlotRef ref, CloseReason reason);
  // The request that stands, if any.
  std::optional<CloseReason> closeRequested(SlotRef ref) const;

  // How many sessions have this address tag: an exact count over all acceptors.
  uint32_t countAddress(uint32_t addressTag) const;
  // Free hints again from the words: what killed processes left wrong. Returns how many were mended.
  uint32_t repairHints();

 private:
  bool change(uint32_t slot, const SlotWord& from, const SlotWord& to);
  const Table* table_;
};

}  // namespace ppx
