// What the custodian keeps, gives, and refuses.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <iostream>
#include <map>
#include <optional>

#include "common/custody_message.h"
#include "common/seqpacket.h"
#include "tests/custody/custodian_process.h"

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;
using test::CustodianProcess;
using test::kAcceptor;
using test::kForwarder;
using Peer = test::CustodianPeer;
using test::marked;
using test::readMark;
using test::Received;
using test::sessionRecord;

TEST_F(CustodianProcess, GivesBackWhatWasPutUntilItIsDropped) {
  start();
  Peer acceptor(dir.path(), kAcceptor), forwarder(dir.path(), kForwarder);
  Record records[] = {sessionRecord(1, 1), sessionRecord(2, 9)};
  UniqueFd one = marked(100), two = marked(200);
  int sockets[] = {one.get(), two.get()};
  auto done = acceptor.ask(Message(Type::kPut, records), sockets);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->message.head.type, Type::kPutDone);
  EXPECT_EQ(done->message.head.count, 2);
  EXPECT_EQ(done->message.records[0].failed, 0);

  Record wanted[] = {sessionRecord(2, 9), sessionRecord(3, 1), sessionRecord(1, 1)};
  auto given = fetch(forwarder, wanted);
  EXPECT_EQ(given.message.head.type, Type::kGive);
  ASSERT_EQ(given.descriptors.size(), 2u);
  EXPECT_EQ(readMark(given.descriptors[0].get()), 200u);
  EXPECT_EQ(readMark(given.descriptors[1].get()), 100u);
  auto missing = forwarder.receive();
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->message.head.type, Type::kMissing);
  ASSERT_EQ(missing->message.head.count, 1);
  EXPECT_EQ(missing->message.records[0].slot, 3u);

  auto dropped = forwarder.ask(Message(Type::kDrop, wanted));
  ASSERT_TRUE(dropped);
  EXPECT_EQ(dropped->message.head.type, Type::kDropDone);
  EXPECT_EQ(dropped->message.head.count, 3);
  EXPECT_EQ(fetch(forwarder, wanted).message.head.type, Type::kMissing);
}

TEST_F(CustodianProcess, ListsAllThatItHolds) {
  start();
  Peer peer(dir.path(), kAcceptor);
  UniqueFd one = marked(1);
  std::vector<int> sockets(200, one.get());
  for (uint32_t batch = 0; batch < 5; ++batch) {
    std::vector<Record> records;
    for (uint32_t i = 0; i < 200; ++i) records.push_back(sessionRecord(batch * 200 + i, 1));
    ASSERT_TRUE(peer.ask(Message(Type::kPut, records), sockets));
  }
  ASSERT_TRUE(peer.send(Message(Type::kList, {})));
  uint32_t next = 0;
  for (;;) {
    auto listed = peer.receive();
    ASSERT_TRUE(listed);
    if (listed->message.head.type == Type::kListEnd) break;
    for (const Record& record : listed->message.list()) EXPECT_EQ(record.slot, next++);
  }
  EXPECT_EQ(next, 1000u);
}

TEST_F(CustodianProcess, AFetchWaitsWhileTheWorkersChannelIsOpen) {
  start();
  Peer forwarder(dir.path(), kForwarder);
  auto acceptor = std::make_unique<Peer>(dir.path(), kAcceptor);
  Record record[] = {sessionRecord(4, 4)};
  ASSERT_TRUE(acceptor->ask(Message(Type::kDrop, {})));
  ASSERT_TRUE(forwarder.send(Message(Type::kFetch, record, kAcceptor)));
  ASSERT_TRUE(forwarder.send(Message(Type::kFetch, record)));  // for nobody's end: answered at once
  auto first = forwarder.receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->message.head.type, Type::kMissing);
  expectGivenAtTheEnd(std::move(acceptor), record[0], forwarder);
}

// 400 descriptors in all: the records that it could not keep are flagged, and it goes on serving.
TEST_F(CustodianProcess, SaysWhatItCannotHoldAtItsDescriptorLimit) {
  start(400);
  Peer acceptor(dir.path(), kAcceptor);
  uint32_t failed = 0;
  for (uint32_t batch = 0; batch < 4; ++batch) {
    std::vector<Record> records;
    std::vector<int> sockets;
    std::vector<UniqueFd> pipes;
    for (uint32_t i = 0; i < custody::kMaxRecords; ++i) {
      pipes.push_back(marked(batch * 1000 + i));
      sockets.push_back(pipes.back().get());
      records.push_back(sessionRecord(batch * 1000 + i, 1));
    }
    auto done = acceptor.ask(Message(Type::kPut, records), sockets);
    ASSERT_TRUE(done);
    ASSERT_EQ(done->message.head.count, custody::kMaxRecords);
    for (const Record& record : done->message.list()) {
      Record wanted[] = {record};
      auto answer = fetch(acceptor, wanted);
      if (record.failed != 0) {
        ++failed;
        EXPECT_EQ(answer.message.head.type, Type::kMissing);
      } else {
        ASSERT_EQ(answer.message.head.type, Type::kGive);
        ASSERT_EQ(answer.descriptors.size(), 1u);
        EXPECT_EQ(readMark(answer.descriptors[0].get()), record.slot);
      }
    }
  }
  EXPECT_EQ(failed, 4 * custody::kMaxRecords - (400 - 192));
  Peer later(dir.path(), kForwarder);  // channels are still accepted
  EXPECT_TRUE(later.ask(Message(Type::kDrop, {})));
  EXPECT_LT(test::openDescriptors(custodian.pid()), 400u);
}

TEST_F(CustodianProcess, DisconnectsAPeerThatSendsGarbageAndNobodyElse) {
  start();
  Peer bystander(dir.path(), kForwarder);
  UniqueFd one = marked(1);
  int socket[] = {one.get()};
  Record record[] = {sessionRecord(1, 1)};
  ASSERT_TRUE(bystander.ask(Message(Type::kPut, record), socket));

  std::vector<std::function<void(Peer&)>> garbage;
  garbage.push_back([](Peer& peer) { peer.sendBytes(std::as_bytes(std::span("hello", 5))); });
  garbage.push_back([](Peer& peer) {
    std::vector<std::byte> huge(50000);
    peer.sendBytes(huge);
  });
  auto message = [&](auto change) {
    Message wrong(Type::kDrop, record);
    size_t bytes = wrong.wire().size();
    change(wrong);
    garbage.push_back(
        [wrong, bytes](Peer& peer) { peer.sendBytes(std::as_bytes(std::span(&wrong, 1)).first(bytes)); });
  };
  message([](Message& m) { m.head.magic = 1; });
  message([](Message& m) { m.head.version = 99; });
  message([](Message& m) { m.head.count = 2; });
  message([](Message& m) { m.head.count = 60000; });
  message([](Message& m) { m.head.type = static_cast<Type>(77); });
  message([](Message& m) { m.head.type = Type::kGive; });
  message([](Message& m) { m.head.type = Type::kHello; });
  message([](Message& m) { m.head.type = Type::kPut; });  // without its descriptor
  message([](Message& m) { m.records[0].slot = 0xffffffff; });
  message([](Message& m) { m.records[0].kind = static_cast<custody::Kind>(0); });
  garbage.push_back(
      [&](Peer& peer) { peer.send(Message(Type::kDrop, record), socket); });  // with one too many
  for (size_t i = 0; i < garbage.size(); ++i) {
    Peer peer(dir.path(), kAcceptor);
    garbage[i](peer);
    EXPECT_FALSE(peer.receive()) << "garbage " << i;
    pollfd poll{peer.descriptor(), POLLIN, 0};
    ::poll(&poll, 1, 0);
    EXPECT_NE(poll.revents & POLLHUP, 0) << "garbage " << i;
  }
  auto given = bystander.ask(Message(Type::kFetch, record));
  ASSERT_TRUE(given);
  EXPECT_EQ(given->message.head.type, Type::kGive);
}

// A peer that asks and does not read is not read any more; others are served, and its answers come when it
// reads.
TEST_F(CustodianProcess, APeerThatDoesNotReadDelaysNobody) {
  start();
  Peer lazy(dir.path(), kAcceptor), other(dir.path(), kForwarder);
  std::vector<Record> records;
  for (uint32_t i = 0; i < custody::kMaxRecords; ++i) records.push_back(sessionRecord(i, 1));
  Message drop(Type::kDrop, records);
  size_t asked = 0;
  while (sendMessage(lazy.descriptor(), drop.wire())) ++asked;
  for (;;) {  // until it takes no more for good
    pollfd poll{lazy.descriptor(), POLLOUT, 0};
    if (::poll(&poll, 1, 300) != 1) break;
    while (sendMessage(lazy.descriptor(), drop.wire())) ++asked;
    ASSERT_LT(asked, 1000u);
  }
  EXPECT_TRUE(other.ask(Message(Type::kDrop, {})));
  for (size_t i = 0; i < asked; ++i) {
    auto done = lazy.receive();
    ASSERT_TRUE(done);
    ASSERT_EQ(done->message.head.type, Type::kDropDone);
  }
}

TEST_F(CustodianProcess, IsAWorkerThatOutlivesItsSupervisorAndLeavesWhenTold) {
  boost::asio::io_context io;
  auto supervisor = std::make_unique<test::FakeSupervisor>(io, dir.path(), 100);
  start();
  ASSERT_TRUE(test::runUntil(io, [&] { return supervisor->ready(); }));
  Peer peer(dir.path(), kAcceptor);
  Record records[] = {sessionRecord(1, 1), sessionRecord(2, 1)};
  UniqueFd one = marked(1);
  int sockets[] = {one.get(), one.get()};
  ASSERT_TRUE(peer.ask(Message(Type::kPut, records), sockets));
  auto& held = supervisor->table().worker(kCustodianRow).sessions;
  EXPECT_TRUE(test::runUntil(io, [&] { return held == 2; }));

  supervisor.reset();
  EXPECT_EQ(custodian.wait(std::chrono::milliseconds(100)), -1);
  ASSERT_TRUE(peer.ask(Message(Type::kDrop, std::span(records, 1))));
  supervisor = std::make_unique<test::FakeSupervisor>(io, dir.path(), 100);
  ASSERT_TRUE(test::runUntil(io, [&] { return supervisor->helloReady(); }));
  EXPECT_EQ(fetch(peer, records).message.head.count, 1);
  supervisor->stop(1000);
  ASSERT_TRUE(test::runUntil(io, [&] { return supervisor->stopping(); }));
  int status = custodian.wait(std::chrono::seconds(5));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(CustodianProcess, HoldsFifteenThousandInLittleMemory) {
  start();
  Peer peer(dir.path(), kAcceptor);
  constexpr uint32_t kSessions = 15000;
  UniqueFd one = marked(1);
  std::vector<int> sockets(250, one.get());
  ASSERT_TRUE(peer.ask(Message(Type::kDrop, {})));
  long before = test::statusKiB(custodian.pid(), "RssAnon");
  auto began = std::chrono::steady_clock::now();
  uint32_t failed = 0;
  for (uint32_t next = 0; next < kSessions; next += 250) {
    std::vector<Record> records;
    for (uint32_t i = 0; i < 250; ++i) records.push_back(sessionRecord(next + i, 1));
    auto done = peer.ask(Message(Type::kPut, records), sockets);
    ASSERT_TRUE(done);
    for (const Record& record : done->message.list()) failed += record.failed;
  }
  auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  uint32_t room = static_cast<uint32_t>(std::min<rlim_t>(limit.rlim_max, 1000000)) - 192;
  uint32_t held = std::min(room, kSessions);
  EXPECT_EQ(failed, kSessions - held);
  long after = test::statusKiB(custodian.pid(), "RssAnon");
  double bytes = static_cast<double>(after - before) * 1024 / held;
  std::cout << "custodian: " << held << " descriptors, " << bytes << " bytes of user-space memory each, "
            << static_cast<double>(took.count()) / kSessions << " us for each put and its answer\n";
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(bytes, 128);
#endif
}

}  // namespace
}  // namespace ppx
