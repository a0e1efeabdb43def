// Upstreams that are not ours: Debian's python3-grpcio and npm's @grpc/grpc-js, over the plain proto.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {
namespace {

std::vector<std::string> python(const std::string& name) {
  ::setenv("PPX_PYTHON_STUBS", PPX_PYTHON_STUBS, 1);
  return {"/usr/bin/python3", std::string(PPX_SOURCE_DIR) + "/examples/python/" + name + ".py"};
}
std::vector<std::string> node(const std::string& name) {
  ::setenv("NODE_PATH", PPX_NODE_PATH, 1);
  return {PPX_NODE, std::string(PPX_SOURCE_DIR) + "/examples/node/" + name + ".js"};
}

struct Kind {
  std::string name;
  std::vector<std::string> (*command)(const std::string&);
};

class Contract : public ::testing::TestWithParam<Kind> {
 protected:
  static uint16_t portOf(const WorkerProcess& worker) {
    return static_cast<uint16_t>(std::stoi(worker.address().substr(worker.address().rfind(':') + 1)));
  }
};

TEST_P(Contract, Echo) {
  WorkerProcess worker(GetParam().command("echo"));
  Gateway gateway({.upstreams = {portOf(worker)}, .halfCloseTimeout = 3s});
  gateway.waitForUpstream(portOf(worker));
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i) clients.emplace_back(gateway.port());
  std::string bytes = randomBytes(200000, 1);
  for (Client& client : clients) client.send(bytes);
  for (Client& client : clients) EXPECT_TRUE(client.receive(bytes.size()) == bytes);
  clients[0].send("hi");
  clients[0].halfClose();
  EXPECT_EQ(clients[0].receiveUntilEnd(), "hi");
  // Drained, it ends its streams, and is gone.
  gateway.deleteUpstream(portOf(worker));
  gateway.waitForUpstreamGone(portOf(worker));
  for (size_t i = 1; i < clients.size(); ++i) EXPECT_TRUE(clients[i].isOpen());
}

TEST_P(Contract, Chat) {
  WorkerProcess worker(GetParam().command("chat"));
  Gateway gateway({.upstreams = {portOf(worker)}});
  gateway.waitForUpstream(portOf(worker));
  Client first(gateway.port()), second(gateway.port());
  gateway.waitForSessions(2);
  first.send("hello from the first\n");
  std::string heard;
  Deadline deadline(kPatience);
  while (heard.find("hello from the first") == std::string::npos && !deadline.passed())
    heard += second.receiveLine();
  EXPECT_NE(heard.find("hello from the first"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Upstreams, Contract, ::testing::Values(Kind{"Python", python}, Kind{"Node", node}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace ppx::test
