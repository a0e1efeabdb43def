#include "common/table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using testing::kSmall;
using testing::smallTable;

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

UniqueFd duplicate(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

// A memfd with these bytes, sealed as asked.
UniqueFd memfdWith(const void* bytes, size_t count, int seals, size_t size = 0) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size == 0 ? count : size)), 0);
  EXPECT_EQ(::pwrite(fd.get(), bytes, count, 0), static_cast<ssize_t>(count));
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

// The bytes of a table, changed by `change`, as another sealed memfd.
template <typename Change>
UniqueFd changedCopy(const Table& table, Change change) {
  std::vector<char> bytes(table.bytes());
  EXPECT_EQ(::pread(table.memfd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  change(*reinterpret_cast<TableHeader*>(bytes.data()));
  return memfdWith(bytes.data(), bytes.size(), kSeals);
}

std::string refusal(UniqueFd fd) {
  auto table = Table::map(std::move(fd));
  return table ? "mapped" : table.error().text;
}

TEST(Table, IsSealedAgainstResizing) {
  Table table = smallTable();
  int seals = ::fcntl(table.memfd(), F_GET_SEALS);
  EXPECT_EQ(seals & kSeals, kSeals);
  EXPECT_NE(::ftruncate(table.memfd(), 4096), 0);
  EXPECT_NE(::ftruncate(table.memfd(), static_cast<off_t>(table.bytes()) + 4096), 0);
}

TEST(Table, TwoMappingsShowTheSame) {
  Table table = smallTable();
  auto other = Table::map(duplicate(table.memfd()));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->sizes(), kSmall);
  EXPECT_EQ(other->uuidKey(), table.uuidKey());
  table.session(69).cookie.store(4711);
  EXPECT_EQ(other->session(69).cookie.load(), 4711u);
  other->segmentData(383)[511] = std::byte{7};
  EXPECT_EQ(table.segmentData(383)[511], std::byte{7});
}

TEST(Table, StartsAllFree) {
  Table table = smallTable();
  for (uint32_t i = 0; i < kSmall.sessionSlots; ++i) {
    EXPECT_EQ(SlotWord::decode(table.session(i).word.load()).state, SlotState::kFree);
    EXPECT_TRUE(MailHead::decode(table.session(i).mailHead.load()).closed);
    EXPECT_TRUE(table.slotHints().test(i));
  }
  for (uint32_t i = 0; i < table.segmentCount(); ++i) EXPECT_EQ(table.segment(i).word.load(), 0u);
  EXPECT_NE(table.uuidKey()[0], 0u);
}

TEST(Table, PartsDoNotOverlap) {
  Table table = smallTable();
  const TableOffsets& o = table.header().offsets;
  EXPECT_LE(sizeof(TableHeader), o.listeners);
  EXPECT_LE(o.sessions + kSmall.sessionSlots * sizeof(SessionSlot), o.segmentHeaders);
  EXPECT_LE(o.segmentHeaders + table.segmentCount() * sizeof(SegmentHeader), o.segmentData);
  EXPECT_EQ(o.end, table.header().lanes);
  EXPECT_LE(o.end + laneCount(kSmall) * sizeof(LaneRow), table.bytes());
  std::memset(static_cast<void*>(table.segmentData(table.segmentCount() - 1)), 0xff, kSegmentBytes);
  auto* dirty = reinterpret_cast<std::byte*>(&table.header()) + o.dirtySets;
  auto* hints = reinterpret_cast<std::byte*>(&table.header()) + o.slotHints;
  EXPECT_LE(dirty + kMaxForwarders * DirtySet::bytesFor(kSmall.sessionSlots), hints);
}

TEST(Table, RefusesSizesOutOfRange) {
  TableSizes sizes = kSmall;
  sizes.sessionSlots = 0;
  EXPECT_FALSE(Table::create(sizes));
  sizes.sessionSlots = kMaxSlots + 1;
  EXPECT_FALSE(Table::create(sizes));
  sizes = kSmall;
  sizes.inSegments = sizes.outSegments = kNoSegment / 2 + 1;
  auto table = Table::create(sizes);
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().text, "the table's sizes are out of range");
}

TEST(Table, RefusesWhatIsNotSealed) {
  char byte = 0;
  EXPECT_EQ(refusal(memfdWith(&byte, 1, 0, 1 << 20)), "the table is not a sealed memfd");
  EXPECT_EQ(refusal(memfdWith(&byte, 1, F_SEAL_SHRINK, 1 << 20)), "the table is not a sealed memfd");
  UniqueFd pipe[2];
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd writing(ends[1]);
  EXPECT_EQ(refusal(UniqueFd(ends[0])), "the table is not a sealed memfd");
  EXPECT_NE(refusal(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))), "mapped");
}

TEST(Table, RefusesAnEmptyAndAShortOne) {
  char byte = 0;
  EXPECT_EQ(refusal(memfdWith(&byte, 1, kSeals)), "the table is too short");
  EXPECT_EQ(refusal(memfdWith(&byte, 1, kSeals, sizeof(TableHeader))), "the table has no magic number");
}

TEST(Table, RefusesAnotherMagicVersionOrSize) {
  Table table = smallTable();
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader&) {})), "mapped");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.magic ^= 1; })),
            "the table has no magic number");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.major = 7; })),
            "the table's layout 7.1 is not one that this build reads (1.1)");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.headerBytes = 1 << 20; })),
            "the table's layout 1.1 is not one that this build reads (1.1)");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.sizes.outSegments += 8; })),
            "the table's sizes do not fit its length");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.sizes.sessionSlots = 0; })),
            "the table's sizes do not fit its length");
  EXPECT_EQ(refusal(changedCopy(table, [](TableHeader& h) { h.offsets.sessions -= 4096; })),
            "the table's parts are not where this build has them");
}

// Built by the release before: the same bytes without the parts that minor 1 appends.
TEST(Table, MapsOneOfMinorZeroWhichHasNoLanes) {
  Table made = smallTable();
  EXPECT_TRUE(made.hasLanes());
  EXPECT_EQ(made.lane(1).owner.load(), 0u);
  const uint64_t bytes = made.header().offsets.end;
  UniqueFd memfd(::memfd_create("minor-0", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(memfd.get(), static_cast<off_t>(bytes)), 0);
  std::string image(reinterpret_cast<const char*>(&made.header()), bytes);
  auto* header = reinterpret_cast<TableHeader*>(image.data());
  header->minor = 0;
  header->lanes = 0;
  ASSERT_EQ(::pwrite(memfd.get(), image.data(), bytes, 0), static_cast<ssize_t>(bytes));
  ASSERT_EQ(::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  auto mapped = Table::map(std::move(memfd));
  ASSERT_TRUE(mapped) << mapped.error().text;
  EXPECT_FALSE(mapped->hasLanes());
}

TEST(TableDeathTest, AnIndexOutOfRangeAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Table table = smallTable();
  EXPECT_DEATH(table.session(kSmall.sessionSlots), "invariant broken: index < sizes\\(\\).sessionSlots");
  EXPECT_DEATH(table.segment(table.segmentCount()), "invariant broken");
}

TEST(Words, EncodeAndDecodeAreInverse) {
  SlotWord slot{SlotState::kClosing, 63, kIncarnationMask, kGenerationMask};
  EXPECT_EQ(SlotWord::decode(slot.encode()), slot);
  SegmentWord segment{SegmentKind::kOut, kMaxSlots - 1, kGenerationMask, 0xffff};
  EXPECT_EQ(SegmentWord::decode(segment.encode()), segment);
  EXPECT_EQ(SegmentWord{}.encode(), 0u);
  MailHead head = MailHead::decode(MailHead{true, (1ull << 39) - 1, 0xabcdef}.encode());
  EXPECT_TRUE(head.closed);
  EXPECT_EQ(head.ticket, (1ull << 39) - 1);
  EXPECT_EQ(head.segment, 0xabcdefu);
}

}  // namespace
}  // namespace ppx
