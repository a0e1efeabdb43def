// The bridge behind the gateway: a client and its connection to the real server live and die together, and the bytes
// between them are exact whatever process of the gateway dies.
#include <gtest/gtest.h>

#include "tests/examples/tcp_server.h"
#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"
#include "tests/load/echo_server_thread.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kMillisecond;
using load::kSecond;

std::vector<std::string> bridgeTo(const std::string& server) {
  return {programPath("paradox-example-bridge"), "--quiet", "--server", server};
}

uint16_t portOf(const WorkerProcess& worker) {
  return static_cast<uint16_t>(std::stoi(worker.address().substr(worker.address().rfind(':') + 1)));
}

struct BridgedServer : ::testing::Test {
  TcpServer server;
  WorkerProcess bridge{bridgeTo(server.address())};
  Gateway gateway{{.upstreams = {portOf(bridge)}, .halfCloseTimeout = 60s}};

  void SetUp() override { gateway.waitForUpstream(portOf(bridge)); }
};

TEST_F(BridgedServer, MaySpeakFirst) {
  Client client(gateway.port());
  ServerSide side = server.accept();
  ASSERT_TRUE(side.send("220 ready\n"));
  EXPECT_EQ(client.receiveLine(), "220 ready\n");
}

TEST_F(BridgedServer, SeesItsClientsEndOfInputAndAnswersAfterIt) {
  Client client(gateway.port());
  ServerSide side = server.accept();
  client.send("question");
  client.halfClose();
  EXPECT_EQ(side.receive(8), "question");
  EXPECT_TRUE(side.sawEnd());
  ASSERT_TRUE(side.send("answer"));
  EXPECT_EQ(client.receive(6), "answer");
  side.close();
  EXPECT_EQ(client.receiveUntilEnd(), "");
  EXPECT_EQ(client.end(), ClientEnd::kFin);
}

TEST_F(BridgedServer, SeesItsClientGo) {
  Client client(gateway.port());
  ServerSide side = server.accept();
  client.reset();
  EXPECT_TRUE(side.sawEnd());
}

TEST_F(BridgedServer, EndsItsClientAfterAllThatItSaid) {
  Client client(gateway.port());
  ServerSide side = server.accept();
  std::string bytes = randomBytes(700'000, 9);
  ASSERT_TRUE(side.send(bytes));
  side.close();
  EXPECT_TRUE(client.receiveUntilEnd() == bytes);
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  gateway.waitUntilEmpty();
}

TEST_F(BridgedServer, ThatIsSlowToOneClientSlowsDownNobodyElse) {
  Client slow(gateway.port());
  ServerSide first = server.accept();
  Client quick(gateway.port());
  ServerSide second = server.accept();
  std::string bytes = randomBytes(1 << 20, 4);
  size_t offered = 0;
  Deadline deadline(1s);
  const Deadline patience(kPatience);
  while (!patience.passed() && (!deadline.passed() || offered < bytes.size()))
    offered += slow.sendSome(std::string_view(bytes).substr(offered % bytes.size()));
  EXPECT_LT(offered, 64u << 20) << "its client waits";
  ASSERT_GE(offered, bytes.size());
  quick.send("quick");
  EXPECT_EQ(second.receive(5), "quick");
  EXPECT_EQ(first.receive(bytes.size()), bytes.substr(0, bytes.size()));
}

TEST(Bridged, AClientWhoseBridgeIsGoneIsClosed) {
  TcpServer server;
  auto first = std::make_unique<WorkerProcess>(bridgeTo(server.address()));
  WorkerProcess second(bridgeTo(server.address()));
  Gateway gateway({.upstreams = {portOf(*first)}});
  gateway.waitForUpstream(portOf(*first));
  Client client(gateway.port());
  ServerSide side = server.accept();
  client.send("hello");
  EXPECT_EQ(side.receive(5), "hello");
  gateway.addUpstream(portOf(second));
  gateway.waitForUpstream(portOf(second));
  first.reset();
  EXPECT_NE(client.waitForEnd(), ClientEnd::kNone);
}

TEST(Bridged, KilledForwardersCostNobodyAByte) {
  load::EchoServerThread echo;
  WorkerProcess bridge(bridgeTo("127.0.0.1:" + std::to_string(echo.endpoint().port)));
  Gateway gateway({.upstreams = {portOf(bridge)},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n"});
  gateway.waitForUpstream(portOf(bridge));
  auto clients =
      DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()}, .connections = 50, .seed = 77});
  ASSERT_TRUE(clients) << clients.error().text;
  ASSERT_TRUE((*clients)->runUntilBytes(1000, 20 * kSecond));
  for (int kill = 0; kill < 6; ++kill) {
    pid_t pid = gateway.worker("forwarder", kill % 2);
    ::kill(pid, SIGKILL);
    (*clients)->runFor(150 * kMillisecond);
    gateway.waitForSuccessor("forwarder", pid);
  }
  EXPECT_TRUE((*clients)->drain(20 * kSecond));
  load::SwarmStats stats = (*clients)->stats();
  EXPECT_EQ(stats.intact, 50u) << stats.firstProblem << "; ended " << stats.ended << ", reset "
                               << stats.reset;
  std::printf("%.1f MB through the bridge\n", static_cast<double>(stats.bytesEchoed) / 1e6);
}

}  // namespace
}  // namespace ppx::test
