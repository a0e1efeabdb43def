// kill -9 of the gateway's own processes: clients of the others go on, and the dead one is replaced.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

struct CrashTest : ::testing::Test {
  InTestUpstream upstream;
  Gateway gateway{{.upstreams = {upstream.port()}}};

  void SetUp() override { upstream.waitForStreams(2); }
  std::vector<Client> served(size_t count) {
    std::vector<Client> clients;
    uint16_t port = gateway.port();
    for (size_t i = 0; i < count; ++i) clients.emplace_back(port);
    expectServed(clients);
    return clients;
  }
  static void expectServed(std::vector<Client>& clients) {
    for (Client& client : clients) client.send("x");
    for (Client& client : clients) EXPECT_EQ(client.receive(1), "x");
  }
  // Kills one with that role and waits until another serves in its place.
  void replace(const std::string& role) {
    pid_t pid = gateway.worker(role);
    ::kill(pid, SIGKILL);
    gateway.waitForSuccessor(role, pid);
  }
};

TEST_F(CrashTest, OfAnAcceptorClosesNobody) {
  std::vector<Client> clients = served(20);
  replace("acceptor");
  expectServed(clients);
  std::vector<Client> fresh = served(20);
  clients.clear();
  fresh.clear();
  gateway.waitUntilEmpty();
  gateway.stop();
}

TEST_F(CrashTest, OfTheProberClosesNobody) {
  std::vector<Client> clients = served(20);
  replace("prober");
  expectServed(clients);
  InTestUpstream second;
  gateway.addUpstream(second.port());
  second.waitForStreams(2);
  std::vector<Client> fresh = served(20);
  EXPECT_EQ(second.clients(), 10u);
}

TEST_F(CrashTest, OfTheCustodianClosesNobody) {
  std::vector<Client> clients = served(20);
  replace("custodian");
  expectServed(clients);
  std::vector<Client> fresh = served(20);
  waitUntil("custody of all", [&] { return gateway.custody() == 40; });
  clients.clear();
  fresh.clear();
  gateway.waitUntilEmpty();
}

TEST_F(CrashTest, UnderTrafficLosesNoByteOfAnyClient) {
  auto swarm = load::DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()}, .connections = 50});
  ASSERT_TRUE(swarm) << swarm.error().text;
  ASSERT_TRUE((*swarm)->runUntilBytes(1000, 20 * load::kSecond));  // each of them is in custody
  for (const char* role : {"acceptor", "prober", "custodian"}) {
    pid_t pid = gateway.worker(role);
    ::kill(pid, SIGKILL);
    (*swarm)->runFor(400 * load::kMillisecond);
    gateway.waitForSuccessor(role, pid);
  }
  EXPECT_TRUE((*swarm)->drain(20 * load::kSecond));
  load::SwarmStats stats = (*swarm)->stats();
  EXPECT_EQ(stats.intact, 50u) << stats.firstProblem;
  EXPECT_EQ(stats.open, 50u);
  swarm->reset();
  gateway.waitUntilEmpty();
}

TEST_F(CrashTest, WhileClientsComeLosesOnlyThoseThatWereJustAccepted) {
  uint16_t port = gateway.port();
  std::vector<Client> clients;
  std::vector<pid_t> dead;
  for (int i = 0; i < 300; ++i) {
    if (i % 100 == 50) {
      dead.push_back(gateway.worker("acceptor"));
      ::kill(dead.back(), SIGKILL);
    }
    clients.emplace_back(port);
    clients.back().send("x");
    if (i % 100 == 99) gateway.waitForSuccessor("acceptor", dead.back());
  }
  int served = 0;
  for (Client& client : clients) {
    try {
      served += client.receive(1) == "x";
    } catch (const std::exception&) {
      EXPECT_NE(client.end(), ClientEnd::kNone) << "neither served nor told";
    }
  }
  // Between accept() and custody: one turn of an acceptor at most, 16 clients, three times.
  EXPECT_GE(served, 300 - 3 * 16);
  gateway.waitForSessions(served);
  clients.clear();
  gateway.waitUntilEmpty();
}

TEST(Crash, OfAnAcceptorBetweenCustodyAndHandoffLosesNoClient) {
  InTestUpstream upstream;
  Gateway gateway(
      {.upstreams = {upstream.port()}, .environment = {{"PPX_FAILPOINTS", "acceptor.custody_put=kill@3"}}});
  upstream.waitForStreams(2);
  uint16_t port = gateway.port();
  std::vector<Client> clients;
  for (int i = 0; i < 9; ++i) {
    clients.emplace_back(port);
    EXPECT_EQ(clients.back().exchange("x"), "x") << i;
  }
  clients.clear();
  gateway.waitUntilEmpty();
}

TEST_F(CrashTest, OfAForwarderLeavesTheOthersAndIsReplaced) {
  std::vector<Client> clients = served(20);
  replace("forwarder");
  int open = 0;
  for (Client& client : clients) {
    try {
      open += client.exchange("y") == "y";
    } catch (const std::exception&) {
    }
  }
  EXPECT_GE(open, 10) << "clients of another forwarder were hit";
  upstream.waitForStreams(2);
  std::vector<Client> fresh = served(20);
  clients.clear();
  fresh.clear();
  gateway.waitUntilEmpty();
}

// Plain upstreams: who had traffic within doubt_window is named and counted, whatever becomes of him.
struct InDoubt : ::testing::TestWithParam<std::string> {};

TEST_P(InDoubt, SessionsAreNamedAndCounted) {
  InTestUpstream upstream;
  Gateway gateway({.forwarders = 1,
                   .upstreams = {upstream.port()},
                   .sessions = "doubt_window = \"1s\"\n",
                   .listener = "crash_policy = \"" + GetParam() + "\"\n"});
  upstream.waitForStreams(1);
  Client quiet(gateway.port()), busy(gateway.port());
  EXPECT_EQ(quiet.exchange("x"), "x");
  EXPECT_EQ(busy.exchange("x"), "x");
  const std::string name = gateway.downstreamOf(busy).at("uuid");
  const pid_t pid = gateway.worker("forwarder");
  waitUntil("its last byte is older than twice the window",
            [&] { return gateway.downstreamOf(quiet).at("last_out_seconds_ago").get<double>() > 2; });
  EXPECT_EQ(busy.exchange("y"), "y");
  ::kill(pid, SIGKILL);
  gateway.waitForSuccessor("forwarder", pid);
  EXPECT_EQ(quiet.exchange("x"), "x");
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 1);
  const bool ends = GetParam() == "close";
  EXPECT_NE(gateway.log().find("session " + name + ": in doubt after the crash of its forwarder; it " +
                               (ends ? "is ended" : "goes on")),
            std::string::npos);
  if (ends)
    EXPECT_EQ(busy.waitForEnd(), ClientEnd::kReset);
  else
    EXPECT_EQ(busy.exchange("y"), "y");
}

INSTANTIATE_TEST_SUITE_P(Policies, InDoubt, ::testing::Values("close", "continue"),
                         [](const auto& policy) { return policy.param; });

// Its successor comes a second later, which is longer than the window.
TEST(InDoubtAfterACrash, IsJudgedByTheTimeOfTheCrashHoweverLateTheSuccessorComes) {
  InTestUpstream upstream;
  Gateway gateway({.forwarders = 1,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"1s\"\nrespawn_backoff_max = \"1s\"\n",
                   .sessions = "doubt_window = \"300ms\"\n",
                   .listener = "crash_policy = \"close\"\n"});
  upstream.waitForStreams(1);
  Client quiet(gateway.port()), busy(gateway.port());
  EXPECT_EQ(quiet.exchange("x"), "x");
  const pid_t pid = gateway.worker("forwarder");
  waitUntil("its last byte is much older than the window",
            [&] { return gateway.downstreamOf(quiet).at("last_out_seconds_ago").get<double>() > 1; });
  EXPECT_EQ(busy.exchange("y"), "y");
  ::kill(pid, SIGKILL);
  gateway.waitForSuccessor("forwarder", pid);
  EXPECT_EQ(busy.waitForEnd(), ClientEnd::kReset);
  EXPECT_EQ(quiet.exchange("x"), "x");
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 1);
}

char stateOf(pid_t pid) {
  std::string text = readAll("/proc/" + std::to_string(pid) + "/stat");
  size_t name = text.rfind(") ");
  return name == std::string::npos ? '?' : text[name + 2];
}

// The first successor dies, later than the window, with the session in its hands that it has not served yet.
TEST(InDoubtAfterTwoCrashes, IsJudgedByTheOneThatBrokeTheStream) {
  InTestUpstream upstream;
  Gateway gateway({.forwarders = 1,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"10ms\"\n",
                   .sessions = "doubt_window = \"300ms\"\n",
                   .listener = "crash_policy = \"close\"\n",
                   .environment = {{"PPX_FAILPOINTS", "takeover.reclaimed=stop@1"}}});
  upstream.waitForStreams(1);
  Client busy(gateway.port());
  pid_t last = gateway.worker("forwarder");
  EXPECT_EQ(busy.exchange("y"), "y");
  for (bool survives : {false, true}) {
    ::kill(last, SIGKILL);
    pid_t next = 0;
    waitUntil("a successor that has reclaimed the session", [&] {
      auto pids = gateway.workers("forwarder");
      next = pids.empty() ? 0 : pids.front();
      return next != 0 && next != last && stateOf(next) == 'T';
    });
    if (survives) ::kill(next, SIGCONT);
    std::this_thread::sleep_for(survives ? 0ms : 600ms);  // longer than the window
    last = next;
  }
  EXPECT_EQ(busy.waitForEnd(), ClientEnd::kReset);
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 1);
}

TEST(InDoubtOfAnUpstream, SessionsAreNamedAndCounted) {
  InTestUpstream second;
  auto first = std::make_unique<InTestUpstream>();
  Gateway gateway({.forwarders = 1, .upstreams = {first->port()}});
  first->waitForStreams(1);
  Client client(gateway.port());
  EXPECT_EQ(client.exchange("x"), "x");
  gateway.addUpstream(second.port());
  second.waitForStreams(1);
  std::string name = gateway.downstreamOf(client).at("uuid");
  first.reset();
  // What is sent before the gateway has seen the loss may still go there.
  waitUntil("a session in doubt", [&] { return gateway.metric("paradox_sessions_in_doubt_total") == 1; });
  EXPECT_EQ(client.exchange("y"), "y");
  EXPECT_NE(gateway.log().find("session " + name + ": in doubt, its upstream"), std::string::npos);
}

}  // namespace
}  // namespace ppx::test
