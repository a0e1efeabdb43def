#include "forwarder/reply_router.h"

#include <algorithm>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

iovec pieceOf(std::string_view payload) {
  return {const_cast<char*>(payload.data()), payload.size()};
}

}  // namespace

ReplyRouter::ReplyRouter(const Table& table, const Doorbells& doorbells, Journal& journal,
                         const WorkerId& self)
    : table_(&table),
      doorbells_(&doorbells),
      sessions_(table),
      pusher_(table, journal),
      figures_(&table.worker(self.row)) {}

void ReplyRouter::countMalformed() {
  figures_->repliesMalformed.fetch_add(1, kRelaxed);
}

bool ReplyRouter::deliver(const Reply& reply, uint32_t upstream, uint32_t pool, Cursor& cursor,
                          LaneWriter* lane) {
  if (!cursor.counted) {
    count(reply, upstream);
    cursor.counted = true;
    // A walk that a crash broke off goes on where it stood.
    if (lane != nullptr && reply.target != ReplyTarget::kClient)
      if (auto stood = lane->stoodAt(reply.sequence)) cursor.nextSlot = stood->slot;
  }
  return deliverOnce(reply, pool, cursor, lane);
}

bool ReplyRouter::deliverOnce(const Reply& reply, uint32_t pool, Cursor& cursor, LaneWriter* lane) {
  switch (reply.target) {
    case ReplyTarget::kNone:
    case ReplyTarget::kInvalid:
      countMalformed();
      if (lane != nullptr) lane->done(reply.sequence);
      return true;
    case ReplyTarget::kClient:
      return deliverToClient(reply, cursor, lane);
    case ReplyTarget::kAll:
    case ReplyTarget::kActive:
    case ReplyTarget::kNotActive:
      return broadcast(reply, pool, cursor, lane);
  }
  return true;
}

void ReplyRouter::count(const Reply& reply, uint32_t upstream) {
  UpstreamSlot& slot = table_->upstream(upstream);
  figures_->messagesOut.fetch_add(1, kRelaxed);
  slot.messagesOut.fetch_add(1, kRelaxed);
  slot.bytesOut.fetch_add(reply.payload.size(), kRelaxed);
  if (reply.target == ReplyTarget::kClient || reply.target == ReplyTarget::kNone ||
      reply.target == ReplyTarget::kInvalid)
    return;
  figures_->broadcasts.fetch_add(1, kRelaxed);
  slot.broadcasts.fetch_add(1, kRelaxed);
}

PushResult ReplyRouter::push(const Reply& reply, SlotRef ref, LaneWriter* lane) {
  iovec piece = pieceOf(reply.payload);
  if (lane == nullptr) return pusher_.push(ref, {&piece, 1});
  if (reply.payload.empty()) return PushResult::kPushed;
  if (lane->aim(*table_, reply.sequence, ref) == LaneWriter::Push::kDone) return PushResult::kPushed;
  const ImpliedAck implied = reply.target == ReplyTarget::kClient
                                 ? ImpliedAck{reply.acknowledged, static_cast<uint16_t>(reply.assignment)}
                                 : ImpliedAck{};
  return pusher_.push(ref, {&piece, 1}, lane->tag(reply.sequence, implied));
}

bool ReplyRouter::deliverToClient(const Reply& reply, Cursor& cursor, LaneWriter* lane) {
  std::optional<SlotRef> ref;
  PushResult result = PushResult::kGone;
  if (reply.client && (ref = sessions_.find(*reply.client))) {
    failpoint("reply.push");
    result = push(reply, *ref, lane);
  }
  if (result == PushResult::kNoSegments) {
    endLargestBacklog();
    return false;
  }
  if (!reply.client) {
    countMalformed();
  } else if (result == PushResult::kGone) {
    figures_->repliesUnknown.fetch_add(1, kRelaxed);
    cursor.unknown = true;
  } else {
    closeClient(reply, *ref);
    doorbells_->ringSlot(*table_, ref->slot);
  }
  // Last: what has a number that is done is not sent again.
  if (lane != nullptr) lane->done(reply.sequence);
  return true;
}

// After the push: the owner of the slot sends what is in its mailbox before it looks at the request.
void ReplyRouter::closeClient(const Reply& reply, SlotRef ref) {
  if (reply.close == ReplyClose::kNone) return;
  sessions_.requestClose(
      ref, reply.close == ReplyClose::kNow ? CloseReason::kUpstreamReset : CloseReason::kUpstream);
}

bool ReplyRouter::wanted(const SessionSlot& slot, ReplyTarget target, uint64_t activeSinceMs) const {
  if (target == ReplyTarget::kAll) return true;
  uint64_t lastIn = slot.lastInMs.load(kRelaxed);
  bool active = lastIn != 0 && lastIn >= activeSinceMs;
  return active == (target == ReplyTarget::kActive);
}

bool ReplyRouter::broadcast(const Reply& reply, uint32_t pool, Cursor& cursor, LaneWriter* lane) {
  uint64_t now = static_cast<uint64_t>(monotonicMillis());
  uint64_t window = table_->header().activeWindowMs.load(kRelaxed);
  uint64_t activeSince = now > window ? now - window : 0;
  uint32_t high = table_->header().sessionHighWater.load();
  uint64_t copies = 0;
  bool done = true;
  for (; cursor.nextSlot < high; ++cursor.nextSlot) {
    const SessionSlot& slot = table_->session(cursor.nextSlot);
    SlotWord word = SlotWord::decode(slot.word.load());
    if (!takesMail(word.state) || slot.pool.load(kRelaxed) != pool ||
        !wanted(slot, reply.target, activeSince))
      continue;
    failpoint("reply.broadcast");
    // The word goes with the push: a slot that got another life since is refused.
    PushResult result = push(reply, {cursor.nextSlot, word.generation}, lane);
    if (result == PushResult::kNoSegments) {
      endLargestBacklog();
      done = false;
      break;
    }
    if (result == PushResult::kGone) continue;
    doorbells_->ringSlot(*table_, cursor.nextSlot);
    ++copies;
  }
  figures_->broadcastCopies.fetch_add(copies, kRelaxed);
  if (done && lane != nullptr) lane->done(reply.sequence);
  return done;
}

void ReplyRouter::endLargestBacklog() {
  uint32_t high = table_->header().sessionHighWater.load();
  uint64_t largest = 0;
  SlotRef victim;
  for (uint32_t slot = 0; slot < high; ++slot) {
    SlotWord word = sessions_.word(slot);
    if (word.state < SlotState::kHandoff) continue;
    const SessionSlot& s = table_->session(slot);
    uint64_t stamped = s.outStamped.load(kRelaxed), sent = s.outSent.load(kRelaxed);
    uint64_t backlog = stamped > sent ? stamped - sent : 0;
    if (backlog <= largest) continue;
    largest = backlog;
    victim = {slot, word.generation};
  }
  if (largest == 0 || !sessions_.requestClose(victim, CloseReason::kOverflow)) return;
  const Uuid uuid = sessions_.uuid(victim.slot);
  logWarn("journal_full", {{"session", uuid}, {"backlog", largest}},
          "the output journal is full: session {} has the largest backlog ({} bytes) and is ended", uuid,
          largest);
  doorbells_->ringSlot(*table_, victim.slot);
}

}  // namespace ppx
