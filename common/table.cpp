#include "common/table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/clock.h"
#include "common/last_words.h"
#include "common/mail_head.h"
#include "common/table_minor.h"

namespace ppx {
namespace {

namespace bip = boost::interprocess;

// What mapped_region asks of a thing that can be mapped.
class MemfdMapping {
 public:
  explicit MemfdMapping(int fd) : fd_(fd) {}
  bip::mapping_handle_t get_mapping_handle() const {
    bip::mapping_handle_t handle{};
    handle.handle = fd_;
    handle.is_xsi = false;
    return handle;
  }

 private:
  int fd_;
};

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

constexpr uint64_t align(uint64_t offset, uint64_t to) {
  return (offset + to - 1) / to * to;
}

TableOffsets layOut(const TableSizes& sizes) {
  TableOffsets o{};
  uint64_t at = align(sizeof(TableHeader), 4096);
  auto part = [&at](uint64_t bytes, uint64_t alignment) {
    at = align(at, alignment);
    uint64_t start = at;
    at += bytes;
    return start;
  };
  o.listeners = part(kMaxListeners * sizeof(ListenerRow), 64);
  o.pools = part(kMaxPools * sizeof(PoolRow), 64);
  o.workers = part(kWorkerRows * sizeof(WorkerRow), 64);
  o.upstreams = part(sizes.upstreamSlots * sizeof(UpstreamSlot), 64);
  o.dirtySets = part(kMaxForwarders * align(DirtySet::bytesFor(sizes.sessionSlots), 64), 64);
  o.slotHints = part(HintBitmap::bytesFor(sizes.sessionSlots), 64);
  o.inHints = part(HintBitmap::bytesFor(sizes.inSegments), 64);
  o.outHints = part(HintBitmap::bytesFor(sizes.outSegments), 64);
  o.addressTags = part(sizes.sessionSlots * sizeof(uint32_t), 64);
  o.sessions = part(sizes.sessionSlots * sizeof(SessionSlot), 4096);
  uint64_t segments = static_cast<uint64_t>(sizes.inSegments) + sizes.outSegments;
  o.segmentHeaders = part(segments * sizeof(SegmentHeader), 4096);
  o.segmentData = part(segments * kSegmentBytes, 4096);
  o.end = align(at, 4096);
  return o;
}

// The end of a table of that minor. Minor 1 appends the lanes.
uint64_t endOf(uint16_t minor, const TableSizes& sizes, const TableOffsets& offsets) {
  return minor == 0 ? offsets.end : align(offsets.end + laneCount(sizes) * sizeof(LaneRow), 4096);
}

bool plausible(const TableSizes& sizes) {
  return sizes.sessionSlots > 0 && sizes.sessionSlots <= kMaxSlots && sizes.inSegments > 0 &&
         sizes.outSegments > 0 && sizes.upstreamSlots > 0 && sizes.upstreamSlots <= 65536 &&
         static_cast<uint64_t>(sizes.inSegments) + sizes.outSegments < kNoSegment;
}

void setAll(HintBitmap bitmap) {
  for (uint32_t i = 0; i < bitmap.size(); ++i) bitmap.set(i);
}

void format(const Table& table) {
  for (uint32_t i = 0; i < table.sizes().sessionSlots; ++i) {
    SessionSlot& slot = table.session(i);
    slot.mailHead.store(MailHead{true, 0, kNoSegment}.encode(), std::memory_order_relaxed);
    slot.upstream.store(kNoUpstream, std::memory_order_relaxed);
  }
  for (uint32_t i = 0; i < table.segmentCount(); ++i)
    table.segment(i).next.store(kNoSegment, std::memory_order_relaxed);
  setAll(table.slotHints());
  setAll(table.inHints());
  setAll(table.outHints());
}

}  // namespace

void invariantBroken(const char* what, const char* file, int line) {
  char words[kMaxLastWords];
  std::snprintf(words, sizeof(words), "invariant broken: %s (%s:%d)", what, file, line);
  std::fprintf(stderr, "%s\n", words);
  leaveLastWords(words);
  std::abort();
}

Table::Table(UniqueFd memfd, std::unique_ptr<bip::mapped_region> region)
    : memfd_(std::move(memfd)),
      region_(std::move(region)),
      header_(static_cast<TableHeader*>(region_->get_address())) {}

Result<Table> Table::mapChecked(UniqueFd memfd, size_t bytes) try {
  auto region = std::make_unique<bip::mapped_region>(MemfdMapping(memfd.get()), bip::read_write, 0, bytes);
  // The journal holds clients' bytes: they have no place in a core file.
  ::madvise(region->get_address(), bytes, MADV_DONTDUMP);
  return Table(std::move(memfd), std::move(region));
} catch (const bip::interprocess_exception& e) {
  return systemError("mapping the table", e.get_native_error());
}

Result<Table> Table::create(const TableSizes& sizes) {
  if (!plausible(sizes)) return Error{EINVAL, "the table's sizes are out of range"};
  TableOffsets offsets = layOut(sizes);
  UniqueFd memfd(::memfd_create("paradoxplex-table", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) return systemError("memfd_create");
  const uint64_t end = endOf(tableMinor(), sizes, offsets);
  if (::ftruncate(memfd.get(), static_cast<off_t>(end)) != 0) return systemError("sizing the table");
  // Now rather than by SIGBUS in the middle of a session.
  if (int failed = ::posix_fallocate(memfd.get(), 0, static_cast<off_t>(end)); failed != 0)
    return systemError("allocating the table", failed);
  if (::fcntl(memfd.get(), F_ADD_SEALS, kSeals) != 0) return systemError("sealing the table");
  auto table = mapChecked(std::move(memfd), end);
  if (!table) return table;

  TableHeader& header = table->header();
  header.sizes = sizes;
  header.offsets = offsets;
  header.major = kTableMajor;
  header.minor = tableMinor();
  header.headerBytes = sizeof(TableHeader);
  header.lanes = tableMinor() == 0 ? 0 : offsets.end;
  RandomSource random;
  header.uuidKey[0] = random.next();
  header.uuidKey[1] = random.next();
  Uuid gateway = randomUuid(random);
  header.gatewayId[0] = gateway.high;
  header.gatewayId[1] = gateway.low;
  header.createdRealtimeMs = static_cast<uint64_t>(realtimeMillis());
  header.nextIncarnation.store(1, std::memory_order_relaxed);
  header.sessionCapacity.store(sizes.sessionSlots, std::memory_order_relaxed);
  format(*table);
  std::atomic_thread_fence(std::memory_order_release);
  header.magic = kTableMagic;
  return table;
}

Result<Table> Table::map(UniqueFd memfd) {
  struct stat info {};
  if (::fstat(memfd.get(), &info) != 0) return systemError("looking at the table");
  int seals = ::fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return Error{EINVAL, "the table is not a sealed memfd"};
  if (info.st_size < static_cast<off_t>(sizeof(TableHeader))) return Error{EINVAL, "the table is too short"};
  auto table = mapChecked(std::move(memfd), static_cast<size_t>(info.st_size));
  if (!table) return table;
  const TableHeader& header = table->header();
  if (header.magic != kTableMagic) return Error{EINVAL, "the table has no magic number"};
  if (header.major != kTableMajor || header.headerBytes > sizeof(TableHeader))
    return Error{EPROTO, "the table's layout " + std::to_string(header.major) + "." +
                             std::to_string(header.minor) + " is not one that this build reads (" +
                             std::to_string(kTableMajor) + "." + std::to_string(tableMinor()) + ")"};
  if (!plausible(header.sizes)) return Error{EINVAL, "the table's sizes do not fit its length"};
  TableOffsets expected = layOut(header.sizes);
  // A later minor may have appended more.
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  const uint16_t known = std::min(header.minor, tableMinor());
  const uint64_t end = endOf(known, header.sizes, expected);
  if (header.minor > known ? size < end : size != end)
    return Error{EINVAL, "the table's sizes do not fit its length"};
  const bool lanesFit = known == 0 ? header.minor > 0 || header.lanes == 0 : header.lanes == expected.end;
  if (std::memcmp(&header.offsets, &expected, sizeof(expected)) != 0 || !lanesFit)
    return Error{EINVAL, "the table's parts are not where this build has them"};
  return table;
}

ListenerRow& Table::listener(uint32_t index) const {
  PPX_INVARIANT(index < kMaxListeners);
  return at<ListenerRow>(header_->offsets.listeners)[index];
}
PoolRow& Table::pool(uint32_t index) const {
  PPX_INVARIANT(index < kMaxPools);
  return at<PoolRow>(header_->offsets.pools)[index];
}
WorkerRow& Table::worker(uint32_t row) const {
  PPX_INVARIANT(row < kWorkerRows);
  return at<WorkerRow>(header_->offsets.workers)[row];
}
UpstreamSlot& Table::upstream(uint32_t index) const {
  PPX_INVARIANT(index < sizes().upstreamSlots);
  return at<UpstreamSlot>(header_->offsets.upstreams)[index];
}
SessionSlot& Table::session(uint32_t index) const {
  PPX_INVARIANT(index < sizes().sessionSlots);
  return at<SessionSlot>(header_->offsets.sessions)[index];
}
SegmentHeader& Table::segment(uint32_t index) const {
  PPX_INVARIANT(index < segmentCount());
  return at<SegmentHeader>(header_->offsets.segmentHeaders)[index];
}
std::byte* Table::segmentData(uint32_t index) const {
  PPX_INVARIANT(index < segmentCount());
  return at<std::byte>(header_->offsets.segmentData) + static_cast<size_t>(index) * kSegmentBytes;
}
LaneRow& Table::lane(uint32_t index) const {
  PPX_INVARIANT(hasLanes() && index < laneCount(sizes()));
  return at<LaneRow>(header_->lanes)[index];
}
Atomic<uint32_t>* Table::addressTags() const {
  return at<Atomic<uint32_t>>(header_->offsets.addressTags);
}

HintBitmap Table::slotHints() const {
  return {at<Atomic<uint64_t>>(header_->offsets.slotHints), sizes().sessionSlots};
}
HintBitmap Table::inHints() const {
  return {at<Atomic<uint64_t>>(header_->offsets.inHints), sizes().inSegments};
}
HintBitmap Table::outHints() const {
  return {at<Atomic<uint64_t>>(header_->offsets.outHints), sizes().outSegments};
}
DirtySet Table::dirtySet(uint8_t forwarderRow) const {
  PPX_INVARIANT(forwarderRow < kMaxForwarders);
  uint64_t stride = align(DirtySet::bytesFor(sizes().sessionSlots), 64);
  return {at<Atomic<uint64_t>>(header_->offsets.dirtySets + forwarderRow * stride), sizes().sessionSlots};
}

}  // namespace ppx
