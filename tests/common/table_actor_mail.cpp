// The actor's mail: what it pushes into sessions, what they send, and at their end whether all of it is on the wire.
#include <sched.h>

#include <algorithm>
#include <cstring>

#include "common/failpoint.h"
#include "tests/common/table_actor.h"

namespace ppx::testing {
namespace {

constexpr uint32_t kMessageMagic = 0x4d414c45;

struct MessageHeader {
  uint32_t magic, slot, generation, row, number, length;
};

char contentAt(const MessageHeader& h, size_t index) {
  uint32_t seed = h.slot * 31 + h.generation * 1009 + h.row * 65537 + h.number * 7919;
  return static_cast<char>((seed >> 8) + seed + index * 131);
}

}  // namespace

void TableActor::pushSomewhere() {
  uint32_t slot = static_cast<uint32_t>(pick(kActorSlots));
  for (uint32_t i = 0; i < kActorSlots; ++i, slot = (slot + 1) % kActorSlots) {
    SlotWord word = sessions_.word(slot);
    if (!takesMail(word.state)) continue;
    pushTo({slot, word.generation});
    if (pick(4) == 0) earlier_ = {slot, word.generation};
    break;
  }
  if (pick(8) == 0) pushTo(earlier_);
}

void TableActor::pushTo(SlotRef ref) {
  PushRecord& record = arena_->records[self_.row][ref.slot];
  uint32_t life = record.life.load();
  bool gone = life > ref.generation + 1;  // we have already pushed to a later one
  if (!gone && life != ref.generation + 1) {
    record.next.store(0);
    record.maybeCount.store(0);
    record.life.store(ref.generation + 1);
  }
  if (!gone && record.maybeCount.load() == record.maybe.size()) return;
  size_t body = pick(10) == 0 ? pick(6000) : pick(900);
  const uint32_t number = record.next.load();
  if (!gone && pick(2) == 0) {
    LaneReply& reply = arena_->laneReplies[self_.row];
    reply.slot.store(ref.slot);
    reply.generation.store(ref.generation);
    reply.number.store(number);
    reply.body.store(static_cast<uint32_t>(body));
    reply.sequence.store(table_->lane(self_.row).pushed.load() + 1);
    failpoint("actor.replied");
    return carryLaneReply(false);
  }
  if (!gone) record.intent.store(number + 1);
  switch (pushMessage(ref, number, body, nullptr)) {
    case PushResult::kPushed:
      if (gone) violation("slot %u: a push to an earlier life arrived", ref.slot);
      record.next.store(number + 1);
      ++arena_->counters.messages;
      if (const Verdict& verdict = arena_->verdicts[ref.slot];
          verdict.life.load() == ref.generation + 1 && verdict.arrived[self_.row].load() <= number)
        violation("slot %u: message %u of row %u was accepted and dropped", ref.slot, number, self_.row);
      break;
    case PushResult::kGone:
      ++arena_->counters.refusedPushes;
      break;
    case PushResult::kNoSegments:
      ++arena_->counters.fullPushes;
      ::sched_yield();
      break;
  }
  if (!gone) record.intent.store(0);
}

PushResult TableActor::pushMessage(SlotRef ref, uint32_t number, size_t body, LaneWriter* lane) {
  MessageHeader header{kMessageMagic, ref.slot, ref.generation,
                       self_.row,     number,   static_cast<uint32_t>(sizeof(header) + body)};
  std::vector<char> bytes(body);
  for (size_t i = 0; i < body; ++i) bytes[i] = contentAt(header, i);
  iovec pieces[2] = {{&header, sizeof(header)}, {bytes.data(), bytes.size()}};
  MailPusher pusher(*table_, journal_);
  if (lane == nullptr) return pusher.push(ref, pieces);
  const uint64_t sequence = lane->pushed() + 1;
  if (lane->aim(*table_, sequence, ref) == LaneWriter::Push::kDone) {
    ++arena_->counters.laneRepetitions;
    return PushResult::kPushed;
  }
  return pusher.push(ref, pieces, lane->tag(sequence, {}));
}

// `again`: a predecessor may have been killed on the way; unlike a message without a lane, this one may not be missing.
void TableActor::carryLaneReply(bool again) {
  LaneReply& reply = arena_->laneReplies[self_.row];
  const uint64_t sequence = reply.sequence.load();
  if (sequence == 0) return;
  auto lane = LaneWriter::claim(*table_, self_.row, self_, 1);
  if (!lane) violation("the lane of row %u belongs to somebody else", self_.row);
  const SlotRef ref{reply.slot.load(), reply.generation.load()};
  PushRecord& record = arena_->records[self_.row][ref.slot];
  if (lane->pushed() < sequence) {
    if (lane->pushed() + 1 != sequence) violation("the lane of row %u has a gap", self_.row);
    PushResult result = pushMessage(ref, reply.number.load(), reply.body.load(), &*lane);
    if (result ==
        PushResult::kNoSegments) {  // nothing was pushed: the upstream may as well say something else
      ++arena_->counters.fullPushes;
      return reply.sequence.store(0);
    }
    if (result == PushResult::kPushed && record.life.load() == ref.generation + 1) {
      record.next.store(reply.number.load() + 1);
      const Verdict& verdict = arena_->verdicts[ref.slot];
      if (!again && verdict.life.load() == ref.generation + 1 &&
          verdict.arrived[self_.row].load() <= reply.number.load())
        violation("slot %u: reply %u of row %u was accepted and dropped", ref.slot, reply.number.load(),
                  self_.row);
    }
    // Last: a predecessor that came so far has noted what it pushed, or was refused.
    lane->done(sequence);
  }
  ++arena_->counters.laneReplies;
  failpoint("actor.acknowledged");
  reply.sequence.store(0);
}

void TableActor::send(Mine& mine, size_t atMost) {
  Wire& wire = arena_->wires[mine.ref.slot];
  iovec pieces[8];
  size_t count = mine.outbox.gather(*table_, pieces, 1 + pick(8));
  uint64_t written = wire.written.load();
  size_t taken = 0;
  for (size_t i = 0; i < count && taken < atMost; ++i) {
    size_t now = std::min(pieces[i].iov_len, atMost - taken);
    if (written + taken + now > kWireBytes) violation("slot %u: more bytes than there can be", mine.ref.slot);
    std::memcpy(wire.bytes.data() + written + taken, pieces[i].iov_base, now);
    taken += now;
  }
  wire.written.store(written + taken);  // the socket has taken them
  failpoint("actor.sent");
  mine.outbox.consume(*table_, journal_, taken);
  arena_->counters.bytes += taken;
}

void TableActor::verify(const Mine& mine, bool whole) const {
  const uint32_t slot = mine.ref.slot;
  const Wire& wire = arena_->wires[slot];
  std::array<uint32_t, kActorRows> expected{};
  // Numbers from `from` to `to` of a row did not come: allowed only where the pusher died on the way.
  auto missing = [&](uint32_t row, uint32_t from, uint32_t to) {
    const PushRecord& record = arena_->records[row][slot];
    for (uint32_t number = from; number < to; ++number) {
      uint32_t count = record.maybeCount.load();
      auto end = record.maybe.begin() + count;
      if (std::find(record.maybe.begin(), end, number) == end)
        violation("slot %u.%u: message %u of row %u is lost", slot, mine.ref.generation, number, row);
    }
  };
  uint64_t end = wire.written.load();
  for (uint64_t at = 0; at < end;) {
    MessageHeader h{};
    if (end - at < sizeof(h)) {
      if (whole) violation("slot %u: the wire ends within a message", slot);
      break;
    }
    std::memcpy(&h, wire.bytes.data() + at, sizeof(h));
    if (h.magic != kMessageMagic || h.slot != slot || h.generation != mine.ref.generation ||
        h.row >= kActorRows)
      violation("slot %u.%u: at %llu stands something else (magic %x, slot %u.%u)", slot, mine.ref.generation,
                static_cast<unsigned long long>(at), h.magic, h.slot, h.generation);
    if (h.number < expected[h.row]) violation("slot %u: message %u of row %u twice", slot, h.number, h.row);
    if (arena_->records[h.row][slot].life.load() != mine.ref.generation + 1 ||
        h.number > arena_->records[h.row][slot].next.load())
      violation("slot %u: message %u of row %u was never pushed", slot, h.number, h.row);
    missing(h.row, expected[h.row], h.number);
    expected[h.row] = h.number + 1;
    uint64_t there = std::min<uint64_t>(h.length, end - at);
    if (whole && there != h.length) violation("slot %u: the wire ends within a message", slot);
    for (uint64_t i = sizeof(h); i < there; ++i)
      if (wire.bytes[at + i] != contentAt(h, i - sizeof(h)))
        violation("slot %u: message %u of row %u is damaged at %llu", slot, h.number, h.row,
                  static_cast<unsigned long long>(i));
    at += there;
  }
  if (whole) {
    // The verdict first, then the pushers' notes: a push that is accepted from here on sees the verdict.
    Verdict& verdict = arena_->verdicts[slot];
    for (uint32_t row = 0; row < kActorRows; ++row) verdict.arrived[row].store(expected[row]);
    verdict.life.store(mine.ref.generation + 1);
    for (uint32_t row = 0; row < kActorRows; ++row) {
      const PushRecord& record = arena_->records[row][slot];
      if (record.life.load() == mine.ref.generation + 1) missing(row, expected[row], record.next.load());
    }
  }
  ++arena_->counters.verified;
}

}  // namespace ppx::testing
