#include "forwarder/takeover.h"

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "common/failpoint.h"
#include "common/last_sign.h"
#include "common/log.h"
#include "common/witness.h"
#include "forwarder/in_hand.h"

namespace ppx {
namespace {

// A handoff travels in the channel of its acceptor for milliseconds; after this it is taken from custody
// instead.
constexpr Millis kHandoffPatienceMs = 1000;
// A row that stays empty so long is not about to be filled by a successor that would take what is in it.
constexpr Millis kOrphanPatienceMs = 3000;
constexpr Millis kPoisonWindowMs = 60'000;

}  // namespace

Takeover::Takeover(const Table& table, const WorkerId& self, FetchQueue::Fetch fetch, Expect expect)
    : table_(&table), self_(self), fetches_(table, std::move(fetch)), expect_(std::move(expect)) {}

void Takeover::reclaimPredecessors() {
  blameLeftIn(self_.row, monotonicMillis());
  // The row is ours, so its last process is dead: the supervisor changes incarnations only then.
  reclaimIf([this](uint32_t, const SlotWord& word) {
    return word.worker == self_.row && word.incarnation != self_.incarnation;
  });
  // What was on its way to a predecessor is not awaited: an acceptor that sends it again comes too late then.
  SessionTable sessions(*table_);
  std::vector<SlotRef> moved;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    const SlotWord word = sessions.word(slot);
    if (word.state != SlotState::kHandoff || word.worker != self_.row) continue;
    if (table_->session(slot).quiesced.load() != 0)
      moved.push_back({slot, word.generation});
    else
      fetchLost({slot, word.generation});
  }
  fetchMoved(moved);
}

void Takeover::reclaim(WorkerId dead) {
  // If the row has a next process already, that one has seen to it.
  if (table_->worker(dead.row).incarnation.load() == 0) blameLeftIn(dead.row, monotonicMillis());
  reclaimIf([dead](uint32_t, const SlotWord& word) {
    return word.worker == dead.row && word.incarnation == dead.incarnation;
  });
  // What is on its way to the row belongs to the row's next process, if there is one already.
  const uint64_t now = table_->worker(dead.row).incarnation.load();
  if (now != 0 && (now & kIncarnationMask) != dead.incarnation) return;
  SessionTable sessions(*table_);
  std::vector<SlotRef> moved;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    const SlotRef ref{slot, word.generation};
    if (word.state != SlotState::kHandoff || word.worker != dead.row ||
        !sessions.redirect(ref, dead.row, self_.row))
      continue;
    if (table_->session(slot).quiesced.load() != 0)
      moved.push_back(ref);
    else
      fetchLost(ref);
  }
  fetchMoved(moved);
}

// Owned or closing slots that `wanted(slot, word)` names become ours; their descriptors are asked for.
template <typename Wanted>
void Takeover::reclaimIf(Wanted wanted) {
  SessionTable sessions(*table_);
  std::map<std::pair<uint8_t, uint32_t>, std::vector<SlotRef>> byOwner;
  std::vector<SlotRef> all;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    uint64_t lost = table_->session(slot).lost.load();  // before the word: whoever serves it changes it
    SlotWord word = sessions.word(slot);
    if ((word.state != SlotState::kOwned && word.state != SlotState::kClosing) || !wanted(slot, word))
      continue;
    SlotRef ref{slot, word.generation};
    const WorkerId dead{word.worker, word.incarnation};
    // A dead owner that had not come to serve it leaves the sign of the one before it.
    if (LastSign::unpack(lost).at == 0)
      table_->session(slot).lost.compare_exchange_strong(
          lost, lastSignOf(table_->worker(dead.row), dead.incarnation).pack());
    if (!sessions.reclaim(ref, dead, self_)) continue;
    failpoint("takeover.reclaimed");
    all.push_back(ref);
    byOwner[{dead.row, dead.incarnation}].push_back(ref);
    if (expect_) expect_(ref, dead, false);
  }
  if (all.empty()) return;
  logInfo("takeover_begins", {{"sessions", all.size()}}, "taking over {} sessions of a dead forwarder",
          all.size());
  findSegments(all);
  for (const auto& [owner, refs] : byOwner) fetches_.add(refs, {owner.first, owner.second});
}

void Takeover::fetchMoved(std::span<const SlotRef> refs) {
  std::vector<SlotRef> all;
  for (const SlotRef& ref : refs) {
    if (waits(ref.slot)) continue;
    all.push_back(ref);
    const auto giver = static_cast<uint8_t>(table_->session(ref.slot).quiesced.load() & 0xff);
    if (expect_ && giver < kMaxForwarders)
      expect_(ref, {giver, static_cast<uint32_t>(table_->worker(giver).incarnation.load())}, true);
  }
  findWaitingInput(all);
  fetches_.add(all, {});
}

void Takeover::findWaitingInput(std::span<const SlotRef> moved) {
  std::vector<SlotRef> active;
  for (const SlotRef& ref : moved) {
    segments_.erase(ref.slot);  // of a move before, that did not end here
    const SessionSlot& slot = table_->session(ref.slot);
    if (slot.inReceived.load() != slot.inAcked.load()) active.push_back(ref);
  }
  findSegments(active);
}

void Takeover::findSegments(std::span<const SlotRef> refs) {
  if (refs.empty()) return;
  std::unordered_map<uint32_t, uint32_t> generations;
  for (const SlotRef& ref : refs) {
    generations[ref.slot] = ref.generation;
    segments_[ref.slot] = {};
  }
  Journal journal(*table_, self_);
  journal.forEachUsed([&](uint32_t segment, const SegmentWord& word) {
    auto found = generations.find(word.slot);
    if (found == generations.end() || found->second != word.generation) return;
    Segments& segments = segments_[word.slot];
    (word.kind == SegmentKind::kIn ? segments.in : segments.out).push_back(segment);
  });
}

void Takeover::sweepOrphans(Millis now) {
  SessionTable sessions(*table_);
  std::unordered_map<uint32_t, Millis> still;
  std::vector<SlotRef> late;
  std::unordered_set<uint32_t> due;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if (word.state < SlotState::kHandoff || word.worker >= kMaxForwarders || word.worker == self_.row ||
        table_->worker(word.worker).incarnation.load() != 0)
      continue;
    auto seen = orphanSeen_.find(slot);
    Millis since = seen == orphanSeen_.end() ? now : seen->second;
    if (now - since < kOrphanPatienceMs)
      still[slot] = since;
    else if (word.state == SlotState::kHandoff &&
             sessions.redirect({slot, word.generation}, word.worker, self_.row))
      late.push_back({slot, word.generation});
    else if (word.state != SlotState::kHandoff)
      due.insert(slot);
  }
  orphanSeen_ = std::move(still);
  for (const SlotRef& ref : late) fetchLost(ref);
  for (uint32_t slot : due) blameLeftIn(sessions.word(slot).worker, now);
  if (!due.empty())
    reclaimIf([&](uint32_t slot, const SlotWord& word) {
      return due.contains(slot) && word.worker != self_.row &&
             table_->worker(word.worker).incarnation.load() == 0;
    });
}

void Takeover::sweepHandoffs(Millis now) {
  SessionTable sessions(*table_);
  std::vector<SlotRef> moved;
  std::unordered_map<uint32_t, Millis> still;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if (word.state == SlotState::kClaimed && !waits(slot)) finishClaim({slot, word.generation}, word);
    if (word.state != SlotState::kHandoff || word.worker != self_.row || waits(slot)) continue;
    if (table_->session(slot).quiesced.load() != 0) {
      moved.push_back({slot, word.generation});
      continue;
    }
    auto seen = handoffSeen_.find(slot);
    Millis since = seen == handoffSeen_.end() ? now : seen->second;
    if (now - since < kHandoffPatienceMs)
      still[slot] = since;
    else
      fetchLost({slot, word.generation});
  }
  handoffSeen_ = std::move(still);
  fetchMoved(moved);
  for (const SlotRef& ref : std::exchange(later_, {}))
    if (sessions.word(ref.slot) == SlotWord{SlotState::kOwned, self_.row, self_.incarnation, ref.generation})
      fetchLost(ref);
}

// Some may be on their way from others: then we have them twice, and close the copy.
void Takeover::fetchHandoffs(WorkerId dead) {
  SessionTable sessions(*table_);
  std::vector<SlotRef> refs;
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if (word.state == SlotState::kHandoff && word.worker == self_.row && !waits(slot) &&
        table_->session(slot).quiesced.load() == 0)
      refs.push_back({slot, word.generation});
  }
  fetches_.add(refs, dead);
}

// Its claimer is dead once the row has another incarnation, or none. Custody has the client, then we serve it; or it has
// not, then the slot is freed. Of several forwarders that come by, one gets it.
void Takeover::finishClaim(SlotRef ref, const SlotWord& word) {
  const WorkerId dead{word.worker, word.incarnation};
  if (dead.row >= kWorkerRows) return;
  if ((table_->worker(dead.row).incarnation.load() & kIncarnationMask) == dead.incarnation) return;
  if (!SessionTable(*table_).reclaim(ref, dead, self_)) return;
  failpoint("takeover.claimed");
  fetches_.add({&ref, 1}, dead);
}

void Takeover::fetchLost(SlotRef ref) {
  fetches_.add({&ref, 1}, {});
}

Takeover::Segments Takeover::takeSegments(SlotRef ref) {
  auto found = segments_.find(ref.slot);
  if (found == segments_.end()) return {};
  Segments segments = std::move(found->second);
  segments_.erase(found);
  // The pass is a while ago; those of the outbox are looked at again by MailOutbox::reclaimUnreachable().
  Journal journal(*table_, self_);
  std::erase_if(segments.in, [&](uint32_t segment) {
    const SegmentWord word = journal.word(segment);
    return word.kind != SegmentKind::kIn || word.slot != ref.slot || word.generation != ref.generation;
  });
  return segments;
}

// Its process is dead. The supervisor has cleared what was in its hand unless it crashed or hung.
void Takeover::blameLeftIn(uint8_t row, Millis now) {
  if (row >= kMaxForwarders) return;
  if (auto left = InHand::takeLeft(table_->worker(row))) blame(*left, row, now);
}

void Takeover::blame(SlotRef ref, uint8_t row, Millis now) {
  if (ref.slot >= table_->sizes().sessionSlots) return;
  SlotWord word = SessionTable(*table_).word(ref.slot);
  if ((word.state != SlotState::kOwned && word.state != SlotState::kClosing) || word.worker != row ||
      word.generation != ref.generation)
    return;
  SessionSlot& slot = table_->session(ref.slot);
  uint64_t oldest = slot.crashMs[1].exchange(slot.crashMs[0].exchange(static_cast<uint64_t>(now)));
  const Uuid uuid = SessionTable(*table_).uuid(ref.slot);
  logWarn("session_blamed", {{"session", uuid}, {"slot", ref.slot}},
          "a predecessor crashed while it worked on the session in slot {}", ref.slot);
  if (oldest != 0 && static_cast<uint64_t>(now) - oldest < kPoisonWindowMs) poison_[ref.slot] = ref;
}

Takeover::Reconciled Takeover::reconcile(const Table& table, Journal& journal, Session& session,
                                         Segments segments) {
  auto witness = readWitness(session.descriptor());
  bool usable = witness.ok() && witness->usable();
  SessionSlot& slot = session.slot();
  uint64_t received = slot.inReceived.load();
  bool mismatch = false;
  // An index is noted after its bytes, and sends come only from the journal: the kernel has given no less than was noted,
  // and taken no more than is committed. Otherwise one of the two is wrong about this session, and the others go on.
  const bool contradicts = usable && (witness->consumed - slot.baselineReceived.load() < received ||
                                      witness->sent - slot.baselineSent.load() > slot.outStamped.load());
  if (contradicts) {
    const Uuid uuid = SessionTable(table).uuid(session.ref().slot);
    logError(
        "session_contradicts", {{"session", uuid}},
        "session {}: noted are {} bytes in and {} committed out, and the kernel says {} and {}: it is ended",
        uuid, received, slot.outStamped.load(), witness->consumed - slot.baselineReceived.load(),
        witness->sent - slot.baselineSent.load());
    usable = false;
  }
  if (usable) {
    mismatch = witness->consumed - slot.baselineReceived.load() != received ||
               witness->sent - slot.baselineSent.load() != slot.outSent.load();
    received = witness->consumed - slot.baselineReceived.load();
    slot.inReceived.store(received);
  }
  uint64_t sent = usable ? witness->sent - slot.baselineSent.load() : slot.outSent.load();
  session.outbox().setSent(table, journal, sent);
  uint64_t acknowledged = 0;
  session.outbox().reclaimUnreachable(table, journal, segments.out, &acknowledged);
  session.inheritAcknowledged(acknowledged);
  const uint64_t written = slot.inAcked.load();  // what its next upstream is sent begins here
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
  return {usable, contradicts, mismatch};
}

}  // namespace ppx
