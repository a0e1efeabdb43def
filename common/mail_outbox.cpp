#include "common/mail_outbox.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/failpoint.h"

namespace ppx {
namespace {

// A message has the ticket after that of the head before it.
uint64_t ticketOf(const SegmentHeader& first) {
  return MailHead::decode(first.previous.load(std::memory_order_relaxed)).ticket + 1;
}

uint64_t startOf(const Table& table, uint32_t first) {
  return table.segment(first).startOffset.load(std::memory_order_relaxed);
}

uint64_t endOf(const Table& table, uint32_t first) {
  return startOf(table, first) + table.segment(first).length.load(std::memory_order_relaxed);
}

ImpliedAck impliedBy(const SegmentHeader& message) {
  if (message.sourceLane.load(std::memory_order_relaxed) == kNoLane) return {};
  return ImpliedAck::decode(message.impliedAck.load(std::memory_order_relaxed));
}

// It answers input that has gone to another instance meanwhile, which answers it too.
bool isStale(const SessionSlot& slot, const SegmentHeader& message) {
  const ImpliedAck implied = impliedBy(message);
  const uint64_t servedBy = slot.servedBy.load(std::memory_order_relaxed);
  if (implied.offset == 0 || servedBy == 0) return false;
  return implied.assignment != 0
             ? implied.assignment != static_cast<uint16_t>(slot.assignment.load(std::memory_order_relaxed))
             : message.sourceInstance.load(std::memory_order_relaxed) != servedBy;
}

// It stays in the list, empty: whoever goes on with its lane may look for it.
void emptyOut(SegmentHeader& message) {
  message.length.store(0, std::memory_order_relaxed);
  message.impliedAck.store(0, std::memory_order_relaxed);
}

void noteAcknowledged(const Table& table, uint32_t first, uint64_t* acknowledged) {
  if (acknowledged != nullptr)
    *acknowledged = std::max(*acknowledged, impliedBy(table.segment(first)).offset);
}

// First segments of the messages with tickets above `after`, newest first.
void walk(const Table& table, MailHead head, uint64_t after, std::vector<uint32_t>& out) {
  out.clear();
  while (head.ticket > after && head.segment != kNoSegment) {
    out.push_back(head.segment);
    head = MailHead::decode(table.segment(head.segment).previous.load(std::memory_order_relaxed));
  }
}

// From the pusher's hands into those of the slot's owner; a predecessor may have done some of it.
void takeSegments(const Table& table, uint32_t segment, SlotRef ref) {
  const uint64_t out = SegmentWord{SegmentKind::kOut, ref.slot, ref.generation, 0}.encode();
  for (; segment != kNoSegment; segment = table.segment(segment).next.load(std::memory_order_relaxed)) {
    Atomic<uint64_t>& word = table.segment(segment).word;
    SegmentWord now = SegmentWord::decode(word.load(std::memory_order_relaxed));
    PPX_INVARIANT(now.slot == ref.slot && now.generation == ref.generation &&
                  (now.kind == SegmentKind::kMail || now.kind == SegmentKind::kOut));
    word.store(out);
    failpoint("mailbox.taken");
  }
}

}  // namespace

void MailOutbox::open(const Table& table, uint32_t slot) {
  SessionSlot& s = table.session(slot);
  uint64_t ticket = MailHead::decode(s.mailHead.load()).ticket + 1;
  s.mailFreed.store(ticket);
  failpoint("mailbox.opening");
  s.mailHead.store(MailHead{false, ticket, kNoSegment}.encode());
}

void MailOutbox::close(const Table& table, uint32_t slot) {
  Atomic<uint64_t>& head = table.session(slot).mailHead;
  uint64_t seen = head.load();
  while (!MailHead::decode(seen).closed) {
    MailHead closed = MailHead::decode(seen);
    closed.closed = true;
    if (head.compare_exchange_weak(seen, closed.encode())) return;
  }
}

void MailOutbox::attach(const Table& table, SlotRef ref, uint64_t* acknowledged) {
  *this = MailOutbox();
  ref_ = ref;
  SessionSlot& s = table.session(ref.slot);
  collectedTicket_ = s.mailFreed.load();
  std::vector<uint32_t> messages;
  walk(table, MailHead::decode(s.mailHead.load()), collectedTicket_, messages);
  for (size_t i = messages.size(); i-- > 0;) {
    uint32_t first = messages[i];
    if (startOf(table, first) == kUnstamped) break;
    noteAcknowledged(table, first, acknowledged);
    append(table, first);
    s.outStamped.store(endOf(table, first), std::memory_order_relaxed);
  }
}

void MailOutbox::append(const Table& table, uint32_t first) {
  SegmentHeader& header = table.segment(first);
  header.newer.store(kNoSegment, std::memory_order_relaxed);
  if (oldest_ == kNoSegment) {
    oldest_ = current_ = first;
    currentOffset_ = startOf(table, first);
  } else {
    table.segment(newest_).newer.store(first, std::memory_order_relaxed);
  }
  newest_ = first;
  collectedTicket_ = ticketOf(header);
}

uint64_t MailOutbox::collect(const Table& table, uint64_t* acknowledged) {
  SessionSlot& s = table.session(ref_.slot);
  MailHead head = MailHead::decode(s.mailHead.load());
  if (head.ticket == collectedTicket_) return 0;
  alignas(64) thread_local std::vector<uint32_t> messages;
  walk(table, head, collectedTicket_, messages);
  uint64_t before = s.outStamped.load(std::memory_order_relaxed);
  uint64_t offset = before;
  for (size_t i = messages.size(); i-- > 0;) {
    uint32_t first = messages[i];
    takeSegments(table, first, ref_);
    if (isStale(s, table.segment(first))) emptyOut(table.segment(first));
    table.segment(first).startOffset.store(offset);
    failpoint("mailbox.stamped");
    offset += table.segment(first).length.load(std::memory_order_relaxed);
    s.outStamped.store(offset, std::memory_order_release);
    noteAcknowledged(table, first, acknowledged);
    append(table, first);
  }
  return offset - before;
}

size_t MailOutbox::gather(const Table& table, iovec* pieces, size_t limit) const {
  uint64_t sent = table.session(ref_.slot).outSent.load(std::memory_order_relaxed);
  size_t count = 0;
  uint32_t message = oldest_, segment = current_;
  uint64_t offset = currentOffset_;
  while (message != kNoSegment && count < limit) {
    uint64_t end = std::min(offset + kSegmentBytes, endOf(table, message));
    uint64_t skip = sent > offset ? sent - offset : 0;
    if (offset + skip < end)
      pieces[count++] = iovec{table.segmentData(segment) + skip, static_cast<size_t>(end - offset - skip)};
    if (end < endOf(table, message)) {
      segment = table.segment(segment).next.load(std::memory_order_relaxed);
      offset = end;
    } else {
      message = table.segment(message).newer.load(std::memory_order_relaxed);
      segment = message;
      if (message != kNoSegment) offset = startOf(table, message);
    }
  }
  return count;
}

void MailOutbox::consume(const Table& table, Journal& journal, uint64_t bytes) {
  SessionSlot& s = table.session(ref_.slot);
  uint64_t sent = s.outSent.load(std::memory_order_relaxed) + bytes;
  PPX_INVARIANT(sent <= s.outStamped.load(std::memory_order_relaxed));
  s.outSent.store(sent, std::memory_order_release);
  failpoint("mailbox.sent");
  while (oldest_ != kNoSegment && endOf(table, oldest_) <= sent && !isAwaited(table, oldest_))
    freeOldest(table, journal);
  while (oldest_ != kNoSegment && sent >= currentOffset_ + kSegmentBytes) {
    uint32_t next = table.segment(current_).next.load(std::memory_order_relaxed);
    if (next == kNoSegment) return;  // all of it is sent, but it stays
    current_ = next;
    currentOffset_ += kSegmentBytes;
  }
}

// A lane's cursor says that this push may not have happened: whoever asks must find it.
bool MailOutbox::isAwaited(const Table& table, uint32_t first) const {
  const SegmentHeader& message = table.segment(first);
  uint32_t index = message.sourceLane.load(std::memory_order_relaxed);
  if (index == kNoLane || !table.hasLanes() || index >= laneCount(table.sizes())) return false;
  const LaneRow& lane = table.lane(index);
  uint64_t sequence = message.sourceSequence.load(std::memory_order_relaxed);
  return lane.pushed.load() < sequence && lane.cursor.load() == laneCursor(sequence, ref_) &&
         lane.instance.load() == message.sourceInstance.load(std::memory_order_relaxed);
}

void MailOutbox::setSent(const Table& table, Journal& journal, uint64_t offset) {
  uint64_t noted = table.session(ref_.slot).outSent.load(std::memory_order_relaxed);
  // Also when it is as noted: the predecessor may have been killed before it freed what it had noted as sent.
  consume(table, journal, offset > noted ? offset - noted : 0);
}

void MailOutbox::freeOldest(const Table& table, Journal& journal) {
  uint32_t first = oldest_;
  oldest_ = table.segment(first).newer.load(std::memory_order_relaxed);
  current_ = oldest_;
  if (oldest_ == kNoSegment)
    newest_ = kNoSegment;
  else
    currentOffset_ = startOf(table, oldest_);
  // Before the first segment goes: nobody walks into it from here on.
  table.session(ref_.slot).mailFreed.store(ticketOf(table.segment(first)));
  failpoint("mailbox.freeing");
  for (uint32_t segment = first; segment != kNoSegment;) {
    uint32_t next = table.segment(segment).next.load(std::memory_order_relaxed);
    journal.freeOwned(segment);
    segment = next;
  }
}

uint32_t MailOutbox::reclaimUnreachable(const Table& table, Journal& journal,
                                        std::span<const uint32_t> segments, uint64_t* acknowledged) {
  // The pushers' deaths first, then the mailbox: what a dead one has linked is in it by now.
  std::vector<std::pair<uint32_t, SegmentWord>> lost;
  for (uint32_t segment : segments) {
    SegmentWord word = journal.word(segment);
    if (word.slot != ref_.slot || word.generation != ref_.generation) continue;
    if (word.kind == SegmentKind::kOut || (word.kind == SegmentKind::kMail && !journal.isPusherAlive(word)))
      lost.emplace_back(segment, word);
  }
  if (lost.empty()) return 0;
  collect(table, acknowledged);
  std::unordered_set<uint32_t> reachable;
  for (uint32_t first = oldest_; first != kNoSegment; first = table.segment(first).newer.load())
    for (uint32_t segment = first; segment != kNoSegment; segment = table.segment(segment).next.load())
      reachable.insert(segment);
  uint32_t back = 0;
  for (const auto& [segment, word] : lost)
    if (!reachable.contains(segment) && journal.free(segment, word)) ++back;
  return back;
}

void MailOutbox::discard(const Table& table, Journal& journal) {
  collect(table);
  while (oldest_ != kNoSegment) freeOldest(table, journal);
}

uint64_t MailOutbox::pending(const Table& table) const {
  const SessionSlot& s = table.session(ref_.slot);
  return s.outStamped.load(std::memory_order_relaxed) - s.outSent.load(std::memory_order_relaxed);
}

}  // namespace ppx
