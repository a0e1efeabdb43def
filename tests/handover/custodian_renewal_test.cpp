// The planned change of the custodian under traffic.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/echo_worker.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

constexpr size_t kClients = 60;

TEST(CustodianRenewal, KeepsItsProcessAndEveryDescriptorUnderTraffic) {
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()}});
  auto swarm = talkers(gateway, {.target = {}, .connections = kClients, .windowBytes = 8 << 10});
  const pid_t pid = gateway.worker("custodian");
  whileTalking(*swarm, [&] {
    for (int i = 0; i < 20; ++i) {
      Json end = operate(gateway, "/admin/custodian/restart");
      ASSERT_EQ(end.at("state"), "done") << end;
    }
  });
  EXPECT_EQ(gateway.worker("custodian"), pid);
  EXPECT_EQ(gateway.custody(), kClients);
  // The next supervisor knows it again.
  gateway.crashSupervisor();
  waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  EXPECT_EQ(gateway.worker("custodian"), pid);
  expectAllWell(*swarm);
  expectDescriptorsAccountedFor(gateway, kClients);
  for (size_t i = 0; i < swarm->size(); ++i) swarm->close(i);
  gateway.waitUntilEmpty();
  EXPECT_EQ(gateway.custody(), 0);
  gateway.stop();
}

// Clients come and go meanwhile: what is put and dropped while the program changes is put and dropped.
TEST(CustodianRenewal, LosesNoNewClientAndKeepsNoOldOne) {
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()}});
  std::atomic<bool> over{false};
  auto comers = std::async(std::launch::async, [&] {
    int served = 0;
    for (; !over; ++served) {
      Client client(gateway.port());
      EXPECT_EQ(client.exchange("x"), "x");
    }
    return served;
  });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(operate(gateway, "/admin/custodian/restart").at("state"), "done");
  over = true;
  EXPECT_GT(comers.get(), 20);
  gateway.waitUntilEmpty();
  waitUntil("an empty custodian", [&] { return gateway.custody() == 0; });
  EXPECT_EQ(gateway.metric("paradox_refused_total"), 0);
  gateway.stop();
}

TEST(CustodianRenewal, IsTheFirstStepOfAnUpgrade) {
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()}});
  ASSERT_EQ(gateway.post("/admin/upgrade").status, 202);
  waitUntil("the end of the upgrade", [&] {
    try {
      Json operation = gateway.getJson("/admin/operation").at("operation");
      return operation.at("state") == "done" &&
             operation.at("text").get<std::string>().starts_with("the custodian changed over");
    } catch (const std::exception&) {
      return false;  // the API changes hands
    }
  });
  gateway.stop();
}

class CustodianRenewalKill : public ::testing::TestWithParam<const char*> {};

TEST_P(CustodianRenewalKill, IsACrashLikeAnyOtherAndClosesNobody) {
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                   .environment = {{"PPX_FAILPOINTS", std::string(GetParam()) + "=kill@1"}}});
  auto swarm = talkers(gateway, {.target = {}, .connections = kClients, .windowBytes = 8 << 10});
  const pid_t pid = gateway.worker("custodian");
  Json end;
  whileTalking(*swarm, [&] {
    end = operate(gateway, "/admin/custodian/restart");
    waitUntil("full custody", [&] { return gateway.custody() == kClients; });
  });
  EXPECT_EQ(end.at("state"), "done") << end;
  EXPECT_NE(end.at("text").get<std::string>().find("died"), std::string::npos) << end;
  EXPECT_NE(gateway.worker("custodian"), pid);
  expectAllWell(*swarm);
  expectDescriptorsAccountedFor(gateway, kClients);
  gateway.stop();
}

INSTANTIATE_TEST_SUITE_P(AtFailpoint, CustodianRenewalKill,
                         ::testing::Values("custodian.renewing", "custodian.succeeding"),
                         [](const auto& each) { return std::string(each.param).substr(10); });

}  // namespace
}  // namespace ppx::test
