#include "common/journal.h"

#include "common/failpoint.h"

namespace ppx {

Journal::Journal(const Table& table, const WorkerId& self)
    : table_(&table), sessions_(table), tag_(pusherTag(self.row, self.incarnation)) {
  // Forwarders start in different places, so that they seldom meet.
  inCursor_.store(table.sizes().inSegments / kMaxForwarders * (self.row % kMaxForwarders));
  outCursor_.store(table.sizes().outSegments / kMaxForwarders * (self.row % kMaxForwarders));
}

SegmentWord Journal::word(uint32_t segment) const {
  return SegmentWord::decode(header(segment).word.load());
}

uint32_t Journal::claim(HintBitmap hints, uint32_t base, Atomic<uint32_t>& cursor, const SegmentWord& mine) {
  for (;;) {
    std::optional<uint32_t> index = hints.take(cursor.load(std::memory_order_relaxed), hints.size());
    if (!index) return kNoSegment;
    // Stays: what was just freed is used again while it is warm.
    cursor.store(*index, std::memory_order_relaxed);
    failpoint("journal.claiming");
    uint64_t free = 0;
    SegmentHeader& h = header(base + *index);
    if (h.word.compare_exchange_strong(free, mine.encode())) {
      failpoint("journal.claimed");
      return base + *index;
    }
  }
}

uint32_t Journal::claimIn(SlotRef ref, uint64_t ordinal) {
  return claim(table_->inHints(), 0, inCursor_,
               {SegmentKind::kIn, ref.slot, ref.generation, static_cast<uint16_t>(ordinal)});
}

uint32_t Journal::claimMail(SlotRef ref) {
  return claim(table_->outHints(), table_->sizes().inSegments, outCursor_,
               {SegmentKind::kMail, ref.slot, ref.generation, tag_});
}

bool Journal::free(uint32_t segment, const SegmentWord& expected) {
  uint64_t raw = expected.encode();
  if (!header(segment).word.compare_exchange_strong(raw, 0)) return false;
  failpoint("journal.freed");
  uint32_t inSegments = table_->sizes().inSegments;
  if (segment < inSegments) {
    table_->inHints().set(segment);
    inCursor_.store(segment, std::memory_order_relaxed);
  } else {
    table_->outHints().set(segment - inSegments);
    outCursor_.store(segment - inSegments, std::memory_order_relaxed);
  }
  return true;
}

void Journal::freeOwned(uint32_t segment) {
  free(segment, word(segment));
}

void Journal::forEachUsed(const std::function<void(uint32_t, const SegmentWord&)>& visit) const {
  for (uint32_t segment = 0; segment < table_->segmentCount(); ++segment) {
    uint64_t raw = header(segment).word.load();
    if (raw != 0) visit(segment, SegmentWord::decode(raw));
  }
}

std::unordered_map<uint32_t, std::vector<uint32_t>> Journal::outSegmentsOf(
    const std::function<bool(uint32_t)>& wanted) const {
  std::unordered_map<uint32_t, std::vector<uint32_t>> found;
  for (uint32_t segment = table_->sizes().inSegments; segment < table_->segmentCount(); ++segment) {
    SegmentWord w = word(segment);
    if (w.kind != SegmentKind::kFree && wanted(w.slot)) found[w.slot].push_back(segment);
  }
  return found;
}

bool Journal::isPusherAlive(const SegmentWord& mail) const {
  uint8_t row = static_cast<uint8_t>(mail.detail >> 10);
  uint64_t incarnation = table_->worker(row).incarnation.load();
  return incarnation != 0 && pusherTag(row, static_cast<uint32_t>(incarnation)) == mail.detail;
}

bool Journal::isGarbage(const SegmentWord& w) const {
  if (w.slot >= table_->sizes().sessionSlots) return true;
  bool stale = sessions_.word(w.slot).generation != w.generation;
  if (w.kind != SegmentKind::kMail || !stale) return stale;
  // Nobody reaches it, but its pusher may still be writing: only when the pusher is gone from its row.
  return !isPusherAlive(w);
}

uint32_t Journal::audit() {
  uint32_t back = 0;
  forEachUsed([&](uint32_t segment, const SegmentWord& w) {
    if (isGarbage(w) && free(segment, w)) ++back;
  });
  uint32_t inSegments = table_->sizes().inSegments;
  HintBitmap in = table_->inHints(), out = table_->outHints();
  for (uint32_t segment = 0; segment < table_->segmentCount(); ++segment) {
    if (header(segment).word.load() != 0) continue;
    HintBitmap& hints = segment < inSegments ? in : out;
    uint32_t index = segment < inSegments ? segment : segment - inSegments;
    if (hints.test(index)) continue;
    hints.set(index);
    ++back;
  }
  return back;
}

uint32_t Journal::freeCount(SegmentKind direction) const {
  uint32_t inSegments = table_->sizes().inSegments;
  uint32_t from = direction == SegmentKind::kIn ? 0 : inSegments;
  uint32_t to = direction == SegmentKind::kIn ? inSegments : table_->segmentCount();
  uint32_t count = 0;
  for (uint32_t segment = from; segment < to; ++segment) count += header(segment).word.load() == 0 ? 1 : 0;
  return count;
}

}  // namespace ppx
