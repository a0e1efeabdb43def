#include "tests/common/table_actor.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "common/failpoint.h"

namespace ppx::testing {
namespace {

constexpr uint64_t kSessionBytes = 32 * 1024;  // a session ends about here
constexpr uint64_t kInputWindow = 4;           // segments

char inputAt(SlotRef ref, uint64_t ordinal, size_t index) {
  return static_cast<char>(ref.slot * 7 + ref.generation * 13 + ordinal * 17 + index);
}

}  // namespace

TableActor::TableActor(const Table& table, Arena& arena, const WorkerId& self, uint64_t seed)
    : table_(&table),
      arena_(&arena),
      self_(self),
      random_(seed),
      sessions_(table),
      journal_(table, self),
      deathsSeen_(arena.deaths.load()) {}

void TableActor::step() {
  ++arena_->counters.steps;
  lookForLeaks();
  switch (uint64_t what = pick(100); what) {
    case 0:
      arena_->counters.auditFound += journal_.audit();
      break;
    case 1:
      arena_->counters.auditFound += sessions_.repairHints();
      break;
    default:
      if (what < 8) return open();
      if (what < 16) return takeHandoffs();
      if (what < 40) return pushSomewhere();
      return serve();
  }
}

void TableActor::open() {
  auto ref = sessions_.claim(self_, static_cast<uint32_t>(pick(kActorSlots)));
  if (!ref) return;
  NewSession session;
  session.addressTag = 1;
  sessions_.fill(*ref, session, uuids_);
  arena_->wires[ref->slot].written.store(0);
  failpoint("actor.filled");
  if (pick(20) == 0) {  // refused at admission
    if (!sessions_.release(*ref, self_)) violation("a claimed slot could not be released");
    return;
  }
  if (!sessions_.handoff(*ref, self_, static_cast<uint8_t>(pick(kActorRows))))
    violation("slot %u: lost between claim and handoff", ref->slot);
  ++arena_->counters.sessions;
}

void TableActor::takeHandoffs() {
  for (uint32_t slot = 0; slot < kActorSlots; ++slot) {
    SlotWord word = sessions_.word(slot);
    if (word.state != SlotState::kHandoff || word.worker != self_.row) continue;
    SlotRef ref{slot, word.generation};
    if (!sessions_.own(ref, self_)) continue;
    failpoint("actor.owned");
    adopt(ref);
  }
}

void TableActor::hold(SlotRef ref) {
  uint64_t me = static_cast<uint64_t>(self_.row) << 32 | self_.incarnation;
  uint64_t before = arena_->holders[ref.slot].exchange(me);
  bool predecessor = before >> 32 == self_.row && static_cast<uint32_t>(before) < self_.incarnation;
  if (before != 0 && !predecessor)
    violation("slot %u is owned twice: by %u.%u and %u.%u", ref.slot, static_cast<unsigned>(before >> 32),
              static_cast<unsigned>(before), self_.row, self_.incarnation);
}

void TableActor::letGo(SlotRef ref) {
  uint64_t me = static_cast<uint64_t>(self_.row) << 32 | self_.incarnation;
  if (arena_->holders[ref.slot].exchange(0) != me) violation("slot %u was owned twice", ref.slot);
}

TableActor::Mine& TableActor::adopt(SlotRef ref) {
  hold(ref);
  Mine& mine = mine_[ref.slot].emplace();
  mine.ref = ref;
  mine.outbox.attach(*table_, ref);
  mine.outbox.setSent(*table_, journal_, arena_->wires[ref.slot].written.load());
  auto found = journal_.outSegmentsOf([&](uint32_t slot) { return slot == ref.slot; });
  arena_->counters.leaksFound += mine.outbox.reclaimUnreachable(*table_, journal_, found[ref.slot]);
  adoptInput(mine);
  return mine;
}

// Each segment between what was passed on and what was received is there once; any other is a leak.
void TableActor::adoptInput(Mine& mine) {
  SessionSlot& s = table_->session(mine.ref.slot);
  uint64_t from = s.inWritten.load() / kSegmentBytes, to = s.inReceived.load() / kSegmentBytes;
  mine.in.assign(to - from, kNoSegment);
  journal_.forEachUsed([&](uint32_t segment, const SegmentWord& word) {
    if (word.kind != SegmentKind::kIn || word.slot != mine.ref.slot || word.generation != mine.ref.generation)
      return;
    uint16_t place = static_cast<uint16_t>(word.detail - from);
    if (place >= to - from) {
      journal_.freeOwned(segment);
      ++arena_->counters.leaksFound;
    } else if (std::exchange(mine.in[place], segment) != kNoSegment) {
      violation("slot %u: input segment %u twice", mine.ref.slot, word.detail);
    }
  });
  for (uint32_t segment : mine.in)
    if (segment == kNoSegment) violation("slot %u: an input segment is lost", mine.ref.slot);
}

void TableActor::recover() {
  for (uint32_t slot = 0; slot < kActorSlots; ++slot) {
    SlotWord word = sessions_.word(slot);
    if (word.state == SlotState::kFree || word.state == SlotState::kHandoff || word.worker != self_.row ||
        word.incarnation == self_.incarnation)
      continue;
    SlotRef ref{slot, word.generation};
    if (!sessions_.reclaim(ref, {self_.row, word.incarnation}, self_))
      violation("slot %u of a dead actor changed", slot);
    ++arena_->counters.takeovers;
    failpoint("actor.reclaimed");
    if (word.state == SlotState::kClaimed) {
      if (!sessions_.release(ref, self_)) violation("slot %u: reclaimed and lost", slot);
      continue;
    }
    Mine& mine = adopt(ref);
    if (word.state != SlotState::kClosing) continue;
    MailOutbox::close(*table_, slot);
    finish(mine, table_->session(slot).closeReason.load() == static_cast<uint32_t>(CloseReason::kIdle));
  }
  carryLaneReply(true);
}

// After a death: what the dead one had claimed for a message to one of our sessions.
void TableActor::lookForLeaks() {
  uint32_t deaths = arena_->deaths.load();
  if (deaths == deathsSeen_) return;
  deathsSeen_ = deaths;
  for (auto& [slot, segments] :
       journal_.outSegmentsOf([&](uint32_t s) { return s < kActorSlots && mine_[s].has_value(); }))
    arena_->counters.leaksFound += mine_[slot]->outbox.reclaimUnreachable(*table_, journal_, segments);
}

TableActor::Mine* TableActor::any() {
  uint32_t slot = static_cast<uint32_t>(pick(kActorSlots));
  for (uint32_t i = 0; i < kActorSlots; ++i, slot = (slot + 1) % kActorSlots)
    if (mine_[slot]) return &*mine_[slot];
  return nullptr;
}

void TableActor::serve() {
  Mine* mine = any();
  if (mine == nullptr) {
    ::sched_yield();  // whoever has them may be waiting for our processor
    return;
  }
  if (mine->closing) return release(*mine);
  switch (pick(40)) {
    case 0:
      return move(*mine);
    case 1:
      return end(*mine);
    default:
      mine->outbox.collect(*table_);
      if (pick(3) == 0) receive(*mine);
      if (pick(3) == 0) passOn(*mine);
      send(*mine, pick(2) == 0 ? 4096 : pick(1000));
      if (arena_->wires[mine->ref.slot].written.load() > kSessionBytes) end(*mine);
  }
}

void TableActor::receive(Mine& mine) {
  if (mine.in.size() >= kInputWindow) return;
  SessionSlot& s = table_->session(mine.ref.slot);
  uint64_t ordinal = s.inReceived.load() / kSegmentBytes;
  uint32_t segment = journal_.claimIn(mine.ref, ordinal);
  if (segment == kNoSegment) return;
  char* data = reinterpret_cast<char*>(journal_.data(segment));
  for (size_t i = 0; i < kSegmentBytes; ++i) data[i] = inputAt(mine.ref, ordinal, i);
  failpoint("actor.received");
  s.inReceived.store((ordinal + 1) * kSegmentBytes);
  mine.in.push_back(segment);
}

void TableActor::passOn(Mine& mine) {
  if (mine.in.empty()) return;
  SessionSlot& s = table_->session(mine.ref.slot);
  uint64_t ordinal = s.inWritten.load() / kSegmentBytes;
  const char* data = reinterpret_cast<const char*>(journal_.data(mine.in.front()));
  for (size_t i = 0; i < kSegmentBytes; ++i)
    if (data[i] != inputAt(mine.ref, ordinal, i))
      violation("slot %u: its input was overwritten", mine.ref.slot);
  s.inWritten.store((ordinal + 1) * kSegmentBytes);
  failpoint("actor.passed");
  journal_.freeOwned(mine.in.front());
  mine.in.erase(mine.in.begin());
}

void TableActor::move(Mine& mine) {
  SlotRef ref = mine.ref;
  letGo(ref);
  failpoint("actor.moving");
  mine_[ref.slot].reset();
  if (!sessions_.move(ref, self_, static_cast<uint8_t>(pick(kActorRows))))
    violation("slot %u: its owner could not move it", ref.slot);
  ++arena_->counters.moves;
}

void TableActor::end(Mine& mine) {
  bool flush = pick(4) != 0;
  if (!sessions_.beginClosing(mine.ref, self_, flush ? CloseReason::kIdle : CloseReason::kAdmin))
    violation("slot %u: its owner could not close it", mine.ref.slot);
  finish(mine, flush);
}

void TableActor::finish(Mine& mine, bool flush) {
  mine.outbox.collect(*table_);
  while (flush && mine.outbox.pending(*table_) > 0) send(mine, 100000);
  verify(mine, flush);
  mine.closing = true;
}

void TableActor::release(Mine& mine) {
  SlotRef ref = mine.ref;
  while (!mine.in.empty()) passOn(mine);
  mine.outbox.discard(*table_, journal_);
  letGo(ref);
  failpoint("actor.finished");
  mine_[ref.slot].reset();
  if (!sessions_.release(ref, self_)) violation("slot %u: its owner could not release it", ref.slot);
}

void TableActor::endAll() {
  takeHandoffs();
  for (auto& mine : mine_) {
    if (mine && !mine->closing) end(*mine);
    if (mine) release(*mine);
  }
}

}  // namespace ppx::testing
