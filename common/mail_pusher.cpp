#include "common/mail_pusher.h"

#include <algorithm>
#include <cstring>

#include "common/failpoint.h"

namespace ppx {

PushResult MailPusher::push(SlotRef ref, std::span<const iovec> pieces, const MailTag& tag) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  if (bytes == 0) return PushResult::kPushed;
  uint32_t first = fill(ref, pieces);
  if (first == kNoSegment) return PushResult::kNoSegments;

  SegmentHeader& header = journal_->header(first);
  header.length.store(static_cast<uint32_t>(bytes), std::memory_order_relaxed);
  header.startOffset.store(kUnstamped, std::memory_order_relaxed);
  header.sourceLane.store(tag.lane, std::memory_order_relaxed);
  if (tag.lane != kNoLane) {
    header.sourceSequence.store(tag.sequence, std::memory_order_relaxed);
    header.sourceInstance.store(tag.instance, std::memory_order_relaxed);
    header.impliedAck.store(tag.impliedAck.encode(), std::memory_order_relaxed);
  }
  failpoint("mailbox.filled");
  Atomic<uint64_t>& head = table_->session(ref.slot).mailHead;
  uint64_t seen = head.load();
  for (;;) {
    MailHead before = MailHead::decode(seen);
    // The head was read first: had the slot got a new life since, the word would say so now or the swap would
    // fail, since opening a mailbox takes a ticket.
    SlotWord word = sessions_.word(ref.slot);
    if (before.closed || word.generation != ref.generation || !takesMail(word.state)) {
      drop(first);
      return PushResult::kGone;
    }
    header.previous.store(seen, std::memory_order_relaxed);
    failpoint("mailbox.link");
    if (head.compare_exchange_weak(seen, MailHead{false, before.ticket + 1, first}.encode())) break;
  }
  failpoint("mailbox.linked");
  return PushResult::kPushed;
}

uint32_t MailPusher::fill(SlotRef ref, std::span<const iovec> pieces) {
  uint32_t first = kNoSegment, last = kNoSegment;
  size_t used = kSegmentBytes;  // of the last segment
  for (const iovec& piece : pieces) {
    const char* from = static_cast<const char*>(piece.iov_base);
    for (size_t left = piece.iov_len; left > 0;) {
      if (used == kSegmentBytes) {
        uint32_t segment = journal_->claimMail(ref);
        if (segment == kNoSegment) {
          drop(first);
          return kNoSegment;
        }
        journal_->header(segment).next.store(kNoSegment, std::memory_order_relaxed);
        if (last == kNoSegment)
          first = segment;
        else
          journal_->header(last).next.store(segment, std::memory_order_relaxed);
        last = segment;
        used = 0;
      }
      size_t count = std::min(left, kSegmentBytes - used);
      std::memcpy(journal_->data(last) + used, from, count);
      from += count;
      left -= count;
      used += count;
    }
  }
  return first;
}

bool mailHolds(const Table& table, SlotRef ref, const MailTag& tag) {
  const SessionSlot& slot = table.session(ref.slot);
  MailHead head = MailHead::decode(slot.mailHead.load());
  while (head.segment < table.segmentCount()) {
    const SegmentHeader& message = table.segment(head.segment);
    SegmentWord word = SegmentWord::decode(message.word.load());
    MailHead previous = MailHead::decode(message.previous.load());
    bool same = message.sourceLane.load() == tag.lane && message.sourceSequence.load() == tag.sequence &&
                message.sourceInstance.load() == tag.instance;
    // Freed, perhaps while it was read: then so is all that is older, and what we look for is not among it.
    if (word.slot != ref.slot || word.generation != ref.generation || previous.ticket + 1 != head.ticket ||
        slot.mailFreed.load() >= head.ticket)
      return false;
    if (same) return true;
    head = previous;
  }
  return false;
}

void MailPusher::drop(uint32_t segment) {
  while (segment != kNoSegment) {
    uint32_t next = journal_->header(segment).next.load(std::memory_order_relaxed);
    journal_->freeOwned(segment);
    segment = next;
  }
}

}  // namespace ppx
