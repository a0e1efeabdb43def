#include "forwarder/takeover.h"

#include <algorithm>
#include <map>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/witness.h"
#include "forwarder/in_hand.h"

namespace ppx {
namespace {

// A handoff travels in the channel of its acceptor for milliseconds; after this it is taken from custody
// instead.
constexpr Millis kHandoffPatienceMs = 1000;
constexpr Millis kPoisonWindowMs = 60'000;

custody::Record recordOf(SlotRef ref) {
  custody::Record record;
  record.slot = ref.slot;
  record.generation = ref.generation;
  return record;
}

}  // namespace

Takeover::Takeover(const Table& table, const WorkerId& self, Fetch fetch)
    : table_(&table), self_(self), fetch_(std::move(fetch)) {}

void Takeover::reclaimPredecessors() {
  if (auto left = InHand::takeLeft(table_->worker(self_.row))) blame(*left, monotonicMillis());
  SessionTable sessions(*table_);
  std::map<uint32_t, std::vector<custody::Record>> byIncarnation;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if ((word.state != SlotState::kOwned && word.state != SlotState::kClosing) || word.worker != self_.row ||
        word.incarnation == self_.incarnation)
      continue;
    // The row is ours, so its last process is dead: the supervisor changes incarnations only then.
    SlotRef ref{slot, word.generation};
    if (!sessions.reclaim(ref, {word.worker, word.incarnation}, self_)) continue;
    failpoint("takeover.reclaimed");
    waiting_[slot] = ref.generation;
    byIncarnation[word.incarnation].push_back(recordOf(ref));
  }
  if (waiting_.empty()) return;
  spdlog::info("taking over {} sessions of a dead predecessor", waiting_.size());
  Journal journal(*table_, self_);
  journal.forEachUsed([this](uint32_t segment, const SegmentWord& word) {
    auto found = waiting_.find(word.slot);
    if (found == waiting_.end() || found->second != word.generation) return;
    Segments& segments = segments_[word.slot];
    (word.kind == SegmentKind::kIn ? segments.in : segments.out).push_back(segment);
  });
  for (auto& [incarnation, records] : byIncarnation)
    for (size_t from = 0; from < records.size(); from += custody::kMaxRecords)
      fetch_(std::span(records).subspan(from, std::min<size_t>(custody::kMaxRecords, records.size() - from)),
             {self_.row, incarnation});
}

void Takeover::sweepHandoffs(Millis now) {
  SessionTable sessions(*table_);
  std::unordered_map<uint32_t, Millis> still;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if (word.state == SlotState::kClaimed && !waits(slot)) finishClaim({slot, word.generation}, word);
    if (word.state != SlotState::kHandoff || word.worker != self_.row || waits(slot)) continue;
    auto seen = handoffSeen_.find(slot);
    Millis since = seen == handoffSeen_.end() ? now : seen->second;
    if (now - since < kHandoffPatienceMs)
      still[slot] = since;
    else
      fetchLost({slot, word.generation});
  }
  handoffSeen_ = std::move(still);
}

// Its claimer is dead once the row has another incarnation, or none. Custody has the client, then we serve it; or it has
// not, then the slot is freed. Of several forwarders that come by, one gets it.
void Takeover::finishClaim(SlotRef ref, const SlotWord& word) {
  const WorkerId dead{word.worker, word.incarnation};
  if (dead.row >= kWorkerRows) return;
  if ((table_->worker(dead.row).incarnation.load() & kIncarnationMask) == dead.incarnation) return;
  if (!SessionTable(*table_).reclaim(ref, dead, self_)) return;
  failpoint("takeover.claimed");
  waiting_[ref.slot] = ref.generation;
  custody::Record record = recordOf(ref);
  fetch_({&record, 1}, dead);
}

void Takeover::fetchLost(SlotRef ref) {
  waiting_[ref.slot] = ref.generation;
  custody::Record record = recordOf(ref);
  fetch_({&record, 1}, {});
}

bool Takeover::answered(SlotRef ref) {
  auto found = waiting_.find(ref.slot);
  if (found == waiting_.end() || found->second != ref.generation) return false;
  waiting_.erase(found);
  return true;
}

Takeover::Segments Takeover::takeSegments(uint32_t slot) {
  auto found = segments_.find(slot);
  if (found == segments_.end()) return {};
  Segments segments = std::move(found->second);
  segments_.erase(found);
  return segments;
}

void Takeover::blame(SlotRef ref, Millis now) {
  if (ref.slot >= table_->sizes().sessionSlots) return;
  SlotWord word = SessionTable(*table_).word(ref.slot);
  if (word.state != SlotState::kOwned || word.worker != self_.row || word.generation != ref.generation)
    return;
  SessionSlot& slot = table_->session(ref.slot);
  uint64_t oldest = slot.crashMs[1].exchange(slot.crashMs[0].exchange(static_cast<uint64_t>(now)));
  spdlog::warn("a predecessor crashed while it worked on the session in slot {}", ref.slot);
  if (oldest != 0 && static_cast<uint64_t>(now) - oldest < kPoisonWindowMs) poison_ = ref;
}

bool Takeover::reconcile(const Table& table, Journal& journal, Session& session, Segments segments) {
  auto witness = readWitness(session.descriptor());
  bool usable = witness.ok() && witness->usable();
  SessionSlot& slot = session.slot();
  uint64_t received = slot.inReceived.load();
  const uint64_t written = slot.inAcked.load();  // what its next upstream is sent begins here
  if (usable) {
    received = witness->consumed - slot.baselineReceived.load();
    // The index is noted after the bytes: the kernel knows better, never less.
    PPX_INVARIANT(received >= slot.inReceived.load());
    slot.inReceived.store(received);
  }
  uint64_t sent = usable ? witness->sent - slot.baselineSent.load() : slot.outSent.load();
  session.outbox().setSent(table, journal, sent);
  session.outbox().reclaimUnreachable(table, journal, segments.out);
  auto distance = [&](uint32_t segment) {
    return static_cast<uint16_t>(journal.word(segment).detail -
                                 static_cast<uint16_t>(written / kSegmentBytes));
  };
  std::sort(segments.in.begin(), segments.in.end(),
            [&](uint32_t a, uint32_t b) { return distance(a) < distance(b); });
  slot.inWritten.store(written);
  uint64_t expected = written / kSegmentBytes;
  for (uint32_t segment : segments.in) {
    uint64_t start = (written / kSegmentBytes + distance(segment)) * kSegmentBytes;
    if (written < received && start < received && start == expected * kSegmentBytes) {
      session.input().adopt(table, segment, start);
      ++expected;
    } else {
      journal.freeOwned(segment);  // claimed for a recv that did not come, or passed on and not yet freed
    }
  }
  return usable;
}

}  // namespace ppx
