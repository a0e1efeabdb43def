// What is looked at from outside, while the actors pause or when they are gone.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "tests/common/table_actor.h"

namespace ppx::testing {

void violation(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "violation: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  std::abort();
}

void fence(const Table& table, Arena& arena, uint8_t row) {
  for (PushRecord& record : arena.records[row]) {
    uint32_t intent = record.intent.load();
    if (intent == 0) continue;
    uint32_t count = record.maybeCount.load();
    if (record.next.load() < intent) {
      record.maybe[count].store(intent - 1);
      record.maybeCount.store(count + 1);
      record.next.store(intent);
    }
    record.intent.store(0);
  }
  table.worker(row).incarnation.store(0);
  ++arena.deaths;
}

WorkerId nextIncarnation(const Table& table, uint8_t row) {
  WorkerId id{row, static_cast<uint32_t>(table.header().nextIncarnation.fetch_add(1))};
  table.worker(row).incarnation.store(id.incarnation);
  return id;
}

namespace {

class Checker {
 public:
  Checker(const Table& table, const Arena& arena, const std::array<bool, kActorRows>& dead)
      : table_(table), arena_(arena), dead_(dead), seen_(table.segmentCount(), false) {}

  uint32_t run() {
    for (uint32_t slot = 0; slot < kActorSlots; ++slot) checkSlot(slot);
    uint32_t leaks = 0;
    for (uint32_t segment = 0; segment < table_.segmentCount(); ++segment)
      if (!seen_[segment] && table_.segment(segment).word.load() != 0) {
        checkLeak(segment);
        ++leaks;
      }
    return leaks;
  }

 private:
  bool ownerDead(const SlotWord& word) const {
    if (word.state == SlotState::kFree || word.state == SlotState::kHandoff) return false;
    return dead_[word.worker] || table_.worker(word.worker).incarnation.load() != word.incarnation;
  }

  void checkSlot(uint32_t slot) {
    const SessionSlot& s = table_.session(slot);
    SlotWord word = SlotWord::decode(s.word.load());
    bool dead = ownerDead(word);
    if (word.state == SlotState::kFree || word.state == SlotState::kClaimed) {
      if (word.state == SlotState::kClaimed && !dead) violation("slot %u stays claimed", slot);
      return;
    }
    MailHead head = MailHead::decode(s.mailHead.load());
    if (head.closed && word.state != SlotState::kClosing)
      violation("slot %u is %s and takes no mail", slot, slotStateName(word.state));
    checkMail(slot, word, head, dead);
    checkInput(slot, word, dead);
    uint64_t written = arena_.wires[slot].written.load();
    if (s.outSent.load() > written || (!dead && s.outSent.load() != written))
      violation("slot %u: noted as sent %llu, sent %llu", slot,
                static_cast<unsigned long long>(s.outSent.load()), static_cast<unsigned long long>(written));
  }

  // From the newest message to the oldest that was not freed.
  void checkMail(uint32_t slot, const SlotWord& word, MailHead head, bool dead) {
    const SessionSlot& s = table_.session(slot);
    uint64_t stampedEnd = kUnstamped, nextStart = kUnstamped;
    while (head.ticket > s.mailFreed.load() && head.segment != kNoSegment) {
      const SegmentHeader& h = table_.segment(head.segment);
      uint64_t start = h.startOffset.load(), length = h.length.load();
      bool stamped = start != kUnstamped;
      if (stamped && stampedEnd == kUnstamped) stampedEnd = start + length;
      if (!stamped && stampedEnd != kUnstamped) violation("slot %u: stamped out of order", slot);
      if (stamped && nextStart != kUnstamped && start + length != nextStart)
        violation("slot %u: a hole in its output", slot);
      nextStart = start;
      uint64_t segments = 0;
      for (uint32_t segment = head.segment; segment != kNoSegment;
           segment = table_.segment(segment).next.load()) {
        see(segment, slot);
        ++segments;
        SegmentWord own = SegmentWord::decode(table_.segment(segment).word.load());
        bool kindFits =
            own.kind == SegmentKind::kOut ? stamped || dead : own.kind == SegmentKind::kMail && !stamped;
        if (own.slot != slot || own.generation != word.generation || !kindFits)
          violation("slot %u: segment %u in its mailbox is another's or of the wrong kind", slot, segment);
      }
      if (segments != (length + kSegmentBytes - 1) / kSegmentBytes)
        violation("slot %u: a message of %llu bytes in %llu segments", slot,
                  static_cast<unsigned long long>(length), static_cast<unsigned long long>(segments));
      head = MailHead::decode(h.previous.load());
    }
    uint64_t stampedNoted = s.outStamped.load();
    if (stampedEnd != kUnstamped && (stampedEnd < stampedNoted || (!dead && stampedEnd != stampedNoted)))
      violation("slot %u: stamped to %llu, noted %llu", slot, static_cast<unsigned long long>(stampedEnd),
                static_cast<unsigned long long>(stampedNoted));
  }

  void checkInput(uint32_t slot, const SlotWord& word, bool dead) {
    const SessionSlot& s = table_.session(slot);
    uint64_t from = s.inWritten.load() / kSegmentBytes, to = s.inReceived.load() / kSegmentBytes;
    uint64_t found = 0;
    for (uint32_t segment = 0; segment < table_.sizes().inSegments; ++segment) {
      SegmentWord own = SegmentWord::decode(table_.segment(segment).word.load());
      if (own.kind != SegmentKind::kIn || own.slot != slot || own.generation != word.generation) continue;
      if (static_cast<uint16_t>(own.detail - from) < to - from)
        ++found;
      else if (!dead)
        violation("slot %u: an input segment %u too many", slot, own.detail);
      else
        continue;  // a leak of the dead
      see(segment, slot);
    }
    if (found != to - from) violation("slot %u: input segments lost or doubled", slot);
  }

  void see(uint32_t segment, uint32_t slot) {
    if (seen_[segment]) violation("segment %u is owned twice, by slot %u too", segment, slot);
    seen_[segment] = true;
  }

  void checkLeak(uint32_t segment) {
    SegmentWord own = SegmentWord::decode(table_.segment(segment).word.load());
    SlotWord word = SlotWord::decode(table_.session(own.slot).word.load());
    uint32_t row = own.detail >> 10;
    bool excused = false;
    if (own.kind == SegmentKind::kMail)
      excused = dead_[row % kActorRows] || !Journal(table_, {}).isPusherAlive(own);
    else
      excused = own.generation == word.generation && ownerDead(word);
    if (!excused)
      violation("segment %u (kind %u, slot %u.%u) is reached by nobody and left by nobody dead", segment,
                static_cast<unsigned>(own.kind), own.slot, own.generation);
  }

  const Table& table_;
  const Arena& arena_;
  const std::array<bool, kActorRows>& dead_;
  std::vector<bool> seen_;
};

}  // namespace

uint32_t checkTable(const Table& table, const Arena& arena, const std::array<bool, kActorRows>& dead) {
  return Checker(table, arena, dead).run();
}

void windUp(const Table& table, Arena& arena, uint64_t seed) {
  for (uint8_t row = 0; row < kActorRows; ++row) fence(table, arena, row);
  for (uint8_t row = 0; row < kActorRows; ++row) {
    TableActor last(table, arena, nextIncarnation(table, row), seed + row);
    last.recover();
    last.endAll();
    fence(table, arena, row);
  }
  Journal journal(table, {});
  SessionTable sessions(table);
  arena.counters.auditFound += journal.audit();
  arena.counters.auditFound += sessions.repairHints();
  for (uint32_t slot = 0; slot < kActorSlots; ++slot)
    if (sessions.word(slot).state != SlotState::kFree || !table.slotHints().test(slot))
      violation("slot %u is lost", slot);
  if (sessions.countAddress(1) != 0) violation("an address tag is left");
  for (uint32_t segment = 0; segment < table.segmentCount(); ++segment) {
    uint32_t in = table.sizes().inSegments;
    bool hinted = segment < in ? table.inHints().test(segment) : table.outHints().test(segment - in);
    if (table.segment(segment).word.load() != 0 || !hinted) violation("segment %u is lost", segment);
  }
}

void printCounters(const Arena& arena) {
  const Counters& c = arena.counters;
  auto number = [](const Atomic<uint64_t>& value) { return static_cast<unsigned long long>(value.load()); };
  std::printf(
      "%llu steps: %llu sessions (%llu verified whole or to their cut), %llu moves, %llu take-overs, %llu "
      "messages "
      "(%llu refused, %llu without room), %llu replies of lanes (%llu found as pushed by a dead one), %llu "
      "bytes; leaks found: %llu by owners, %llu by audits\n",
      number(c.steps), number(c.sessions), number(c.verified), number(c.moves), number(c.takeovers),
      number(c.messages), number(c.refusedPushes), number(c.fullPushes), number(c.laneReplies),
      number(c.laneRepetitions), number(c.bytes), number(c.leaksFound), number(c.auditFound));
  std::fflush(stdout);
}

}  // namespace ppx::testing
