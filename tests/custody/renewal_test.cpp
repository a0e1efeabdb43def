// The custodian becomes another program in its process: whoever talks to it notices nothing.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "tests/custody/custodian_peer.h"
#include "tests/custody/fake_gateway.h"
#include "tests/custody/support.h"

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;
using test::Child;
using test::CustodianPeer;
using test::marked;
using test::readMark;
using test::sessionRecord;
using test::TempDir;

constexpr WorkerId kAcceptor{kFirstAcceptorRow, 11};
constexpr WorkerId kForwarder{0, 12};

class RenewedCustodian : public ::testing::Test {
 protected:
  // With a copy of the program, which can be replaced.
  void start(const std::string& failpoints = "") {
    std::filesystem::copy_file(std::string(PPX_BIN_DIR) + "/paradox-custodian", program());
    custodian = Child::startFile(
        program(),
        {"--runtime-dir", dir.path(), "--row", std::to_string(kCustodianRow), "--incarnation", "5"},
        failpoints);
    ASSERT_TRUE(test::runUntil(io, [&] { return supervisor.ready(); }));
  }
  std::string program() const { return dir.path() + "/paradox-custodian"; }
  void putOnDisk(const std::string& script) {
    std::filesystem::remove(program());
    std::ofstream(program()) << "#!/bin/sh\n" << script << "\n";
    ASSERT_EQ(::chmod(program().c_str(), 0755), 0);
  }
  // None: no answer.
  std::optional<control::Renewed> renew() {
    supervisor.renew();
    if (!test::runUntil(io, [&] { return supervisor.renewed().has_value(); })) return std::nullopt;
    return std::exchange(supervisor.renewed(), std::nullopt);
  }
  void expectRenewed() {
    auto answer = renew();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->done, 1) << answer->reason;
  }
  // All of them, with the marks that they were put with.
  void expectHeld(CustodianPeer& peer, std::span<const Record> records, uint32_t firstMark) {
    auto given = peer.ask(Message(Type::kFetch, records));
    ASSERT_TRUE(given);
    ASSERT_EQ(given->message.head.type, Type::kGive);
    ASSERT_EQ(given->descriptors.size(), records.size());
    for (size_t i = 0; i < records.size(); ++i)
      EXPECT_EQ(readMark(given->descriptors[i].get()), firstMark + i);
  }

  bool holds(CustodianPeer& peer, std::span<const Record> records) {
    auto given = peer.ask(Message(Type::kFetch, records));
    return given && given->message.head.type == Type::kGive && given->descriptors.size() == records.size();
  }

  TempDir dir;
  boost::asio::io_context io;
  test::FakeSupervisor supervisor{io, dir.path(), 100};
  Child custodian;
};

TEST_F(RenewedCustodian, HoldsAllThatItHeldAndKeepsItsChannels) {
  start();
  CustodianPeer acceptor(dir.path(), kAcceptor), forwarder(dir.path(), kForwarder);
  std::vector<Record> records;
  std::vector<UniqueFd> pipes;
  std::vector<int> sockets;
  for (uint32_t i = 0; i < 100; ++i) {
    records.push_back(sessionRecord(i, 1));
    pipes.push_back(marked(1000 + i));
    sockets.push_back(pipes.back().get());
  }
  ASSERT_TRUE(acceptor.ask(Message(Type::kPut, records), sockets));
  Record dropped[] = {sessionRecord(200, 7)};
  ASSERT_TRUE(forwarder.ask(Message(Type::kDrop, dropped)));
  const size_t before = test::openDescriptors(custodian.pid());
  for (int i = 0; i < 20; ++i) expectRenewed();
  EXPECT_EQ(test::openDescriptors(custodian.pid()), before);
  expectHeld(forwarder, records, 1000);
  // What was dropped before it was put stays so.
  int socket[] = {pipes[0].get()};
  ASSERT_TRUE(acceptor.ask(Message(Type::kPut, dropped), socket));
  auto answer = forwarder.ask(Message(Type::kFetch, dropped));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.head.type, Type::kMissing);
  // And the door is open.
  CustodianPeer later(dir.path(), WorkerId{1, 13});
  EXPECT_TRUE(later.ask(Message(Type::kDrop, {})));
  EXPECT_EQ(supervisor.table().worker(kCustodianRow).sessions, 100u);
}

TEST_F(RenewedCustodian, BecomesTheProgramThatIsOnDiskBySignalToo) {
  start();
  std::filesystem::rename(program(), program() + ".real");
  putOnDisk("echo $1 >> " + dir.path() + "/ran\nexec " + program() + ".real \"$@\"");
  custodian.signal(SIGUSR2);
  ASSERT_TRUE(test::runUntil(io, [&] { return supervisor.renewed().has_value(); }));
  EXPECT_EQ(supervisor.renewed()->done, 1);
  std::ifstream ran(dir.path() + "/ran");
  std::string first, second;
  ran >> first >> second;
  EXPECT_EQ(first, "--check-succession");
  EXPECT_EQ(second, "--runtime-dir");
}

TEST_F(RenewedCustodian, AFetchThatWaitsForADeadWorkersEndWaitsOn) {
  start();
  CustodianPeer forwarder(dir.path(), kForwarder);
  auto acceptor = std::make_unique<CustodianPeer>(dir.path(), kAcceptor);
  Record record[] = {sessionRecord(4, 4)};
  ASSERT_TRUE(acceptor->ask(Message(Type::kDrop, {})));
  ASSERT_TRUE(forwarder.send(Message(Type::kFetch, record, kAcceptor)));
  ASSERT_TRUE(forwarder.ask(Message(Type::kDrop, {})));  // so the fetch has been read
  expectRenewed();
  expectGivenAtTheEnd(std::move(acceptor), record[0], forwarder);
}

TEST_F(RenewedCustodian, APeerThatReadsItsAnswersLateGetsAllOfThem) {
  start();
  CustodianPeer lazy(dir.path(), kAcceptor);
  std::vector<Record> records;
  for (uint32_t i = 0; i < custody::kMaxRecords; ++i) records.push_back(sessionRecord(i, 1));
  Message drop(Type::kDrop, records);
  size_t asked = 0;
  for (;;) {  // until it takes no more for good
    pollfd poll{lazy.descriptor(), POLLOUT, 0};
    if (::poll(&poll, 1, 300) != 1) break;
    while (sendMessage(lazy.descriptor(), drop.wire())) ++asked;
    ASSERT_LT(asked, 1000u);
  }
  expectRenewed();
  for (size_t i = 0; i < asked; ++i) {
    auto done = lazy.receive();
    ASSERT_TRUE(done) << i << " of " << asked;
    ASSERT_EQ(done->message.head.type, Type::kDropDone);
    ASSERT_EQ(done->message.head.count, custody::kMaxRecords);
  }
}

// Each leaves the custodian as it is, and says why.
TEST_F(RenewedCustodian, AProgramThatCannotGoOnIsNotBegunWith) {
  start();
  CustodianPeer peer(dir.path(), kAcceptor);
  Record record[] = {sessionRecord(1, 1)};
  UniqueFd one = marked(55);
  int socket[] = {one.get()};
  ASSERT_TRUE(peer.ask(Message(Type::kPut, record), socket));
  struct Case {
    const char* script;
    const char* reason;
  };
  for (const Case& each : {Case{"exit 1", "cannot go on"}, Case{"kill -SEGV $$", "cannot go on"},
                           Case{"exec sleep 60", "in time"}}) {
    putOnDisk(each.script);
    auto answer = renew();
    ASSERT_TRUE(answer) << each.script;
    EXPECT_EQ(answer->done, 0);
    EXPECT_NE(std::string(answer->reason).find(each.reason), std::string::npos) << answer->reason;
    EXPECT_TRUE(holds(peer, record));
  }
  std::filesystem::remove(program());
  auto answer = renew();
  ASSERT_TRUE(answer);
  EXPECT_NE(std::string(answer->reason).find("No such file"), std::string::npos) << answer->reason;
  EXPECT_TRUE(holds(peer, record));
}

TEST_F(RenewedCustodian, DyingOnTheWayIsACrashLikeAnyOther) {
  for (const char* failpoint : {"custodian.renewing", "custodian.succeeding"}) {
    start(std::string(failpoint) + "=kill");
    supervisor.renew();
    int status = -1;
    ASSERT_TRUE(test::runUntil(io, [&] {
      status = status == -1 ? custodian.wait(std::chrono::milliseconds(0)) : status;
      return status != -1;
    }));
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << failpoint;
    std::filesystem::remove(program());
    supervisor.forget();
  }
}

}  // namespace
}  // namespace ppx
