// Limits on clients, and what running out of descriptors does: new clients wait or are refused, nobody else notices.
#include <gtest/gtest.h>

#include <thread>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

struct AdmissionTest : ::testing::Test {
  InTestUpstream upstream;
  std::unique_ptr<Gateway> gateway;

  void start(GatewayOptions options) {
    options.upstreams = {upstream.port()};
    gateway = std::make_unique<Gateway>(options);
    upstream.waitForStreams(static_cast<size_t>(options.forwarders));
  }
  std::vector<Client> served(size_t count, const std::string& source = "") {
    std::vector<Client> clients;
    uint16_t port = gateway->port();
    for (size_t i = 0; i < count; ++i) clients.emplace_back(port, source);
    expectServed(clients);
    return clients;
  }
  static void expectServed(std::vector<Client>& clients) {
    for (size_t i = 0; i < clients.size(); ++i) {
      try {
        EXPECT_EQ(clients[i].exchange("x"), "x");
      } catch (const std::exception& error) {
        throw std::runtime_error("client " + std::to_string(i) + " of " + std::to_string(clients.size()) +
                                 ": " + error.what());
      }
    }
  }
  void expectRefused() {
    try {
      Client refused(gateway->port());
      EXPECT_NE(refused.waitForEnd(5s), ClientEnd::kNone);
    } catch (const std::runtime_error& error) {  // while it connected
      EXPECT_NE(std::string(error.what()).find("reset"), std::string::npos) << error.what();
    }
  }
  // CPU milliseconds that a process used in a second.
  static int64_t cpuInASecond(pid_t pid) {
    Millis before = cpuTime(pid);
    std::this_thread::sleep_for(1s);
    return (cpuTime(pid) - before).count();
  }
};

TEST_F(AdmissionTest, AtTheLimitNewClientsWaitForAPlace) {
  start({.admission = "max_sessions = 5"});
  std::vector<Client> clients = served(5);
  Client waiting(gateway->port());
  waiting.send("w");
  EXPECT_EQ(waiting.receiveFor(300ms), "");
  EXPECT_TRUE(waiting.isOpen());
  EXPECT_LT(cpuInASecond(gateway->worker("acceptor")), 300);
  clients.pop_back();
  EXPECT_EQ(waiting.receive(1), "w");
  expectServed(clients);
}

TEST_F(AdmissionTest, ManyWaitersAreServedInTurnAsPlacesComeFree) {
  start({.halfCloseTimeout = 100ms, .admission = "max_sessions = 5"});
  uint16_t port = gateway->port();
  std::vector<Client> clients;
  for (int i = 0; i < 40; ++i) {
    clients.emplace_back(port);
    clients.back().send("x");
  }
  for (Client& client : clients) {
    EXPECT_EQ(client.receive(1), "x");
    client.reset();
  }
  gateway->waitUntilEmpty();
}

TEST_F(AdmissionTest, AtTheLimitNewClientsAreRefusedIfSoConfigured) {
  start({.admission = "max_sessions = 5\nat_limit = \"refuse\""});
  std::vector<Client> clients = served(5);
  expectRefused();
  expectServed(clients);
  EXPECT_EQ(gateway->closed("refused"), 1);
  clients.pop_back();
  gateway->waitForSessions(4);
  expectServed(clients);
  std::vector<Client> fresh = served(1);
}

TEST_F(AdmissionTest, AnAddressHasALimitOfItsOwn) {
  start({.admission = "max_per_address = 3"});
  std::vector<Client> ours = served(3), others = served(3, "127.0.0.9");
  expectRefused();
  expectServed(ours);
  expectServed(others);
  ours.pop_back();
  gateway->waitForSessions(5);
  std::vector<Client> fresh = served(1);
}

// Whatever process runs out: those who are served stay served, nothing spins, and it ends when descriptors come back.
struct OutOfDescriptors : AdmissionTest {
  void run(const std::string& role) {
    start({.forwarders = 1});
    std::vector<Client> early = served(10);
    // A client is served before its custody is acknowledged.
    waitUntil("custody of those who came first", [&] { return gateway->custody() == 10; });
    pid_t pid = gateway->worker(role);
    limitDescriptors(pid, static_cast<unsigned>(descriptorsOf(pid)) + 5);
    std::vector<Client> late;
    uint16_t port = gateway->port();
    for (int i = 0; i < 60; ++i) {
      try {
        late.emplace_back(port);
      } catch (const std::exception&) {  // refused while it connected
      }
    }
    EXPECT_LT(cpuInASecond(pid), 500) << "it spins";
    EXPECT_LT(cpuInASecond(gateway->worker("acceptor")), 500) << "the acceptor spins";
    {
      SCOPED_TRACE("those who were served before");
      expectServed(early);
    }
    limitDescriptors(pid, 4096);
    int answered = 0;
    for (Client& client : late) {
      try {
        answered += client.exchange("x", 5s) == "x";
      } catch (const std::exception&) {
        ASSERT_NE(client.end(), ClientEnd::kNone)
            << "neither served nor refused: port " << client.localPort();
      }
    }
    RecordProperty("answered", answered);
    EXPECT_EQ(gateway->worker(role), pid) << "it died";
    expectServed(early);
    std::vector<Client> fresh = served(10);
    late.clear();
    fresh.clear();
    gateway->waitForSessions(10);
    expectServed(early);
    early.clear();
    gateway->waitUntilEmpty();
  }
};

TEST_F(OutOfDescriptors, OfTheAcceptorNewClientsWait) {
  run("acceptor");
}

TEST_F(OutOfDescriptors, OfTheForwarderNobodyElseIsClosed) {
  run("forwarder");
}

TEST_F(OutOfDescriptors, OfTheCustodianNobodyElseIsClosed) {
  run("custodian");
}

}  // namespace
}  // namespace ppx::test
