// One message to many: who gets it, how often, and what a slow one among them costs the others.
#include <gtest/gtest.h>

#include <thread>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

std::vector<Client> greeted(uint16_t port, size_t count) {
  std::vector<Client> clients;
  for (size_t i = 0; i < count; ++i) clients.emplace_back(port);
  for (Client& client : clients) client.send("x");
  for (Client& client : clients) EXPECT_EQ(client.receive(1), "x");
  return clients;
}

TEST(Broadcast, ReachesEachSessionOfThePoolOnceAndNoOther) {
  InTestUpstream ours, theirs;
  Gateway gateway(
      {.forwarders = 3,
       .upstreams = {ours.port()},
       .more = "[[listener]]\nname = \"other\"\nport = 0\npool = \"other\"\n[[upstream]]\nport = " +
               std::to_string(theirs.port()) + "\npool = \"other\"\n"});
  ours.waitForStreams(3);
  theirs.waitForStreams(3);
  std::vector<Client> members = greeted(gateway.port(), 40), others = greeted(gateway.port("other"), 40);
  for (const StreamRef& stream : ours.streams()) stream->broadcast(Broadcast::kAll, "all\n");
  for (const StreamRef& stream : theirs.streams()) stream->broadcast(Broadcast::kAll, "them\n");
  // From three streams: three copies. What comes after them tells that there is no fourth.
  for (Client& client : members) EXPECT_EQ(client.receive(12), "all\nall\nall\n");
  for (Client& client : others) EXPECT_EQ(client.receive(15), "them\nthem\nthem\n");
  for (Client& client : members) EXPECT_EQ(client.exchange("."), ".");
  for (Client& client : others) EXPECT_EQ(client.exchange("."), ".");
}

TEST(Broadcast, ReachesClientsThatNeverSentAnything) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> silent;
  uint16_t port = gateway.port();
  for (int i = 0; i < 30; ++i) silent.emplace_back(port);
  gateway.waitForSessions(30);
  upstream.anyStream()->broadcast(Broadcast::kAll, "hear");
  for (Client& client : silent) EXPECT_EQ(client.receive(4), "hear");
}

TEST(Broadcast, TellsActiveFromNotActive) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> active = greeted(gateway.port(), 20), silent;
  uint16_t port = gateway.port();
  for (int i = 0; i < 20; ++i) silent.emplace_back(port);
  gateway.waitForSessions(40);
  StreamRef stream = upstream.anyStream();
  stream->broadcast(Broadcast::kActive, "A");
  stream->broadcast(Broadcast::kNotActive, "N");
  stream->broadcast(Broadcast::kAll, "E");
  for (Client& client : active) EXPECT_EQ(client.receive(2), "AE");
  for (Client& client : silent) EXPECT_EQ(client.receive(2), "NE");
}

TEST(Broadcast, ForgetsActivityAfterTheWindow) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}, .sessions = "active_window = \"2s\""});
  upstream.waitForStreams(2);
  std::vector<Client> clients = greeted(gateway.port(), 2);
  Deadline deadline(3s);  // longer than the window, in which one of them goes on
  while (!deadline.passed()) {
    EXPECT_EQ(clients[0].exchange("."), ".");
    std::this_thread::sleep_for(50ms);
  }
  StreamRef stream = upstream.anyStream();
  stream->broadcast(Broadcast::kActive, "A");
  stream->broadcast(Broadcast::kNotActive, "N");
  stream->broadcast(Broadcast::kAll, "E");
  EXPECT_EQ(clients[0].receive(2), "AE");
  EXPECT_EQ(clients[1].receive(2), "NE");
}

TEST(Broadcast, ArrivesOnceFromSeveralUpstreamsAtATime) {
  constexpr int kUpstreams = 4, kMessages = 50;
  constexpr size_t kClients = 60, kBytes = 8;
  std::vector<std::unique_ptr<InTestUpstream>> upstreams;
  std::vector<uint16_t> ports;
  for (int i = 0; i < kUpstreams; ++i) {
    upstreams.push_back(std::make_unique<InTestUpstream>());
    ports.push_back(upstreams.back()->port());
  }
  Gateway gateway({.forwarders = 3, .upstreams = ports});
  for (auto& upstream : upstreams) upstream->waitForStreams(3);
  std::vector<Client> clients = greeted(gateway.port(), kClients);
  std::vector<std::thread> senders;
  for (int u = 0; u < kUpstreams; ++u)
    senders.emplace_back([&, u] {
      std::vector<StreamRef> streams = upstreams[static_cast<size_t>(u)]->streams();
      for (int m = 0; m < kMessages; ++m) {
        char text[kBytes + 1];
        std::snprintf(text, sizeof(text), "%02d:%04d\n", u, m);
        streams[static_cast<size_t>(m) % streams.size()]->broadcast(Broadcast::kAll, text);
      }
    });
  for (std::thread& sender : senders) sender.join();
  for (Client& client : clients) {
    std::string all = client.receive(kBytes * kUpstreams * kMessages);
    std::map<std::string, int> copies;
    for (size_t at = 0; at < all.size(); at += kBytes) ++copies[all.substr(at, kBytes)];
    EXPECT_EQ(copies.size(), static_cast<size_t>(kUpstreams * kMessages));
    EXPECT_EQ(client.exchange("."), ".");
  }
}

TEST(Broadcast, KeepsEachStreamsOrder) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> clients = greeted(gateway.port(), 10);
  std::string expected;
  StreamRef stream = upstream.anyStream();
  for (int i = 0; i < 500; ++i) {
    std::string text = std::to_string(i) + (i % 7 == 0 ? std::string(3000, '#') : "") + "\n";
    expected += text;
    stream->broadcast(Broadcast::kAll, text);
  }
  for (Client& client : clients) EXPECT_TRUE(client.receive(expected.size()) == expected);
}

TEST(Broadcast, AClientThatStopsReadingDelaysNobodyAndIsEndedAtTheBound) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()},
                   .sessions = "output_soft_bytes = \"256KiB\"\noutput_hard_bytes = \"4MiB\"\n"
                               "slow_client_grace = \"30s\"\njournal_out_bytes = \"16MiB\""});
  upstream.waitForStreams(2);
  Client stopped(gateway.port(), "", 4096);
  EXPECT_EQ(stopped.exchange("x"), "x");
  std::vector<Client> clients = greeted(gateway.port(), 20);
  StreamRef stream = upstream.anyStream();
  std::string text = randomBytes(16384, 1);
  double worst = 0;
  uint64_t before = 0, after = 0;
  for (pid_t pid : gateway.allProcesses()) before += anonymousBytes(pid);
  for (int i = 0; i < 800; ++i) {
    stream->broadcast(Broadcast::kAll, text);
    worst = std::max(worst, secondsOf([&] {
                       for (Client& client : clients) ASSERT_TRUE(client.receive(text.size()) == text);
                     }));
  }
  EXPECT_LT(worst, 5.0);
  waitUntil("the stopped one's end",
            [&] { return gateway.closed("overflow") + gateway.closed("slow_client") == 1; });
  for (pid_t pid : gateway.allProcesses()) after += anonymousBytes(pid);
  EXPECT_LT(after, before + (24u << 20)) << "13 MB went by, 4 MiB may be kept";
  for (Client& client : clients) EXPECT_TRUE(client.isOpen());
}

TEST(Broadcast, AClientAboveTheSoftBoundIsEndedAfterTheGrace) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()},
                   .sessions = "output_soft_bytes = \"64KiB\"\nslow_client_grace = \"3s\""});
  upstream.waitForStreams(2);
  Client stopped(gateway.port(), "", 4096), well(gateway.port());
  EXPECT_EQ(stopped.exchange("x"), "x");
  EXPECT_EQ(well.exchange("x"), "x");
  std::string bytes = randomBytes(6 << 20, 2);
  double seconds = secondsOf([&] {
    upstream.anyStream()->broadcast(Broadcast::kAll, bytes);
    EXPECT_TRUE(well.receive(bytes.size()) == bytes);
    waitUntil("its end", [&] { return gateway.closed("slow_client") == 1; });
  });
  EXPECT_GT(seconds, 2.9);
  EXPECT_LT(seconds, 15);
  EXPECT_TRUE(well.isOpen());
}

TEST(Broadcast, AFullJournalEndsTheLargestBacklogAndNobodyElse) {
  InTestUpstream upstream;
  Gateway gateway(
      {.upstreams = {upstream.port()},
       .sessions = "output_soft_bytes = \"1MiB\"\noutput_hard_bytes = \"8MiB\"\nmax_reply_bytes = \"8MiB\"\n"
                   "journal_out_bytes = \"8MiB\"\nslow_client_grace = \"1h\""});
  upstream.waitForStreams(2);
  std::vector<Client> stopped;
  uint16_t port = gateway.port();
  for (int i = 0; i < 3; ++i) stopped.emplace_back(port, "", 4096);
  for (Client& client : stopped) EXPECT_EQ(client.exchange("x"), "x");
  std::vector<Client> clients = greeted(port, 5);
  StreamRef stream = upstream.anyStream();
  std::string text = randomBytes(65536, 3);
  for (int i = 0; i < 200; ++i) {
    stream->broadcast(Broadcast::kAll, text);
    for (Client& client : clients) ASSERT_TRUE(client.receive(text.size()) == text);
  }
  EXPECT_GE(gateway.closed("overflow"), 1);
  for (Client& client : clients) EXPECT_EQ(client.exchange("."), ".");
}

}  // namespace
}  // namespace ppx::test
