#include "supervisor/ctl/table_dump.h"

#include <fmt/ostream.h>

#include <array>
#include <map>

#include "common/clock.h"
#include "common/close_reason.h"
#include "common/journal.h"
#include "common/lane_row.h"
#include "common/mail_head.h"
#include "common/session_table.h"

namespace ppx {
namespace {

constexpr WorkerId kNobody{63, 0};  // claims nothing

std::string ago(uint64_t monotonic) {
  if (monotonic == 0) return "never";
  return fmt::format("{} ms", monotonicMillis() - static_cast<Millis>(monotonic));
}

void dumpHeader(const Table& table, std::ostream& out) {
  const TableHeader& h = table.header();
  fmt::print(out,
             "table {}.{}: {} session slots (capacity {}, high water {}), {} + {} segments, {} upstream "
             "slots, {} bytes\n",
             h.major, h.minor, h.sizes.sessionSlots, h.sessionCapacity.load(), h.sessionHighWater.load(),
             h.sizes.inSegments, h.sizes.outSegments, h.sizes.upstreamSlots, table.bytes());
  fmt::print(out, "gateway {}, next incarnation {}, upstream epoch {}\n",
             uuidText({h.gatewayId[0], h.gatewayId[1]}), h.nextIncarnation.load(), h.upstreamEpoch.load());
}

void dumpWorkers(const Table& table, std::ostream& out) {
  for (uint32_t row = 0; row < kWorkerRows; ++row) {
    const WorkerRow& w = table.worker(row);
    if (w.incarnation.load() == 0 && w.restarts.load() == 0) continue;
    fmt::print(
        out, "worker {:2} {:9} incarnation {} pid {} ready {} restarts {} heartbeat {} sessions {} bell {}\n",
        row, workerRoleName(static_cast<WorkerRole>(w.role.load())), w.incarnation.load(), w.pid.load(),
        w.ready.load(), w.restarts.load(), ago(w.heartbeatMs.load()), w.sessions.load(),
        w.doorbellRung.load());
  }
}

void dumpUpstreams(const Table& table, std::ostream& out) {
  static constexpr std::array kLives = {"free", "active", "draining"};
  static constexpr std::array kHealths = {"probing", "ready", "down", "not ready"};
  static constexpr std::array kStreams = {"none", "connecting", "open", "draining", "failing"};
  for (uint32_t i = 0; i < table.sizes().upstreamSlots; ++i) {
    const UpstreamSlot& u = table.upstream(i);
    uint64_t life = u.life.load(), health = u.health.load();
    if (lifeState<UpstreamLife>(life) == UpstreamLife::kFree) continue;
    fmt::print(out, "upstream {} life {}:{} health {}:{} {}:{} pool {} assigned {} streams", i,
               lifeGeneration(life), kLives.at(life & 0xff), lifeGeneration(health),
               kHealths.at(health & 0xff), u.host, u.port.load(), u.pool.load(), u.sessionsAssigned.load());
    for (uint8_t row = 0; row < kMaxForwarders; ++row)
      if (uint64_t stream = u.streams[row].load(); stream != 0)
        fmt::print(out, " {}={}:{}", row, lifeGeneration(stream), kStreams.at(stream & 0xff));
    fmt::print(out, "\n");
  }
}

// Of upstreams with `resume`: how far the replies of each have come, and who brings them.
void dumpLanes(const Table& table, std::ostream& out) {
  if (!table.hasLanes()) return;
  for (uint32_t i = 0; i < laneCount(table.sizes()); ++i) {
    const LaneRow& lane = table.lane(i);
    if (lane.instance.load() == 0) continue;
    const uint64_t owner = lane.owner.load(), cursor = lane.cursor.load();
    fmt::print(out, "lane {} upstream {} row {} instance {:016x} pushed {} owner ", i, laneUpstream(i),
               i % kMaxForwarders, lane.instance.load(), lane.pushed.load());
    if (owner == 0)
      fmt::print(out, "none, released {}", lane.releasedMs.load() <= 1 ? "" : ago(lane.releasedMs.load()));
    else
      fmt::print(out, "{}:{}", owner >> 32 & 0x3f, owner & kIncarnationMask);
    fmt::print(out, " cursor {}:{} wanted {}\n", cursor >> 46 & 0xffff, laneCursorSlot(cursor).slot,
               lane.wanted.load());
  }
}

void dumpSession(const Table& table, uint32_t slot, const SlotWord& word, uint32_t segments,
                 std::ostream& out) {
  const SessionSlot& s = table.session(slot);
  MailHead head = MailHead::decode(s.mailHead.load());
  fmt::print(
      out,
      "slot {} generation {} {} worker {} incarnation {} {} upstream {} in {}/{}/{} out {}/{} mail {}{} "
      "freed {} "
      "segments {} flags {} close {} takeovers {}\n",
      slot, word.generation, slotStateName(word.state), word.worker, word.incarnation,
      uuidText({s.uuidHigh.load(), s.uuidLow.load()}), static_cast<int32_t>(s.upstream.load()),
      s.inAcked.load(), s.inWritten.load(), s.inReceived.load(), s.outSent.load(), s.outStamped.load(),
      head.ticket, head.closed ? " closed" : "", s.mailFreed.load(), segments, s.flags.load(),
      closeReasonInfo(static_cast<CloseReason>(s.closeReason.load() & 0xff)).name, s.takeovers.load());
}

}  // namespace

void dumpTable(const Table& table, std::ostream& out) {
  dumpHeader(table, out);
  dumpWorkers(table, out);
  dumpUpstreams(table, out);
  dumpLanes(table, out);
  Journal journal(table, kNobody);
  SessionTable sessions(table);
  std::map<uint32_t, uint32_t> held;
  std::array<uint32_t, 4> byKind{};
  uint32_t stale = 0;
  journal.forEachUsed([&](uint32_t, const SegmentWord& word) {
    ++byKind.at(static_cast<size_t>(word.kind));
    ++held[word.slot];
    if (word.slot < table.sizes().sessionSlots && sessions.word(word.slot).generation != word.generation)
      ++stale;
  });
  fmt::print(out, "segments in {} mail {} out {}, of these of an earlier life {}\n", byKind[1], byKind[2],
             byKind[3], stale);
  for (uint32_t slot = 0; slot < table.header().sessionHighWater.load(); ++slot) {
    SlotWord word = sessions.word(slot);
    if (word.state != SlotState::kFree || held.contains(slot))
      dumpSession(table, slot, word, held[slot], out);
  }
}

}  // namespace ppx
