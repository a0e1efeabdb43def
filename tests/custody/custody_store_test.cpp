#include "supervisor/custodian/custody_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "common/slot_word.h"
#include "tests/custody/support.h"

namespace ppx {
namespace {

using test::marked;
using test::readMark;
using test::sessionRecord;

bool isOpen(int descriptor) {
  return ::fcntl(descriptor, F_GETFD) >= 0;
}

TEST(CustodyStore, GivesWhatWasPut) {
  CustodyStore store;
  EXPECT_TRUE(store.put(sessionRecord(7, 3), marked(73)));
  EXPECT_EQ(store.held(), 1u);
  EXPECT_EQ(readMark(store.find(sessionRecord(7, 3))), 73u);
  EXPECT_EQ(store.find(sessionRecord(7, 2)), -1);
  EXPECT_EQ(store.find(sessionRecord(8, 3)), -1);
}

TEST(CustodyStore, ClosesWhatWasDroppedBeforeItCame) {
  CustodyStore store;
  store.drop(sessionRecord(1, 5));
  UniqueFd late = marked(1);
  int number = late.get();
  EXPECT_TRUE(store.put(sessionRecord(1, 5), std::move(late)));
  EXPECT_FALSE(isOpen(number));
  EXPECT_TRUE(store.put(sessionRecord(1, 4), marked(2)));
  EXPECT_EQ(store.held(), 0u);
  EXPECT_TRUE(store.put(sessionRecord(1, 6), marked(3)));
  EXPECT_EQ(readMark(store.find(sessionRecord(1, 6))), 3u);
}

TEST(CustodyStore, KeepsTheNewerGeneration) {
  CustodyStore store;
  EXPECT_TRUE(store.put(sessionRecord(1, 5), marked(5)));
  EXPECT_TRUE(store.put(sessionRecord(1, 4), marked(4)));
  EXPECT_EQ(store.find(sessionRecord(1, 4)), -1);
  store.drop(sessionRecord(1, 4));
  EXPECT_EQ(store.held(), 1u);
  int old = store.find(sessionRecord(1, 5));
  EXPECT_TRUE(store.put(sessionRecord(1, 6), marked(6)));
  EXPECT_FALSE(isOpen(old));
  EXPECT_EQ(store.held(), 1u);
  store.drop(sessionRecord(1, 7));
  EXPECT_EQ(store.held(), 0u);
}

TEST(CustodyStore, GenerationsWrap) {
  CustodyStore store;
  store.drop(sessionRecord(1, kGenerationMask));
  EXPECT_TRUE(store.put(sessionRecord(1, 0), marked(1)));
  EXPECT_EQ(store.held(), 1u);
  store.drop(sessionRecord(1, kGenerationMask));
  EXPECT_EQ(store.held(), 1u);
  store.drop(sessionRecord(1, 0));
  EXPECT_EQ(store.held(), 0u);
}

TEST(CustodyStore, RefusesSessionsBeyondItsCapacityOnly) {
  CustodyStore store;
  store.setCapacity(1);
  EXPECT_TRUE(store.put(sessionRecord(1, 1), marked(1)));
  EXPECT_FALSE(store.put(sessionRecord(2, 1), marked(2)));
  EXPECT_TRUE(store.put(sessionRecord(1, 2), marked(3)));  // takes the other's place
  custody::Record table;
  table.kind = custody::Kind::kTable;
  EXPECT_TRUE(store.put(table, marked(4)));
  EXPECT_EQ(store.held(), 2u);
}

TEST(CustodyStore, RecordsThatNameNoPlaceAreNotValid) {
  EXPECT_TRUE(CustodyStore::valid(sessionRecord(0, 0)));
  EXPECT_FALSE(CustodyStore::valid(sessionRecord(1u << 20, 0)));
  EXPECT_FALSE(CustodyStore::valid(sessionRecord(0, kGenerationMask + 1)));
  custody::Record record;
  record.kind = static_cast<custody::Kind>(9);
  EXPECT_FALSE(CustodyStore::valid(record));
  record.kind = custody::Kind::kTable;
  record.slot = 1;
  EXPECT_FALSE(CustodyStore::valid(record));
}

TEST(CustodyStore, ListsEachOnce) {
  CustodyStore store;
  for (uint32_t slot = 0; slot < 100; slot += 3) EXPECT_TRUE(store.put(sessionRecord(slot, 1), marked(slot)));
  custody::Record table;
  table.kind = custody::Kind::kTable;
  EXPECT_TRUE(store.put(table, marked(0)));
  uint64_t cursor = 0;
  std::vector<uint32_t> slots;
  size_t tables = 0;
  custody::Record some[7];
  while (size_t count = store.list(cursor, some))
    for (const auto& record : std::span(some, count)) {
      if (record.kind == custody::Kind::kTable)
        ++tables;
      else
        slots.push_back(record.slot);
    }
  EXPECT_EQ(tables, 1u);
  ASSERT_EQ(slots.size(), 34u);
  for (size_t i = 0; i < slots.size(); ++i) EXPECT_EQ(slots[i], 3 * i);
}

}  // namespace
}  // namespace ppx
