#include "supervisor/custodian/custody_store.h"

#include <algorithm>

#include "common/segment_word.h"
#include "common/slot_word.h"

namespace ppx {
namespace {

using custody::Kind;
using custody::Record;

constexpr uint32_t kOtherSlots = 256;  // listeners, doorbells

uint32_t slotsOf(Kind kind) {
  switch (kind) {
    case Kind::kSession:
      return kMaxSlots;
    case Kind::kListener:
    case Kind::kDoorbell:
      return kOtherSlots;
    case Kind::kTable:
      return 1;
  }
  return 0;
}

// Generations wrap: the nearer way round decides. A session's has 26 bits.
bool newer(Kind kind, uint32_t a, uint32_t b) {
  const int unused = kind == Kind::kSession ? 6 : 0;
  return static_cast<int32_t>((a - b) << unused) > 0;
}
static_assert(kGenerationMask == UINT32_MAX >> 6);

}  // namespace

bool CustodyStore::valid(const Record& record) {
  return record.slot < slotsOf(record.kind) &&
         (record.kind != Kind::kSession || record.generation <= kGenerationMask);
}

CustodyStore::Entry& CustodyStore::entry(const Record& record) {
  auto& entries = entries_[static_cast<size_t>(record.kind)];
  if (record.slot >= entries.size())
    entries.resize(
        std::min<size_t>(slotsOf(record.kind), std::max<size_t>(record.slot + 1, entries.size() * 2)));
  return entries[record.slot];
}

bool CustodyStore::put(const Record& record, UniqueFd descriptor) {
  Entry& e = entry(record);
  if (e.anyDropped != 0 && !newer(record.kind, record.generation, e.dropped)) return true;
  if (e.descriptor && newer(record.kind, e.generation, record.generation)) return true;
  if (!e.descriptor) {
    if (record.kind == Kind::kSession && held_ >= capacity_) return false;
    ++held_;
  }
  e.descriptor = std::move(descriptor);
  e.generation = record.generation;
  e.uuidHigh = record.uuidHigh;
  e.uuidLow = record.uuidLow;
  return true;
}

void CustodyStore::drop(const Record& record) {
  Entry& e = entry(record);
  if (e.anyDropped == 0 || newer(record.kind, record.generation, e.dropped)) e.dropped = record.generation;
  e.anyDropped = 1;
  if (!e.descriptor || newer(record.kind, e.generation, record.generation)) return;
  e.descriptor.reset();
  --held_;
}

int CustodyStore::find(const Record& record) const {
  const auto& entries = entries_[static_cast<size_t>(record.kind)];
  if (record.slot >= entries.size()) return -1;
  const Entry& e = entries[record.slot];
  return e.generation == record.generation ? e.descriptor.get() : -1;
}

Record CustodyStore::recordOf(size_t kind, size_t slot) const {
  const Entry& e = entries_[kind][slot];
  Record record;
  record.kind = static_cast<Kind>(kind);
  record.slot = static_cast<uint32_t>(slot);
  record.generation = e.generation;
  record.uuidHigh = e.uuidHigh;
  record.uuidLow = e.uuidLow;
  return record;
}

size_t CustodyStore::list(uint64_t& cursor, std::span<Record> out) const {
  size_t count = 0;
  size_t kind = cursor >> 32;
  size_t slot = cursor & UINT32_MAX;
  for (; kind < kKinds; ++kind, slot = 0) {
    const auto& entries = entries_[kind];
    for (; slot < entries.size() && count < out.size(); ++slot) {
      if (entries[slot].descriptor) out[count++] = recordOf(kind, slot);
    }
    if (count == out.size()) break;
  }
  cursor = static_cast<uint64_t>(kind) << 32 | slot;
  return count;
}

std::vector<Succession::Held> CustodyStore::handOn() const {
  std::vector<Succession::Held> out;
  for (size_t kind = 0; kind < kKinds; ++kind)
    for (size_t slot = 0; slot < entries_[kind].size(); ++slot)
      if (const Entry& e = entries_[kind][slot]; e.descriptor || e.anyDropped != 0)
        out.push_back(
            {recordOf(kind, slot), e.dropped, e.anyDropped, e.descriptor ? e.descriptor.get() : -1});
  return out;
}

void CustodyStore::restore(const std::vector<Succession::Held>& held) {
  for (const Succession::Held& each : held) {
    Entry& e = entry(each.record);
    e.generation = each.record.generation;
    e.uuidHigh = each.record.uuidHigh;
    e.uuidLow = each.record.uuidLow;
    e.dropped = each.dropped;
    e.anyDropped = each.anyDropped;
    if (each.descriptor < 0) continue;
    e.descriptor.reset(each.descriptor);
    ++held_;
  }
}

}  // namespace ppx
