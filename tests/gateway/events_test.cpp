// `events` and `close`: what an upstream is told of its sessions, and how it ends them.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/library_upstream.h"

namespace ppx::test {
namespace {

using paradox::upstream::CloseMode;
using Told = LibraryUpstream::Told;

struct Events : ::testing::Test {
  LibraryUpstream upstream;
  Gateway gateway{{.upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                   .halfCloseTimeout = 60s}};

  void SetUp() override { gateway.waitForUpstream(upstream.port()); }
  std::string opened(const Client& client) {
    std::string peer = "127.0.0.1:" + std::to_string(client.localPort());
    return upstream.waitFor("the opening of " + peer,
                            [&](const Told& told) { return told.how.peer == peer; });
  }
  Told told(const std::string& client) { return upstream.told().at(client); }
};

TEST_F(Events, AClientIsOpenedBeforeItSaysAWord) {
  Client client(gateway.port());
  std::string name = opened(client);
  EXPECT_EQ(told(name).how.listener, "default");
  EXPECT_FALSE(told(name).how.continued);
  EXPECT_EQ(told(name).how.offset, 0u);
  // So an upstream may speak first.
  EXPECT_TRUE(upstream.upstream().send(name, "220 welcome\r\n"));
  EXPECT_EQ(client.receiveLine(), "220 welcome\r\n");
}

TEST_F(Events, TheEndOfInputComesAfterAllBytesAndOnce) {
  Client client(gateway.port());
  std::string name = opened(client);
  client.send("last words");
  client.halfClose();
  upstream.waitFor("the end", [](const Told& t) { return t.ended == 1; });
  EXPECT_EQ(told(name).bytes, "last words");
  EXPECT_EQ(client.receive(10), "last words");
  // It may take its time: half_close_timeout is for those who cannot tell.
  EXPECT_TRUE(upstream.upstream().close(name, CloseMode::kFlush));
  EXPECT_EQ(client.receiveUntilEnd(), "");
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  upstream.waitFor("its closing", [](const Told& t) { return t.closed == 1 && t.reason == "upstream"; });
  EXPECT_EQ(told(name).ended, 1);
  waitUntil("it in the figures", [&] { return gateway.closed("upstream") == 1; });
}

TEST_F(Events, AnEndWithoutAByteIsToldToo) {
  Client client(gateway.port());
  std::string name = opened(client);
  client.halfClose();
  upstream.waitFor("the end", [](const Told& t) { return t.ended == 1 && t.bytes.empty(); });
}

TEST_F(Events, AClosingSaysWhy) {
  Client resets(gateway.port()), isEnded(gateway.port());
  std::string one = opened(resets), two = opened(isEnded);
  resets.reset();
  upstream.waitFor("a reset", [](const Told& t) { return t.closed == 1 && t.reason == "client_reset"; });
  gateway.closeDownstream(two);
  upstream.waitFor("an end by the admin", [](const Told& t) { return t.closed == 1 && t.reason == "admin"; });
  EXPECT_EQ(told(one).reason, "client_reset");
  EXPECT_EQ(told(two).reason, "admin");
}

TEST_F(Events, CloseFlushesAllThatWasSentBefore) {
  Client client(gateway.port(), "", 4096);
  std::string name = opened(client);
  std::string bytes = randomBytes(900'000, 5);
  EXPECT_TRUE(upstream.upstream().send(name, bytes));
  EXPECT_TRUE(upstream.upstream().close(name, CloseMode::kFlush));
  EXPECT_TRUE(client.receiveUntilEnd() == bytes);
  EXPECT_EQ(client.end(), ClientEnd::kFin);
}

TEST_F(Events, CloseAtOnceIsAReset) {
  Client client(gateway.port());
  std::string name = opened(client);
  EXPECT_TRUE(upstream.upstream().close(name, CloseMode::kNow));
  EXPECT_EQ(client.waitForEnd(), ClientEnd::kReset);
  upstream.waitFor("its closing",
                   [](const Told& t) { return t.closed == 1 && t.reason == "upstream_reset"; });
  waitUntil("it in the figures", [&] { return gateway.closed("upstream_reset") == 1; });
}

TEST_F(Events, ACrashOfItsForwarderOpensNobodyAgain) {
  std::vector<Client> clients;
  std::vector<std::string> names;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back(gateway.port());
    names.push_back(opened(clients.back()));
  }
  clients[3].halfClose();
  upstream.waitFor("the end of one", [](const Told& t) { return t.ended == 1; });
  for (int i = 0; i < 2; ++i) {
    pid_t pid = gateway.worker("forwarder", i);
    ::kill(pid, SIGKILL);
    gateway.waitForSuccessor("forwarder", pid);
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    if (i != 3) clients[i].send("still here");
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    if (i != 3) {
      EXPECT_EQ(clients[i].receive(10), "still here");
    }
    Told t = told(names[i]);
    EXPECT_EQ(t.opened, 1);
    EXPECT_EQ(t.closed, 0) << t.reason;
    EXPECT_EQ(t.ended, i == 3 ? 1 : 0);
  }
}

// The forwarder dies, and while nobody serves it the client goes too: the upstream still hears of it.
TEST_F(Events, WhoLeavesWhileItsForwarderIsDeadIsClosed) {
  std::vector<Client> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back(gateway.port());
    opened(clients.back());
  }
  std::vector<pid_t> pids = gateway.workers("forwarder");
  for (pid_t pid : pids) ::kill(pid, SIGKILL);
  for (int i = 0; i < 3; ++i) clients[static_cast<size_t>(i)].reset();
  for (pid_t pid : pids) gateway.waitForSuccessor("forwarder", pid);
  waitUntil("three closings", [&] {
    int closed = 0;
    for (const auto& [client, t] : upstream.told()) closed += t.closed;
    return closed == 3;
  });
  for (size_t i = 3; i < 6; ++i) EXPECT_EQ(clients[i].exchange("x"), "x");
}

TEST_F(Events, ADeletedUpstreamHearsThatItsClientsMoveAndTheNextWhereTheyStand) {
  Client client(gateway.port());
  std::string name = opened(client);
  EXPECT_EQ(client.exchange("first part"), "first part");
  LibraryUpstream second;
  gateway.addUpstream(second.port());
  gateway.waitForUpstream(second.port());
  gateway.deleteUpstream(upstream.port());
  gateway.waitForUpstreamGone(upstream.port());
  upstream.waitFor("the move", [](const Told& t) { return t.closed == 1 && t.reason == "moved"; });
  second.waitFor("its opening there", [](const Told& t) { return t.opened == 1 && t.how.continued; });
  EXPECT_EQ(second.told().at(name).how.offset, 10u);
  EXPECT_EQ(client.exchange("second part"), "second part");
  EXPECT_EQ(second.told().at(name).firstOffset, 10u);
}

// Another life of the upstream knows nothing: it is told of everybody, and gets what the first had not acknowledged.
TEST_F(Events, ARestartedUpstreamIsToldOfEverybodyAsContinued) {
  upstream.onBytes([](const std::string&, std::string_view) { return false; });
  Client client(gateway.port());
  std::string name = opened(client);
  client.send("not dealt with");
  upstream.waitFor("the bytes", [](const Told& t) { return t.bytes.size() == 14; });
  uint16_t port = upstream.port();
  upstream.stop();
  LibraryUpstream next(port);
  next.waitFor("its opening there", [](const Told& t) { return t.opened == 1 && t.how.continued; });
  EXPECT_EQ(client.receive(14), "not dealt with");
  EXPECT_EQ(next.told().at(name).how.offset, 0u);
}

// Its forwarder dies with the so-manieth message to the upstream: its hello, lanes, list, the opening, the client's bytes.
class EventsOfACrash : public ::testing::TestWithParam<int> {};

TEST_P(EventsOfACrash, AClientIsNewToWhomNobodyHasToldOfItYet) {
  TempDir marks;
  LibraryUpstream upstream;
  Gateway gateway({.forwarders = 1,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"20ms\"\n",
                   .environment = {{"PPX_FAILPOINTS", "stream.write=kill@" + std::to_string(GetParam())},
                                   {"PPX_FAILPOINTS_ONCE", marks.path()}}});
  gateway.waitForUpstream(upstream.port());
  Client client(gateway.port());
  EXPECT_EQ(client.exchange("hello"), "hello");
  waitUntil("the step", [&] { return std::filesystem::exists(marks.path() + "/stream.write"); });
  EXPECT_EQ(client.exchange("again"), "again");
  const auto told = upstream.told();
  ASSERT_EQ(told.size(), 1u);
  const Told& of = told.begin()->second;
  EXPECT_EQ(of.opened, 1);
  EXPECT_FALSE(of.how.continued);
  EXPECT_EQ(of.bytes, "helloagain");
  EXPECT_EQ(of.closed, 0) << of.reason;
}

INSTANTIATE_TEST_SUITE_P(Messages, EventsOfACrash, ::testing::Values(2, 3, 4, 5));

// Each payload on its own: nobody tells of the client, nothing is acknowledged, and all of it arrives.
TEST(EventsOfMessageRouting, ThereAreNone) {
  LibraryUpstream first, second;
  Gateway gateway(
      {.forwarders = 1, .upstreams = {first.port(), second.port()}, .listener = "routing = \"message\"\n"});
  gateway.waitForUpstream(first.port());
  gateway.waitForUpstream(second.port());
  Client client(gateway.port());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.exchange("payload"), "payload");
  std::string name = gateway.downstreamOf(client).at("uuid");
  size_t bytes = 0;
  for (LibraryUpstream* upstream : {&first, &second}) {
    Told told = upstream->told()[name];
    EXPECT_LE(told.opened, 1);
    EXPECT_EQ(told.how.peer, "") << "it is the library that says so, at the first bytes";
    bytes += told.bytes.size();
  }
  EXPECT_EQ(bytes, 70u);
  client.halfClose();
  EXPECT_EQ(client.receiveUntilEnd(), "");  // half_close_timeout
}

}  // namespace
}  // namespace ppx::test
