#include "common/custody_client.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <boost/asio/post.hpp>
#include <map>
#include <optional>
#include <set>

#include "common/seqpacket.h"
#include "supervisor/custodian/custodian.h"
#include "tests/custody/support.h"

namespace ppx {
namespace {

using custody::Record;
using test::marked;
using test::readMark;
using test::runUntil;
using test::sessionRecord;

class CustodyClients : public ::testing::Test {
 protected:
  CustodyClients()
      : client(
            io, dir.path(), {1, 21},
            {.connected = [this](bool up) { connections += up ? 1 : 0; },
             .drained = [this] { ++drained; },
             .putDone = [this](std::span<const Record> done) { putDone += done.size(); },
             .dropDone =
                 [this](std::span<const Record> done) {
                   ++dropMessages;
                   for (const Record& record : done) dropped.insert(record.slot);
                 },
             .give = [this](const Record& record, UniqueFd fd) { given[record.slot] = readMark(fd.get()); },
             .missing = [this](const Record& record) { missing.insert(record.slot); },
             .listed =
                 [this](std::span<const Record> records) {
                   ++listParts;
                   for (const Record& record : records) EXPECT_TRUE(listed.insert(record.slot).second);
                   if (records.empty()) ++lists;
                 }}) {}

  void startCustodian() {
    custodian.emplace(io, dir.path(), 10000, [](size_t) {});
    ASSERT_TRUE(custodian->listen());
  }
  void put(uint32_t slot) {
    Record record[] = {sessionRecord(slot, 1)};
    UniqueFd fd = marked(slot);
    int descriptor[] = {fd.get()};
    ASSERT_TRUE(client.put(record, descriptor));
  }

  // Slots 0 to `batches` full messages, and waits until they are held.
  void putBatches(uint32_t batches) {
    UniqueFd fd = marked(7);
    std::vector<int> descriptors(custody::kMaxRecords, fd.get());
    for (uint32_t batch = 0; batch < batches; ++batch) {
      std::vector<Record> records;
      for (uint32_t i = 0; i < custody::kMaxRecords; ++i)
        records.push_back(sessionRecord(batch * custody::kMaxRecords + i, 1));
      ASSERT_TRUE(runUntil(io, [&] { return client.put(records, descriptors); }));
    }
    ASSERT_TRUE(runUntil(io, [&] { return putDone == batches * custody::kMaxRecords; }));
  }

  test::TempDir dir;
  boost::asio::io_context io;
  std::optional<Custodian> custodian;
  int connections = 0, drained = 0, dropMessages = 0;
  size_t putDone = 0;
  int lists = 0, listParts = 0;
  std::set<uint32_t> dropped, missing, listed;
  std::map<uint32_t, uint32_t> given;
  CustodyClient client;
};

TEST_F(CustodyClients, PutsFetchesAndDrops) {
  startCustodian();
  client.start();
  ASSERT_TRUE(client.connected());
  put(1), put(2), put(3);
  ASSERT_TRUE(runUntil(io, [&] { return putDone == 3; }));
  EXPECT_EQ(custodian->held(), 3u);
  Record wanted[] = {sessionRecord(1, 1), sessionRecord(3, 1), sessionRecord(4, 1)};
  client.fetch(wanted, {});
  ASSERT_TRUE(runUntil(io, [&] { return given.size() == 2 && missing.size() == 1; }));
  EXPECT_EQ(given[3], 3u);
  client.drop(sessionRecord(2, 1));
  ASSERT_TRUE(runUntil(io, [&] { return dropped.size() == 1; }));
  EXPECT_EQ(custodian->held(), 2u);
}

TEST_F(CustodyClients, DropsOfOneTurnTravelTogether) {
  startCustodian();
  client.start();
  for (uint32_t slot = 0; slot < 600; ++slot) client.drop(sessionRecord(slot, 1));
  ASSERT_TRUE(runUntil(io, [&] { return dropped.size() == 600; }));
  EXPECT_EQ(dropMessages, 3);
}

TEST_F(CustodyClients, DialsUntilThereIsACustodian) {
  client.start();
  EXPECT_FALSE(client.connected());
  EXPECT_FALSE(client.canPut(1));
  startCustodian();
  ASSERT_TRUE(runUntil(io, [&] { return connections == 1; }));
  EXPECT_TRUE(client.canPut(1));
}

TEST_F(CustodyClients, StartsTwiceToDialAtOnce) {
  client.start();
  startCustodian();
  client.start();
  EXPECT_TRUE(client.connected());
}

// The custodian dies with the questions unread; the next one answers them.
TEST_F(CustodyClients, AsksTheNextCustodianAgain) {
  {
    auto listener = listenSeqpacket(dir.path() + "/" + custody::kSocketName);
    ASSERT_TRUE(listener);
    client.start();
    ASSERT_TRUE(client.connected());
    client.drop(sessionRecord(1, 1));
    Record wanted[] = {sessionRecord(2, 1)};
    client.fetch(wanted, {7, 70});
    bool sent = false;
    boost::asio::post(io, [&] { sent = true; });
    ASSERT_TRUE(runUntil(io, [&] { return sent; }));
  }
  ASSERT_TRUE(runUntil(io, [&] { return !client.connected(); }));
  client.drop(sessionRecord(3, 1));
  startCustodian();
  ASSERT_TRUE(runUntil(io, [&] { return dropped.size() == 2 && missing.size() == 1; }));
  EXPECT_EQ(connections, 2);
  EXPECT_TRUE(dropped.count(1) == 1 && dropped.count(3) == 1 && missing.count(2) == 1);
}

TEST_F(CustodyClients, BoundsWhatIsNotAcknowledged) {
  auto listener = listenSeqpacket(dir.path() + "/" + custody::kSocketName);
  ASSERT_TRUE(listener);
  client.start();
  uint32_t slot = 0;
  UniqueFd fd = marked(1);
  int descriptor[] = {fd.get()};
  for (;;) {
    Record record[] = {sessionRecord(slot, 1)};
    if (!client.put(record, descriptor)) break;
    ASSERT_LE(++slot, custody::kMaxUnacknowledged);
  }
  EXPECT_FALSE(client.canPut(1));
  EXPECT_EQ(drained, 0);
}

TEST_F(CustodyClients, TellsWhenThereIsRoomAgain) {
  startCustodian();
  client.start();
  UniqueFd fd = marked(1);
  uint32_t slot = 0;
  while (client.canPut(1)) {
    Record record[] = {sessionRecord(slot++, 1)};
    int descriptor[] = {fd.get()};
    client.put(record, descriptor);
  }
  ASSERT_TRUE(runUntil(io, [&] { return drained == 1; }));
  EXPECT_TRUE(client.canPut(1));
  ASSERT_TRUE(runUntil(io, [&] { return putDone >= slot - 1; }));
}

// The process may open 20 more: what the kernel drops of each answer is asked for again.
TEST_F(CustodyClients, GetsAllInTheEndAtItsOwnDescriptorLimit) {
  startCustodian();
  client.start();
  for (uint32_t slot = 0; slot < 100; ++slot) put(slot);
  ASSERT_TRUE(runUntil(io, [&] { return putDone == 100; }));
  std::vector<Record> wanted;
  for (uint32_t slot = 0; slot < 100; ++slot) wanted.push_back(sessionRecord(slot, 1));
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  UniqueFd next(::dup(0));
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(next.get()) + 20;
  ::setrlimit(RLIMIT_NOFILE, &tight);
  client.fetch(wanted, {});
  bool all = runUntil(io, [&] { return given.size() == 100; });
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(all) << given.size();
  for (const auto& [slot, mark] : given) EXPECT_EQ(slot, mark);
  EXPECT_TRUE(missing.empty());
}

TEST_F(CustodyClients, ListsWhatWasPutBeforeInParts) {
  startCustodian();
  client.start();
  putBatches(2);
  put(1000);
  ASSERT_TRUE(client.list());
  EXPECT_FALSE(client.list()) << "one at a time";
  ASSERT_TRUE(runUntil(io, [&] { return lists == 1; }));
  EXPECT_EQ(listed.size(), 2 * custody::kMaxRecords + 1);
  EXPECT_EQ(listParts, 4);
  listed.clear();
  EXPECT_TRUE(client.list());
  ASSERT_TRUE(runUntil(io, [&] { return lists == 2; }));
  EXPECT_EQ(listed.size(), 2 * custody::kMaxRecords + 1);
}

// A takeover while a long list is under way: the descriptors come first.
TEST_F(CustodyClients, AListDelaysNoOtherAnswer) {
  constexpr uint32_t kBatches = 38;
  startCustodian();
  client.start();
  putBatches(kBatches);
  ASSERT_TRUE(client.list());
  Record wanted[] = {sessionRecord(1, 1)};
  client.fetch(wanted, {});
  size_t before = 0;
  ASSERT_TRUE(runUntil(io, [&] {
    if (given.empty()) before = listed.size();
    return lists == 1;
  }));
  EXPECT_EQ(listed.size(), kBatches * custody::kMaxRecords);
  EXPECT_LT(before, listed.size() * 3 / 4) << "all of the list came before the descriptor";
}

TEST_F(CustodyClients, AListIsOverWithItsChannel) {
  {
    auto listener = listenSeqpacket(dir.path() + "/" + custody::kSocketName);
    ASSERT_TRUE(listener);
    client.start();
    EXPECT_TRUE(client.list());
  }
  ASSERT_TRUE(runUntil(io, [&] { return !client.connected(); }));
  EXPECT_FALSE(client.list());
  startCustodian();
  ASSERT_TRUE(runUntil(io, [&] { return client.connected(); }));
  put(3);
  EXPECT_TRUE(client.list());
  ASSERT_TRUE(runUntil(io, [&] { return lists == 1; }));
  EXPECT_EQ(listed, std::set<uint32_t>{3});
}

TEST_F(CustodyClients, CallsNobodyAfterStop) {
  startCustodian();
  client.start();
  client.drop(sessionRecord(1, 1));
  client.stop();
  io.restart();
  io.run_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(dropped.empty());
}

}  // namespace
}  // namespace ppx
