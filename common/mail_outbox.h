// The owner's side of a mailbox (mail_pusher.h). It walks from the head back to the last freed ticket, turns the segments
// into kOut and stamps each message's start offset in ticket order: that store is the commit. Bytes go to the socket only
// from stamped messages.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "common/journal.h"
#include "common/mail_head.h"

namespace ppx {

// The owner's side of one mailbox: a few words, so that an idle session costs little. Only the owner of the
// slot, from one thread.
class MailOutbox {
 public:
  // Claimer: opens the mailbox for a new life of the slot.
  static void open(const Table& table, uint32_t slot);
  // Takes no more mail from now on; what was pushed before can still be collected.
  static void close(const Table& table, uint32_t slot);

  // Starts from what the slot says: nothing for a new session; after a take-over it finds stamped messages
  // again. `acknowledged` becomes the input that these imply to be dealt with, if that is more.
  void attach(const Table& table, SlotRef ref, uint64_t* acknowledged = nullptr);
  // Stamps new messages. Returns the bytes committed now. `acknowledged` as above. A reply to input that has gone to
  // another instance of an upstream since (SessionSlot::assignment) is emptied: that one answers it.
  uint64_t collect(const Table& table, uint64_t* acknowledged = nullptr);
  // Up to `limit` pieces of unsent output, oldest first.
  size_t gather(const Table& table, iovec* pieces, size_t limit) const;
  // `bytes` more were taken by the socket; whole messages are freed, but for one that a lane's cursor names: it
  // and what follows stay until the next call.
  void consume(const Table& table, Journal& journal, uint64_t bytes);
  // After a take-over: the kernel says that the output up to `offset` was sent. Also finishes what a killed
  // predecessor had begun to free; to be called once after attach() even when nothing is known.
  void setSent(const Table& table, Journal& journal, uint64_t offset);
  // After a take-over, or the death of any pusher: frees those of `segments` that are this session's and that
  // no message reaches (half-freed by a dead predecessor, or claimed by a pusher that died before it linked
  // them). `segments`: what Journal::outSegmentsOf() found for the slot. Stamps new messages like collect();
  // `acknowledged` as there. Returns how many came back.
  uint32_t reclaimUnreachable(const Table& table, Journal& journal, std::span<const uint32_t> segments,
                              uint64_t* acknowledged = nullptr);
  // Frees everything, stamped or not; for release, after SessionTable::beginClosing().
  void discard(const Table& table, Journal& journal);

  bool empty() const { return oldest_ == kNoSegment; }
  uint64_t pending(const Table& table) const;  // committed, not yet sent

 private:
  void append(const Table& table, uint32_t first);
  void freeOldest(const Table& table, Journal& journal);
  bool isAwaited(const Table& table, uint32_t first) const;

  SlotRef ref_;
  uint32_t oldest_ = kNoSegment;  // first segments of the oldest and newest live stamped message
  uint32_t newest_ = kNoSegment;
  uint32_t current_ =
      kNoSegment;  // segment where the next byte to send lies, and the offset of its first byte
  uint64_t currentOffset_ = 0;
  uint64_t collectedTicket_ = 0;
};

}  // namespace ppx
