// A changed configuration file: what takes effect at once, and what is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "supervisor/exit_codes.h"
#include "tests/supervisor/admin_client.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kTwoListeners[] =
    "[[listener]]\nname = 'one'\nport = 0\n[[listener]]\nname = 'two'\nport = 0\npool = 'games'\n";
constexpr char kOneListener[] = "[[listener]]\nname = 'one'\nport = 0\n";
constexpr char kRest[] =
    "[management_server]\nport = 0\nshutdown_timeout = '2s'\n[sessions]\nmax = 64\njournal_in_bytes = "
    "'64KiB'\n"
    "journal_out_bytes = '1MiB'\noutput_hard_bytes = '1MiB'\n";

struct Reload : ::testing::Test {
  Daemon daemon{std::string(kOneListener) + kRest};
  std::optional<Table> table;
  std::optional<AdminClient> admin;

  void SetUp() override {
    daemon.start();
    ASSERT_TRUE(daemon.serves()) << daemon.said();
    table.emplace(daemon.table());
    admin.emplace(daemon);
  }
  void TearDown() override {
    EXPECT_EQ(daemon.stop(), kExitOrderly);
    EXPECT_TRUE(daemon.everybodyGone());
  }
  AdminClient::Reply reload(const std::string& text) {
    std::ofstream(daemon.configFile()) << text;
    return admin->post("/admin/reload");
  }
  nlohmann::json listeners() { return admin->get("/admin/status").body.at("listeners"); }
  uint64_t epoch() const { return table->header().settingsEpoch.load(); }
};

TEST_F(Reload, OpensAndClosesListenersAndLeavesTheOthers) {
  auto before = listeners();
  auto reply = reload(std::string(kTwoListeners) + kRest);
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_THAT(reply.body.at("changed").dump(), HasSubstr("listener two: added"));
  EXPECT_FALSE(daemon.waitFor("got 2 listeners").empty());
  auto both = listeners();
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0], before[0]);
  EXPECT_EQ(both[1].at("pool"), "games");
  EXPECT_EQ(reload(std::string(kOneListener) + kRest).status, 200);
  EXPECT_FALSE(daemon.waitFor("got 1 listeners").empty());
  EXPECT_EQ(listeners(), before);
}

TEST_F(Reload, ListenersLieWithTheCustodianForASuccessor) {
  ASSERT_EQ(reload(std::string(kTwoListeners) + kRest).status, 200);
  auto before = listeners();
  ASSERT_THAT(daemon.waitForAll({"got 2 listeners", "the custodian holds what a successor needs"}),
              Each(Not(IsEmpty())));
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  daemon.startBeside();
  ASSERT_TRUE(daemon.serves());
  admin.emplace(daemon);
  EXPECT_EQ(listeners(), before);
}

TEST_F(Reload, LimitsAndTimeoutsCountAtOnce) {
  EXPECT_EQ(reload(std::string(kOneListener) + "idle_timeout = '7s'\n[admission]\nmax_sessions = 9\n" + kRest)
                .status,
            200);
  EXPECT_EQ(table->header().sessionCapacity.load(), 9u);
  EXPECT_EQ(table->listener(0).idleTimeoutMs.load(), 7000u);
}

TEST_F(Reload, OfTheWorkersNumberStartsAndEndsThem) {
  auto reply = reload(std::string(kOneListener) + kRest + "[workers]\nforwarders = 3\nacceptors = 2\n");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body.at("operation").at("name"), "scaling to 3 forwarders");
  EXPECT_EQ(admin->operationOver().at("state"), "done");
  EXPECT_FALSE(daemon.waitFor("acceptor-1 is ready").empty());
  EXPECT_NE(table->worker(kFirstForwarderRow + 2).incarnation.load(), 0u);
}

TEST_F(Reload, RefusesByNameAndChangesNothingHalfWay) {
  auto before = listeners();
  uint64_t epochBefore = epoch();
  std::string larger = std::string(kTwoListeners) + kRest;
  larger.replace(larger.find("max = 64"), 8, "max = 65");
  auto reply = reload(larger);
  EXPECT_EQ(reply.status, 422);
  EXPECT_EQ(reply.code(), "cannot_change");
  EXPECT_THAT(reply.message(), HasSubstr("sessions.max"));

  std::string taken = std::to_string(before[0].at("port").get<int>());
  reply = reload(std::string(kTwoListeners) + "[[listener]]\nname = 'three'\nport = " + taken + "\n" + kRest);
  EXPECT_EQ(reply.status, 409);
  EXPECT_EQ(reply.code(), "listener_unavailable");

  reply = reload("[server]\nport = 'no'\n");
  EXPECT_EQ(reply.status, 422);
  EXPECT_EQ(reply.code(), "bad_config");
  EXPECT_THAT(reply.message(), HasSubstr("server.port"));
  EXPECT_EQ(listeners(), before);
  EXPECT_EQ(epoch(), epochBefore);
}

TEST_F(Reload, UpstreamsComeAndDrain) {
  std::string with = std::string(kOneListener) + kRest + "[[upstream]]\nport = 1\n";
  ASSERT_EQ(reload(with).status, 200);
  EXPECT_EQ(admin->get("/upstream").body.at("upstreams").size(), 1u);
  ASSERT_EQ(reload(std::string(kOneListener) + kRest).status, 200);
  auto left = admin->get("/upstream").body.at("upstreams");
  if (!left.empty()) {
    EXPECT_EQ(left[0].at("state"), "draining");
  }
}

TEST_F(Reload, ASignalReloadsToo) {
  std::ofstream(daemon.configFile()) << std::string(kTwoListeners) + kRest;
  ::kill(daemon.pid(), SIGHUP);
  EXPECT_FALSE(daemon.waitFor("the configuration is taken into use").empty());
  EXPECT_EQ(listeners().size(), 2u);
}

}  // namespace
}  // namespace ppx::test
