#include "forwarder/lane_writer.h"

#include "common/clock.h"
#include "common/failpoint.h"

namespace ppx {

namespace {

bool isAlive(const Table& table, uint64_t owner) {
  if (owner == 0) return false;
  uint64_t incarnation = table.worker(static_cast<uint8_t>(owner >> 32 & 0x3f)).incarnation.load();
  return (incarnation & 0xffffffff) == (owner & 0xffffffff);
}

}  // namespace

bool LaneWriter::isFree(const Table& table, uint32_t index) {
  return !isAlive(table, table.lane(index).owner.load());
}

bool LaneWriter::isWanted(const Table& table, uint32_t index) {
  uint64_t wanted = table.lane(index).wanted.load();
  return wanted != 0 &&
         table.worker(static_cast<uint8_t>(index % kMaxForwarders)).incarnation.load() == wanted;
}

std::optional<LaneWriter> LaneWriter::claim(const Table& table, uint32_t index, const WorkerId& self,
                                            uint64_t instance) {
  LaneRow& row = table.lane(index);
  const uint64_t mine = laneOwner(self.row, self.incarnation);
  uint64_t owner = row.owner.load();
  if (owner != mine) {
    if (isAlive(table, owner) || !row.owner.compare_exchange_strong(owner, mine)) return std::nullopt;
  }
  failpoint("lane.claimed");
  const uint64_t claimNumber = row.claims.fetch_add(1) + 1;
  row.releasedMs.store(0);
  if (row.instance.load() != instance) {
    // In this order: a cursor means nothing without its instance, and numbers start again with it.
    row.instance.store(0);
    row.cursor.store(0);
    row.pushed.store(0);
    row.instance.store(instance);
  }
  return LaneWriter(row, index, self, instance, claimNumber);
}

void LaneWriter::release(bool handedOver) {
  row_->releasedMs.store(handedOver ? 1 : static_cast<uint64_t>(monotonicMillis()));
  uint64_t mine = laneOwner(self_.row, self_.incarnation);
  row_->owner.compare_exchange_strong(mine, 0);
}

std::optional<SlotRef> LaneWriter::stoodAt(uint64_t sequence) const {
  uint64_t cursor = row_->cursor.load();
  if (!laneCursorIsOf(cursor, sequence)) return std::nullopt;
  return laneCursorSlot(cursor);
}

LaneWriter::Push LaneWriter::aim(const Table& table, uint64_t sequence, SlotRef ref) {
  const uint64_t cursor = laneCursor(sequence, ref);
  if (row_->cursor.load() == cursor && mailHolds(table, ref, tag(sequence, {}))) return Push::kDone;
  row_->cursor.store(cursor);
  failpoint("lane.aimed");
  return Push::kDue;
}

void LaneWriter::done(uint64_t sequence) {
  failpoint("lane.pushed");
  row_->pushed.store(sequence);
  failpoint("lane.done");
}

uint64_t instanceHash(std::string_view instanceId, uint32_t generation) {
  // FNV-1a.
  uint64_t hash = 0xcbf29ce484222325;
  auto mix = [&hash](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (char c : instanceId) mix(static_cast<uint8_t>(c));
  for (int shift = 0; shift < 32; shift += 8) mix(static_cast<uint8_t>(generation >> shift));
  return hash == 0 ? 1 : hash;
}

}  // namespace ppx
