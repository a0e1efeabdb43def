#include "common/session_table.h"

#include <algorithm>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/mail_head.h"
#include "common/mail_outbox.h"

namespace ppx {

bool SessionTable::change(uint32_t slot, const SlotWord& from, const SlotWord& to) {
  uint64_t expected = from.encode();
  return table_->session(slot).word.compare_exchange_strong(expected, to.encode());
}

SlotWord SessionTable::word(uint32_t slot) const {
  return SlotWord::decode(table_->session(slot).word.load());
}

Uuid SessionTable::uuid(uint32_t slot) const {
  const SessionSlot& s = table_->session(slot);
  return {s.uuidHigh.load(std::memory_order_relaxed), s.uuidLow.load(std::memory_order_relaxed)};
}

std::optional<SlotRef> SessionTable::claim(const WorkerId& self, uint32_t startHint) {
  uint32_t capacity = table_->header().sessionCapacity.load(std::memory_order_relaxed);
  HintBitmap hints = table_->slotHints();
  for (;;) {
    std::optional<uint32_t> slot = hints.take(startHint, capacity);
    if (!slot) return std::nullopt;
    SlotWord current = word(*slot);
    if (current.state != SlotState::kFree) continue;  // a hint that was wrong
    SlotWord mine{SlotState::kClaimed, self.row, self.incarnation, current.generation};
    // Before the claim: a claimer killed in between leaves no slot above the mark, where recovery looks.
    Atomic<uint32_t>& high = table_->header().sessionHighWater;
    uint32_t seen = high.load();
    while (seen <= *slot && !high.compare_exchange_weak(seen, *slot + 1)) {
    }
    failpoint("table.claiming");
    if (!change(*slot, current, mine)) continue;
    failpoint("table.claimed");
    return SlotRef{*slot, current.generation};
  }
}

Uuid SessionTable::fill(SlotRef ref, const NewSession& session, RandomSource& random) {
  constexpr auto relaxed = std::memory_order_relaxed;
  SessionSlot& s = table_->session(ref.slot);
  Uuid uuid = makeSessionUuid(table_->uuidKey(), ref.slot, random);
  s.uuidHigh.store(uuid.high, relaxed);
  s.uuidLow.store(uuid.low, relaxed);
  s.cookie.store(session.cookie, relaxed);
  s.listener.store(session.listener, relaxed);
  s.pool.store(session.pool, relaxed);
  s.upstream.store(kNoUpstream, relaxed);
  s.upstreamGeneration.store(0, relaxed);
  s.assignment.store(0, relaxed);
  s.servedBy.store(0, relaxed);
  s.lastInMs.store(0, relaxed);
  s.lastOutMs.store(0, relaxed);
  s.lastPassedMs.store(0, relaxed);
  s.peerHigh.store(session.peerHigh, relaxed);
  s.peerLow.store(session.peerLow, relaxed);
  s.peerPort.store(session.peerPort, relaxed);
  s.acceptedRealtimeMs.store(static_cast<uint64_t>(realtimeMillis()), relaxed);
  s.acceptedMs.store(static_cast<uint64_t>(monotonicMillis()), relaxed);
  s.baselineReceived.store(session.baselineReceived, relaxed);
  s.baselineSent.store(session.baselineSent, relaxed);
  for (Atomic<uint64_t>* offset : {&s.inReceived, &s.inWritten, &s.inAcked, &s.outStamped, &s.outSent})
    offset->store(0, relaxed);
  s.flags.store(0, relaxed);
  s.closeRequest.store(0, relaxed);
  s.closeReason.store(0, relaxed);
  s.takeovers.store(0, relaxed);
  for (Atomic<uint64_t>& at : s.crashMs) at.store(0, relaxed);
  s.closingSinceMs.store(0, relaxed);
  s.lost.store(0, relaxed);
  table_->addressTags()[ref.slot].store(session.addressTag, relaxed);
  MailOutbox::open(*table_, ref.slot);
  return uuid;
}

bool SessionTable::handoff(SlotRef ref, const WorkerId& self, uint8_t forwarderRow) {
  return change(ref.slot, {SlotState::kClaimed, self.row, self.incarnation, ref.generation},
                {SlotState::kHandoff, forwarderRow, 0, ref.generation});
}

bool SessionTable::own(SlotRef ref, const WorkerId& self) {
  return change(ref.slot, {SlotState::kHandoff, self.row, 0, ref.generation},
                {SlotState::kOwned, self.row, self.incarnation, ref.generation});
}

bool SessionTable::move(SlotRef ref, const WorkerId& self, uint8_t forwarderRow) {
  return change(ref.slot, {SlotState::kOwned, self.row, self.incarnation, ref.generation},
                {SlotState::kHandoff, forwarderRow, 0, ref.generation});
}

bool SessionTable::redirect(SlotRef ref, uint8_t fromRow, uint8_t toRow) {
  return change(ref.slot, {SlotState::kHandoff, fromRow, 0, ref.generation},
                {SlotState::kHandoff, toRow, 0, ref.generation});
}

bool SessionTable::beginClosing(SlotRef ref, const WorkerId& self, CloseReason reason) {
  const SlotWord owned{SlotState::kOwned, self.row, self.incarnation, ref.generation};
  if (word(ref.slot) != owned) return false;  // it may be another session's by now: its row is not touched
  SessionSlot& s = table_->session(ref.slot);
  s.closeReason.store(static_cast<uint32_t>(reason), std::memory_order_relaxed);
  s.closingSinceMs.store(static_cast<uint64_t>(monotonicMillis()), std::memory_order_relaxed);
  if (!change(ref.slot, owned, {SlotState::kClosing, self.row, self.incarnation, ref.generation}))
    return false;
  failpoint("table.closing");
  // After the word: an owner killed in between leaves a closing slot, which its successor ends, and not an
  // owned one that takes no mail.
  MailOutbox::close(*table_, ref.slot);
  return true;
}

bool SessionTable::reclaim(SlotRef ref, const WorkerId& dead, const WorkerId& self) {
  SlotWord current = word(ref.slot);
  if (current.state == SlotState::kFree || current.state == SlotState::kHandoff ||
      current.generation != ref.generation || current.worker != dead.row ||
      current.incarnation != dead.incarnation)
    return false;
  return change(ref.slot, current, {current.state, self.row, self.incarnation, current.generation});
}

bool SessionTable::release(SlotRef ref, const WorkerId& self) {
  SlotWord current = word(ref.slot);
  if (current.generation != ref.generation || current.worker != self.row ||
      current.incarnation != self.incarnation ||
      (current.state != SlotState::kClaimed && current.state != SlotState::kClosing))
    return false;
  table_->addressTags()[ref.slot].store(0, std::memory_order_relaxed);
  MailOutbox::close(*table_, ref.slot);  // a slot that was only claimed has an open one
  SlotWord next{SlotState::kFree, 0, 0, (current.generation + 1) & kGenerationMask};
  failpoint("table.releasing");
  if (!change(ref.slot, current, next)) return false;
  failpoint("table.released");
  table_->slotHints().set(ref.slot);
  return true;
}

std::optional<SlotRef> SessionTable::findAny(const Uuid& wanted) const {
  uint32_t slot = slotOfUuid(table_->uuidKey(), wanted);
  if (slot >= table_->sizes().sessionSlots) return std::nullopt;
  SlotWord before = word(slot);
  if (before.state == SlotState::kFree || before.state == SlotState::kClaimed) return std::nullopt;
  // The UUID was written before the word said so; it is the same life if the word still names it afterwards.
  if (uuid(slot) != wanted || word(slot).generation != before.generation) return std::nullopt;
  return SlotRef{slot, before.generation};
}

std::optional<SlotRef> SessionTable::find(const Uuid& wanted) const {
  std::optional<SlotRef> ref = findAny(wanted);
  if (!ref || !takesMail(word(ref->slot).state)) return std::nullopt;
  return ref;
}

bool SessionTable::requestClose(SlotRef ref, CloseReason reason) {
  const uint64_t request =
      static_cast<uint64_t>(ref.generation) << 32 | static_cast<uint64_t>(reason) << 8 | 1;
  Atomic<uint64_t>& standing = table_->session(ref.slot).closeRequest;
  uint64_t seen = standing.load();
  for (;;) {
    // The request first, then the word: what is replaced is none or that of an earlier life, which came too
    // late; never that of a later one.
    SlotWord current = word(ref.slot);
    if (current.generation != ref.generation || !takesMail(current.state)) return false;
    if ((seen & 1) != 0 && seen >> 32 == ref.generation) return false;
    if (standing.compare_exchange_strong(seen, request)) return true;
  }
}

std::optional<CloseReason> SessionTable::closeRequested(SlotRef ref) const {
  uint64_t request = table_->session(ref.slot).closeRequest.load(std::memory_order_acquire);
  if ((request & 1) == 0 || request >> 32 != ref.generation) return std::nullopt;
  return static_cast<CloseReason>(request >> 8 & 0xff);
}

uint32_t SessionTable::countAddress(uint32_t addressTag) const {
  const Atomic<uint32_t>* tags = table_->addressTags();
  uint32_t high = table_->header().sessionHighWater.load(std::memory_order_relaxed);
  uint32_t count = 0;
  for (uint32_t i = 0; i < high; ++i) count += tags[i].load(std::memory_order_relaxed) == addressTag ? 1 : 0;
  return count;
}

uint32_t SessionTable::repairHints() {
  HintBitmap hints = table_->slotHints();
  uint32_t mended = 0;
  for (uint32_t slot = 0; slot < table_->sizes().sessionSlots; ++slot) {
    if (word(slot).state != SlotState::kFree || hints.test(slot)) continue;
    hints.set(slot);  // at worst somebody is about to claim it: the word decides
    ++mended;
  }
  return mended;
}

}  // namespace ppx
