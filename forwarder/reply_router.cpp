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

bool ReplyRouter::deliver(const Reply& reply, uint32_t upstream, uint32_t pool, Cursor& cursor) {
  if (!cursor.counted) {
    count(reply, upstream);
    cursor.counted = true;
  }
  switch (reply.target) {
    case ReplyTarget::kNone:
    case ReplyTarget::kInvalid:
      figures_->repliesMalformed.fetch_add(1, kRelaxed);
      return true;
    case ReplyTarget::kClient:
      return deliverToClient(reply);
    case ReplyTarget::kAll:
    case ReplyTarget::kActive:
    case ReplyTarget::kNotActive:
      return broadcast(reply, pool, cursor);
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

bool ReplyRouter::deliverToClient(const Reply& reply) {
  if (!reply.client) {
    figures_->repliesMalformed.fetch_add(1, kRelaxed);
    return true;
  }
  std::optional<SlotRef> ref = sessions_.find(*reply.client);
  PushResult result = PushResult::kGone;
  if (ref) {
    iovec piece = pieceOf(reply.payload);
    failpoint("reply.push");
    result = pusher_.push(*ref, {&piece, 1});
  }
  if (result == PushResult::kNoSegments) {
    endLargestBacklog();
    return false;
  }
  if (result == PushResult::kGone)
    figures_->repliesUnknown.fetch_add(1, kRelaxed);
  else
    doorbells_->ringSlot(*table_, ref->slot);
  return true;
}

bool ReplyRouter::wanted(const SessionSlot& slot, ReplyTarget target, uint64_t activeSinceMs) const {
  if (target == ReplyTarget::kAll) return true;
  uint64_t lastIn = slot.lastInMs.load(kRelaxed);
  bool active = lastIn != 0 && lastIn >= activeSinceMs;
  return active == (target == ReplyTarget::kActive);
}

bool ReplyRouter::broadcast(const Reply& reply, uint32_t pool, Cursor& cursor) {
  uint64_t now = static_cast<uint64_t>(monotonicMillis());
  uint64_t window = table_->header().activeWindowMs.load(kRelaxed);
  uint64_t activeSince = now > window ? now - window : 0;
  uint32_t high = table_->header().sessionHighWater.load();
  iovec piece = pieceOf(reply.payload);
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
    PushResult result = pusher_.push({cursor.nextSlot, word.generation}, {&piece, 1});
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
  spdlog::warn("the output journal is full: session {} has the largest backlog ({} bytes) and is ended",
               uuidText(sessions_.uuid(victim.slot)), largest);
  doorbells_->ringSlot(*table_, victim.slot);
}

}  // namespace ppx
