// What an acceptor does with each client, and what it leaves when it dies.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <iostream>
#include <map>
#include <set>

#include "tests/custody/acceptor_process.h"

namespace ppx {
namespace {

using test::AcceptorProcess;
using test::FakeForwarder;
using test::runUntil;

int optionOf(int socket, int level, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  ::getsockopt(socket, level, option, &value, &size);
  return value;
}

uint64_t cookieOf(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  return cookie;
}

TEST_F(AcceptorProcess, HandsEachOfAStormToOneForwarderOnce) {
  startAll();
  constexpr size_t kClients = 2000;
  auto cpu = test::cpuTime(acceptor.pid());
  connect(kClients);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == kClients && custodian->held() == kClients; }));
  cpu = test::cpuTime(acceptor.pid()) - cpu;
  std::cout << "acceptor: " << static_cast<double>(cpu.count()) * 1000 / kClients
            << " us of CPU a connection, " << forwarders[0]->messages + forwarders[1]->messages
            << " handoff messages\n";
  EXPECT_EQ(forwarders[0]->sessions.size(), kClients / 2);
  EXPECT_EQ(forwarders[0]->lost + forwarders[1]->lost, 0u);

  std::map<uint16_t, size_t> byPort;
  std::set<uint32_t> slots;
  SessionTable sessions(supervisor.table());
  for (uint8_t row = 0; row < 2; ++row)
    for (const auto& session : forwarders[row]->sessions) {
      const SessionSlot& slot = supervisor.table().session(session.ref.slot);
      EXPECT_EQ(slot.cookie, cookieOf(session.socket.get()));
      EXPECT_EQ(sessions.word(session.ref.slot),
                (SlotWord{SlotState::kOwned, row, 50u + row, session.ref.generation}));
      EXPECT_EQ(sessions.find(sessions.uuid(session.ref.slot)), session.ref);
      EXPECT_EQ(slot.listener, 3);
      EXPECT_EQ(slot.pool, 2);
      EXPECT_EQ(slot.peerLow, 0xffff7f000001u);
      slots.insert(session.ref.slot);
      ++byPort[static_cast<uint16_t>(slot.peerPort)];
    }
  EXPECT_EQ(slots.size(), kClients);
  for (const UniqueFd& client : clients) EXPECT_EQ(byPort[test::localPort(client.get())], 1u);
  EXPECT_EQ(figures().accepted, kClients);
  EXPECT_TRUE(runUntil(io, [&] { return figures().handedOff == kClients; }));
}

TEST_F(AcceptorProcess, SetsTheListenersOptionsAndTheBaseline) {
  startAll();
  connect(1);
  ASSERT_EQ(::send(clients[0].get(), "hello", 5, 0), 5);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 1; }));
  auto& forwarder = forwarders[0]->sessions.empty() ? forwarders[1] : forwarders[0];
  int socket = forwarder->sessions[0].socket.get();
  EXPECT_EQ(optionOf(socket, SOL_SOCKET, SO_OOBINLINE), 1);
  EXPECT_EQ(optionOf(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(optionOf(socket, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(optionOf(socket, IPPROTO_TCP, TCP_KEEPIDLE), 77);
  EXPECT_EQ(optionOf(socket, IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(optionOf(socket, IPPROTO_TCP, TCP_KEEPCNT), 4);
  EXPECT_EQ(optionOf(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
  const SessionSlot& slot = supervisor.table().session(forwarder->sessions[0].ref.slot);
  char text[8] = {};
  EXPECT_EQ(::recv(socket, text, sizeof(text), 0), 5);
  EXPECT_EQ(slot.baselineReceived, 0u);
}

TEST_F(AcceptorProcess, ClosesItsCopies) {
  startAll();
  size_t before = test::openDescriptors(acceptor.pid());
  connect(50);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 50; }));
  EXPECT_TRUE(runUntil(io, [&] { return test::openDescriptors(acceptor.pid()) <= before; }));
}

TEST_F(AcceptorProcess, WaitsForACustodian) {
  for (uint8_t row = 0; row < 2; ++row) supervisor.setForwarderReady(row, true);
  startAcceptor();
  connect(5);
  settle();
  EXPECT_EQ(handed(), 0u);
  EXPECT_EQ(figures().accepted, 0u);
  startCustodian();
  supervisor.setForwarderReady(0, true);  // "peers changed": it dials at once
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 5 && custodian->held() == 5; }));
}

TEST_F(AcceptorProcess, WaitsForAForwarder) {
  startCustodian();
  startAcceptor();
  connect(5);
  settle();
  EXPECT_EQ(figures().accepted, 0u);
  supervisor.setForwarderReady(1, true);
  ASSERT_TRUE(runUntil(io, [&] { return forwarders[1]->sessions.size() == 5; }));
  supervisor.setForwarderReady(1, false);
  settle();
  connect(5);
  settle();
  EXPECT_EQ(handed(), 5u);
  supervisor.setForwarderReady(1, true);
  ASSERT_TRUE(runUntil(io, [&] { return forwarders[1]->sessions.size() == 10; }));
}

TEST_F(AcceptorProcess, PassesByAForwarderThatDoesNotRead) {
  forwarders[0]->setDeaf(true);
  startAll();
  connect(2500);
  ASSERT_TRUE(runUntil(io, [&] { return figures().accepted == 2500 && figures().handedOff == 2500; }));
  EXPECT_TRUE(runUntil(io, [&] { return slotsIn(SlotState::kHandoff) <= handoff::kMaxUnacknowledged; }));
  EXPECT_EQ(slotsIn(SlotState::kHandoff) + forwarders[1]->sessions.size(), 2500u);
}

TEST_F(AcceptorProcess, GivesANewCustodianWhatIsNotHandedOffYet) {
  for (auto& forwarder : forwarders) forwarder->setDeaf(true);
  startAll();
  constexpr size_t kMost = 2 * handoff::kMaxUnacknowledged, kRoom = 3, kPending = 5;
  // Many to a message: messages of one each would fill the channels of those that read nothing before so many are on the way.
  ASSERT_NO_FATAL_FAILURE(connectAtOnce(kMost - kRoom));
  ASSERT_TRUE(runUntil(io, [&] {
    return slotsIn(SlotState::kHandoff) == kMost - kRoom && custodian->held() == kMost - kRoom;
  }));
  // It accepts more than it can hand off.
  ASSERT_NO_FATAL_FAILURE(connectAtOnce(kRoom + kPending));
  ASSERT_TRUE(runUntil(
      io, [&] { return slotsIn(SlotState::kHandoff) == kMost && custodian->held() == kMost + kPending; }));
  custodian.reset();
  startCustodian();
  EXPECT_TRUE(runUntil(io, [&] { return custodian->held() == kPending; }));
}

TEST_F(AcceptorProcess, LeavesASessionOfADeadForwarderToItsSuccessor) {
  forwarders[0]->setDeaf(true);
  startAll();
  connect(10);
  ASSERT_TRUE(runUntil(io, [&] { return figures().handedOff == 10 && custodian->held() == 10; }));
  forwarders[0].reset();  // its channel is gone with what was in it
  forwarders[0] = std::make_unique<FakeForwarder>(io, dir.path(), supervisor.table(), WorkerId{0, 60});
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 5; }));
  EXPECT_EQ(slotsIn(SlotState::kHandoff), 5u);
  connect(10);
  ASSERT_TRUE(runUntil(io, [&] { return figures().handedOff == 20; }));
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 15; }));
}

// Custody has room for five: the others are told to end, and the forwarder hears of it.
TEST_F(AcceptorProcess, EndsWhatCustodyCouldNotHold) {
  startCustodian(192 + 5);
  supervisor.setForwarderReady(0, true);
  startAcceptor();
  connect(8);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 8 && figures().refused == 3; }));
  EXPECT_EQ(custodian->held(), 5u);
  SessionTable sessions(supervisor.table());
  size_t asked = 0;
  for (const auto& session : forwarders[0]->sessions)
    asked += sessions.closeRequested(session.ref) == CloseReason::kRefused ? 1 : 0;
  EXPECT_EQ(asked, 3u);
  std::vector<uint32_t> dirty(64);
  EXPECT_EQ(supervisor.table().dirtySet(0).drain(dirty), 3u);
}

TEST_F(AcceptorProcess, GivesBackTheSlotOfAClientThatWasResetBefore) {
  startCustodian();
  startAcceptor();
  connect(3);
  for (UniqueFd& client : clients) {
    linger now{1, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    client.reset();
  }
  supervisor.setForwarderReady(0, true);
  ASSERT_TRUE(runUntil(io, [&] { return closed(CloseReason::kClientReset) == 3; }));
  EXPECT_TRUE(
      runUntil(io, [&] { return slotsIn(SlotState::kFree) == supervisor.table().sizes().sessionSlots; }));
  connect(1);
  EXPECT_TRUE(runUntil(io, [&] { return handed() == 1; }));
}

// What a recovery has to work with after a kill at each step: the word, and whether custody has the socket.
struct Kill {
  const char* failpoint;
  SlotState state;
  size_t held;
};
class KilledAcceptor : public AcceptorProcess, public ::testing::WithParamInterface<Kill> {};

TEST_P(KilledAcceptor, LeavesAStateThatCanBeCompleted) {
  startAll(std::string(GetParam().failpoint) + "=kill");
  connect(1);
  ASSERT_TRUE(runUntil(io, [&] {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(acceptor.pid()), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0;
  }));
  acceptor.kill();
  settle();
  runUntil(io, [&] { return slotsIn(GetParam().state) == 1 && custodian->held() == GetParam().held; });
  EXPECT_EQ(slotsIn(GetParam().state), 1u);
  EXPECT_EQ(custodian->held(), GetParam().held);
}

INSTANTIATE_TEST_SUITE_P(AtEachStep, KilledAcceptor,
                         ::testing::Values(Kill{"acceptor.claimed", SlotState::kClaimed, 0},
                                           Kill{"acceptor.accepted", SlotState::kClaimed, 0},
                                           Kill{"acceptor.filled", SlotState::kClaimed, 0},
                                           Kill{"acceptor.custody_put", SlotState::kClaimed, 1},
                                           Kill{"acceptor.handoff_word", SlotState::kHandoff, 1},
                                           Kill{"acceptor.handoff_sent", SlotState::kOwned, 1}),
                         [](const auto& each) {
                           std::string name = each.param.failpoint;
                           return name.substr(name.find('.') + 1);
                         });

TEST_F(AcceptorProcess, LeavesWhenTold) {
  startAll();
  connect(5);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 5; }));
  supervisor.stop(20'000);
  ASSERT_TRUE(runUntil(io, [&] { return supervisor.stopping(); }));
  int status = acceptor.wait(std::chrono::seconds(20));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(slotsIn(SlotState::kOwned), 5u);
}

}  // namespace
}  // namespace ppx
