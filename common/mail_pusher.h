// The outbound journal of a session (mailbox): any forwarder pushes, the owner of the slot stamps, sends and frees
// (mail_outbox.h).
//
// A push: segments are claimed (kMail), filled, and linked by one compare-and-swap of the head {ticket, segment}.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "common/journal.h"
#include "common/mail_head.h"

namespace ppx {

// Which reply of which lane a message is, so that a successor of its pusher recognises it (lane_row.h).
struct MailTag {
  uint32_t lane = kNoLane;
  uint64_t sequence = 0;
  uint64_t instance = 0;
  ImpliedAck impliedAck = {};
};

enum class PushResult { kPushed, kGone, kNoSegments };

// Any process, any thread.
class MailPusher {
 public:
  MailPusher(const Table& table, Journal& journal) : table_(&table), journal_(&journal), sessions_(table) {}

  // Pushes `pieces` as one message. kGone: that session does not take mail any more. kNoSegments: nothing was
  // pushed. Afterwards the caller rings the slot's owner (Doorbells::ringSlot).
  PushResult push(SlotRef ref, std::span<const iovec> pieces, const MailTag& tag = {});

 private:
  uint32_t fill(SlotRef ref, std::span<const iovec> pieces);
  void drop(uint32_t first);
  const Table* table_;
  Journal* journal_;
  SessionTable sessions_;
};

// Whether the mailbox holds the message of this tag. Any process, while the lane's cursor names the slot: so
// long its owner frees neither that message nor a later one.
bool mailHolds(const Table& table, SlotRef ref, const MailTag& tag);

}  // namespace ppx
