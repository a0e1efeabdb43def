// One client and its session, from accept to the end as the client sees it.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

struct SessionTest : ::testing::Test {
  InTestUpstream upstream;
  std::unique_ptr<Gateway> gateway;

  Gateway& start(GatewayOptions options = {}) {
    options.upstreams = {upstream.port()};
    gateway = std::make_unique<Gateway>(options);
    gateway->waitForUpstream(upstream.port());
    return *gateway;
  }
  Client connect(int receiveBuffer = 0) { return Client(gateway->port(), "", receiveBuffer); }
  // Sends on a thread of its own while it receives.
  static std::string echoWhole(Client& client, const std::string& bytes) {
    std::exception_ptr failure;
    std::thread sender([&] {
      try {
        client.send(bytes);
      } catch (...) {
        failure = std::current_exception();
      }
    });
    std::string back;
    try {
      back = client.receive(bytes.size());
    } catch (...) {
      sender.join();
      throw;
    }
    sender.join();
    if (failure) std::rethrow_exception(failure);
    return back;
  }
};

TEST_F(SessionTest, CarriesBytesThereAndBack) {
  start();
  {
    Client client = connect();
    EXPECT_EQ(client.exchange("hello"), "hello");
    EXPECT_EQ(client.exchange(std::string("\0\xff\n", 3)), std::string("\0\xff\n", 3));
  }
  gateway->waitUntilEmpty();
  gateway->stop();
}

TEST_F(SessionTest, KeepsTheOrderOfAMegabyteEachWay) {
  start();
  std::string bytes = randomBytes(1 << 20, 1);
  {
    Client client = connect();
    EXPECT_TRUE(echoWhole(client, bytes) == bytes);
  }
  ASSERT_EQ(upstream.received().size(), 1u);
  EXPECT_TRUE(upstream.received().begin()->second == bytes);
  EXPECT_LE(upstream.largestPayload(), 65536u);
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, GivesEachClientItsOwnBytes) {
  start();
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect());
  for (size_t i = 0; i < clients.size(); ++i) clients[i].send(randomBytes(10000, static_cast<uint32_t>(i)));
  for (size_t i = 0; i < clients.size(); ++i)
    EXPECT_TRUE(clients[i].receive(10000) == randomBytes(10000, static_cast<uint32_t>(i))) << i;
}

TEST_F(SessionTest, AnswersAClientThatHalfClosedAndThenEnds) {
  start({.halfCloseTimeout = 2s});
  Client client = connect();
  client.send("hi");
  double seconds = secondsOf([&] {
    client.halfClose();
    EXPECT_EQ(client.receiveUntilEnd(), "hi");
  });
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  EXPECT_GE(seconds, 1.9);
  gateway->waitUntilEmpty();
  EXPECT_EQ(gateway->closed("client_end"), 1);
}

TEST_F(SessionTest, EndsAHalfClosedClientThatGetsNoAnswer) {
  start({.halfCloseTimeout = 300ms});
  upstream.onMessage([](UpstreamStream&, const std::string&, const std::string&) {});
  Client client = connect();
  client.send("hi");
  client.halfClose();
  EXPECT_EQ(client.receiveUntilEnd(), "");
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  gateway->waitUntilEmpty();
  EXPECT_EQ(gateway->closed("half_close_timeout"), 1);
}

TEST_F(SessionTest, EndsAnIdleSessionAndNoOther) {
  start({.sessions = "idle_timeout = \"3s\"\nlinger_grace = \"100ms\""});
  Client idle = connect(), busy = connect();
  EXPECT_EQ(idle.exchange("a"), "a");
  Deadline deadline(4s);  // longer than the timeout, in which one of them goes on
  while (!deadline.passed()) {
    EXPECT_EQ(busy.exchange("b"), "b");
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(idle.waitForEnd(), ClientEnd::kFin);
  waitUntil("its end", [&] { return gateway->closed("idle") == 1; });
  EXPECT_EQ(busy.exchange("b"), "b");
}

TEST_F(SessionTest, NoticesAClientThatResets) {
  start();
  Client first = connect(), second = connect();
  EXPECT_EQ(first.exchange("a"), "a");
  EXPECT_EQ(second.exchange("b"), "b");
  gateway->waitForSessions(2);
  first.reset();
  gateway->waitForSessions(1);
  EXPECT_EQ(gateway->closed("client_reset"), 1);
  EXPECT_EQ(second.exchange("b"), "b");
  second.reset();
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, NoticesAResetWhileReadingIsPaused) {
  start();
  upstream.setHanging(true);
  Client client = connect();
  std::string bytes = randomBytes(1 << 20, 2);
  size_t sent = 0;
  for (int quiet = 0; quiet < 20;) {  // until nothing was taken for a time
    size_t some = client.sendSome(std::string_view(bytes).substr(sent % bytes.size()));
    sent += some;
    quiet = some == 0 ? quiet + 1 : 0;
    std::this_thread::sleep_for(10ms);
  }
  gateway->waitForSessions(1);
  client.reset();
  gateway->waitForSessions(0);
  upstream.setHanging(false);
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, CarriesUrgentDataInItsPlace) {
  start();
  {
    Client client = connect();
    client.send("ab");
    client.sendUrgent('c');
    client.send("d");
    EXPECT_EQ(client.receive(4), "abcd");
    client.sendUrgent('!');
    EXPECT_EQ(client.receive(1), "!");
    EXPECT_EQ(client.exchange("e"), "e");
  }
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, LosesNoReplyThatRacesTheClientsFin) {
  start({.halfCloseTimeout = 2s});
  std::string answer = randomBytes(20000, 3);
  upstream.onMessage([&](UpstreamStream& stream, const std::string& client, const std::string&) {
    stream.reply(client, answer);
  });
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(connect());
    clients.back().send("?");
    clients.back().halfClose();
  }
  for (Client& client : clients) {
    EXPECT_TRUE(client.receiveUntilEnd() == answer);
    EXPECT_EQ(client.end(), ClientEnd::kFin);
  }
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, ClosesSoonWhenTheClientClosesWhole) {
  start({.halfCloseTimeout = 300ms});
  {
    Client client = connect();
    EXPECT_EQ(client.exchange("a"), "a");
  }
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, DeliversATwelveMegabyteReplyWhole) {
  start();
  std::string answer = randomBytes(12 << 20, 4);
  upstream.onMessage([&](UpstreamStream& stream, const std::string& client, const std::string&) {
    stream.reply(client, answer);
  });
  {
    Client client = connect();
    client.send("?");
    EXPECT_TRUE(client.receive(answer.size()) == answer);
    client.send("?");
    EXPECT_TRUE(client.receive(answer.size()) == answer);
  }
  gateway->waitUntilEmpty();
}

TEST_F(SessionTest, IsShownByTheApi) {
  start();
  Client client = connect();
  client.exchange("who am I");
  Json row = gateway->downstreamOf(client);
  EXPECT_EQ(row.at("uuid"), upstream.clientThatSent("who am I"));
  EXPECT_EQ(row.at("listener"), "default");
  EXPECT_EQ(gateway->getJson("/downstream/" + row.at("uuid").get<std::string>()).at("uuid"), row.at("uuid"));
  EXPECT_EQ(gateway->get("/downstream/00000000-0000-4000-8000-000000000000").status, 404);
  EXPECT_EQ(gateway->get("/downstream/nonsense").status / 100, 4);
}

TEST_F(SessionTest, DeliversEverythingQueuedWhenTheApiEndsIt) {
  start();
  std::string answer = randomBytes(4 << 20, 5);
  upstream.onMessage([&](UpstreamStream& stream, const std::string& client, const std::string& payload) {
    if (payload == "?") stream.reply(client, answer);
  });
  Client client = connect(8192);
  client.send("?");
  std::string uuid = upstream.waitForClientThatSent("?");
  client.waitReadable();  // the reply is committed
  // Input that the gateway does not read, since this client takes nothing.
  std::string unread = randomBytes(300000, 6);
  size_t sent = client.sendSome(unread);
  EXPECT_GT(sent, 1000u);
  gateway->closeDownstream(uuid);
  std::string got = client.receiveUntilEnd(30s);
  EXPECT_EQ(got.size(), answer.size());
  EXPECT_TRUE(got == answer);
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  client.close();
  gateway->waitUntilEmpty();
  EXPECT_EQ(gateway->closed("admin"), 1);
}

TEST_F(SessionTest, DoesNotWaitForEverForAClientThatNeverEnds) {
  start({.sessions = "linger_timeout = \"1s\"\nlinger_grace = \"200ms\""});
  Client client = connect();
  client.exchange("a");
  gateway->closeDownstream(upstream.clientThatSent("a"));
  EXPECT_EQ(client.waitForEnd(), ClientEnd::kFin);
  gateway->waitUntilEmpty(5s);  // though this side is still open
}

TEST_F(SessionTest, GivesUpAClientThatTakesNothingAfterLingerTimeout) {
  start({.sessions = "linger_timeout = \"1s\""});
  std::string answer = randomBytes(8 << 20, 7);
  upstream.onMessage([&](UpstreamStream& stream, const std::string& client, const std::string&) {
    stream.reply(client, answer);
  });
  Client client = connect(8192);
  client.send("?");
  std::string uuid = upstream.waitForClientThatSent("?");
  client.waitReadable();  // the reply is committed
  gateway->closeDownstream(uuid);
  gateway->waitUntilEmpty(10s);
}

}  // namespace
}  // namespace ppx::test
