// kill -9 of the gateway's own processes: clients of the others go on, and the dead one is replaced.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

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

}  // namespace
}  // namespace ppx::test
