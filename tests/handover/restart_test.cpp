// Planned operations under traffic, with workers of the plain contract in C++ and in Python: no client sees a byte lost,
// doubled or out of order, and none is closed. PPX_WHOLE: the figures of --long.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

// The figures of the default run, or those of `--long`.
int figure(int usual, int whole) {
  return std::getenv("PPX_WHOLE") == nullptr ? usual : whole;
}

struct Language {
  const char* name;
  std::vector<std::string> (*worker)();
  int clients;
};

void PrintTo(const Language& each, std::ostream* out) {
  *out << each.name;
}

std::vector<std::string> cppEcho() {
  return {programPath("paradox-example-echo"), "--quiet"};
}

std::vector<std::string> pythonEcho() {
  ::setenv("PPX_PYTHON_STUBS", PPX_PYTHON_STUBS, 1);
  return {"/usr/bin/python3", std::string(PPX_SOURCE_DIR) + "/examples/python/echo.py"};
}

struct PlannedOperation : ::testing::TestWithParam<Language> {
  const size_t kClients = static_cast<size_t>(figure(GetParam().clients, 1000));
  WorkerProcess upstream{GetParam().worker()};
  Gateway gateway{{.forwarders = 2, .upstreams = {upstream.port()}}};
  std::unique_ptr<load::DuplexSwarm> swarm;

  void SetUp() override {
    gateway.waitForUpstream(upstream.port());
    auto made = load::DuplexSwarm::connect(
        {.target = {"127.0.0.1", gateway.port()}, .connections = kClients, .windowBytes = 8 << 10});
    ASSERT_TRUE(made) << made.error().text;
    swarm = std::move(*made);
    ASSERT_TRUE(swarm->runUntilBytes(1, 10 * load::kSecond));
  }
  // Traffic goes on while the operation runs.
  Json perform(const std::string& path, const Json& body = nullptr, Millis within = 30s) {
    Response answer = gateway.post(path, body);
    EXPECT_EQ(answer.status, 202) << answer.text;
    Json operation;
    Deadline deadline(within);
    do {
      swarm->runFor(20 * load::kMillisecond);
      operation = gateway.getJson("/admin/operation").at("operation");
    } while (operation.at("state") == "running" && !deadline.passed());
    EXPECT_EQ(operation.at("state"), "done") << operation << gateway.log();
    return operation;
  }
  void upgradeAgain() {
    uint64_t id = gateway.getJson("/admin/operation").at("operation").at("id");
    ASSERT_EQ(gateway.post("/admin/upgrade").status, 202);
    Json operation;
    Deadline deadline(60s);
    do {
      swarm->runFor(20 * load::kMillisecond);
      try {
        operation = gateway.getJson("/admin/operation").at("operation");
      } catch (const std::exception&) {  // the API changes hands
        continue;
      }
    } while ((operation.is_null() || operation.at("id") == id || operation.at("state") == "running") &&
             !deadline.passed());
    EXPECT_EQ(operation.at("state"), "done") << operation;
  }
  std::vector<Json> events(const std::string& type) const {
    Json all = gateway.getJson("/admin/events?follow=0").at("events");
    std::vector<Json> out;
    for (const Json& event : all)
      if (event.at("event") == type) out.push_back(event.at("data"));
    return out;
  }
  void expectNobodyNoticed() {
    EXPECT_TRUE(swarm->drain(20 * load::kSecond));
    load::SwarmStats stats = swarm->stats();
    EXPECT_EQ(stats.intact, kClients) << stats.firstProblem;
    EXPECT_EQ(stats.open, kClients) << stats.firstProblem;
  }
};

TEST_P(PlannedOperation, RestartsOfAllForwardersAreSeenByNobody) {
  auto before = gateway.workers("forwarder");
  const int rounds = figure(3, 50);
  for (int i = 0; i < rounds; ++i) perform("/admin/forwarders/restart");
  for (pid_t now : gateway.workers("forwarder")) EXPECT_EQ(std::count(before.begin(), before.end(), now), 0);
  auto moves = events("forwarder_moved");
  EXPECT_EQ(moves.size(), static_cast<size_t>(2 * rounds));
  for (const Json& move : moves) {
    std::printf("%s\n", move.dump().c_str());
    EXPECT_GT(move.at("sessions"), 0);
    EXPECT_EQ(move.at("mismatches"), 0);
    EXPECT_EQ(move.at("closed"), 0);
    EXPECT_EQ(move.at("in_doubt"), 0);
  }
  expectNobodyNoticed();
}

TEST_P(PlannedOperation, ScalingMovesSessionsAndIsSeenByNobody) {
  const int counts[] = {4, 1, 2, 6, 3, 5, 1, 6, 2, 4};
  for (int i = 0; i < figure(3, 20); ++i) {
    int count = counts[i % 10];
    perform("/admin/forwarders/scale", {{"count", count}});
    EXPECT_EQ(gateway.workers("forwarder").size(), static_cast<size_t>(count));
  }
  expectNobodyNoticed();
}

TEST_P(PlannedOperation, RestartsOfAcceptorsAndProberAreSeenByNobody) {
  pid_t acceptor = gateway.worker("acceptor"), prober = gateway.worker("prober");
  for (int i = 0; i < figure(1, 20); ++i) {
    perform("/admin/acceptors/restart");
    perform("/admin/prober/restart");
  }
  EXPECT_NE(gateway.worker("acceptor"), acceptor);
  EXPECT_NE(gateway.worker("prober"), prober);
  expectNobodyNoticed();
}

TEST_P(PlannedOperation, OfAcceptorsLosesNoNewClient) {
  ASSERT_EQ(gateway.post("/admin/acceptors/restart").status, 202);
  std::string state = "running";
  int served = 0;
  Deadline deadline(30s);
  while (state == "running" && !deadline.passed()) {
    for (int i = 0; i < 20; ++i, ++served) {
      Client client(gateway.port());
      client.send("x");
      ASSERT_EQ(client.receive(1), "x") << served;
    }
    state = gateway.getJson("/admin/operation").at("operation").at("state");
  }
  EXPECT_EQ(state, "done");
  EXPECT_EQ(gateway.metric("paradox_refused_total"), 0);
  expectNobodyNoticed();
}

TEST_P(PlannedOperation, AnUpgradeKeepsPidAndPortsAndRollsTheWorkers) {
  auto before = gateway.allProcesses();
  uint64_t first = events("operation_started").size();
  EXPECT_EQ(first, 0u);
  auto asked = std::chrono::steady_clock::now();
  ASSERT_EQ(gateway.post("/admin/upgrade").status, 202);
  Json operation;
  double back = -1;
  Deadline deadline(30s);
  do {
    swarm->runFor(20 * load::kMillisecond);
    Response answer = gateway.get("/admin/operation");
    if (answer.status != 200) continue;
    operation = answer.json().at("operation");
    // The new image says where it is with the rest of the upgrade.
    bool rolls = operation.at("progress") != "the admin API ends its requests";
    if (back < 0 && rolls)
      back = std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
  } while ((back < 0 || operation.at("state") == "running") && !deadline.passed());
  EXPECT_EQ(operation.at("state"), "done") << operation << gateway.log();
  std::printf("the API of the new image answered %.3f s after the request\n", back);
  EXPECT_EQ(gateway.status().at("pid"), gateway.pid());
  for (const char* role : {"acceptor", "prober", "forwarder"})
    for (pid_t now : gateway.workers(role))
      EXPECT_EQ(std::count(before.begin(), before.end(), now), 0) << role;
  for (int i = 1; i < figure(1, 10); ++i) upgradeAgain();
  expectNobodyNoticed();
  swarm.reset();
  gateway.stop();
}

INSTANTIATE_TEST_SUITE_P(Echo, PlannedOperation,
                         ::testing::Values(Language{"cpp", cppEcho, 200}, Language{"python", pythonEcho, 50}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace ppx::test
