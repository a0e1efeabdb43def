// Planned operations over fake workers: order, refusal, the ways back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "supervisor/exit_codes.h"
#include "tests/supervisor/admin_client.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::HasSubstr;

// PPX_FAKE_forwarder: see fake_worker.cpp.
struct Restart : ::testing::Test {
  explicit Restart(std::vector<std::string> environment = {})
      : daemon(smallConfig("forwarders = 2\nbarrier_timeout = '10s'\nrespawn_backoff_min = '10ms'\n"),
               std::move(environment)) {}
  void serve() {
    daemon.start();
    ASSERT_TRUE(daemon.serves()) << daemon.said();
    table.emplace(daemon.table());
    admin.emplace(daemon);
  }
  void end() {
    EXPECT_EQ(daemon.stop(), kExitOrderly);
    EXPECT_TRUE(daemon.everybodyGone());
  }
  // Waits until the worker of a row is one of those that a next supervisor keeps.
  bool stays(uint32_t row) const {
    const auto wanted = static_cast<uint32_t>(WorkerPlan::kStays);
    for (Millis end = monotonicMillis() + 20'000; table->worker(row).plan != wanted;) {
      if (monotonicMillis() >= end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  // Rows of forwarders that have a process.
  std::vector<uint32_t> living() const {
    std::vector<uint32_t> rows;
    for (uint32_t row = 0; row < kMaxForwarders; ++row)
      if (table->worker(row).incarnation.load() != 0) rows.push_back(row);
    return rows;
  }
  Daemon daemon;
  std::optional<Table> table;
  std::optional<AdminClient> admin;
};

TEST_F(Restart, OfAllForwardersGoesOneByOneThroughFreeRows) {
  serve();
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 1}));
  ASSERT_EQ(admin->post("/admin/forwarders/restart").status, 202);
  auto operation = admin->operationOver();
  EXPECT_EQ(operation.at("state"), "done") << operation << daemon.said();
  auto moves = admin->events("forwarder_moved");
  ASSERT_EQ(moves.size(), 2u);
  EXPECT_EQ(moves[0].at("forwarder"), "forwarder-0");
  EXPECT_EQ(moves[0].at("to"), nlohmann::json::array({"forwarder-2"}));
  EXPECT_EQ(moves[1].at("forwarder"), "forwarder-1");
  EXPECT_EQ(moves[1].at("moved"), 5);  // what the fake says
  EXPECT_EQ(moves[1].at("sessions"), 5);
  EXPECT_EQ(living().size(), 2u);
  for (uint32_t row : living()) {
    EXPECT_EQ(table->worker(row).ready.load(), 1u);
    EXPECT_EQ(table->worker(row).restarts.load(), 0u);
  }
  end();
}

TEST_F(Restart, OfOneForwarderLeavesTheOthersAlone) {
  serve();
  uint64_t other = table->worker(0).incarnation.load();
  ASSERT_EQ(admin->post("/admin/forwarders/1/restart").status, 202);
  EXPECT_EQ(admin->operationOver().at("state"), "done");
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 2}));
  EXPECT_EQ(table->worker(0).incarnation.load(), other);
  EXPECT_EQ(admin->post("/admin/forwarders/9/restart").code(), "not_found");
  EXPECT_EQ(admin->post("/admin/forwarders/x/restart").status, 404);
  end();
}

TEST_F(Restart, AnEndedOneLeavesToItsSuccessorWhatIsLeft) {
  serve();
  uint64_t before = table->worker(1).incarnation.load();
  ASSERT_EQ(admin->post("/admin/forwarders/1/restart").status, 202);
  EXPECT_FALSE(
      daemon.waitFor("heard that row 1 incarnation " + std::to_string(before) + " died, successor in row 2")
          .empty());
  end();
}

// What paradoxctl says to a script, and its exit code.
struct Said {
  int code = -1;
  std::string text;
};
Said paradoxctl(const Daemon& daemon, const std::string& arguments) {
  Said said;
  std::string command = std::string(PPX_BIN_DIR) + "/paradoxctl --runtime-dir " + daemon.runtimeDir() + " " +
                        arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "re");
  char bytes[1024];
  for (size_t n = 0; (n = std::fread(bytes, 1, sizeof(bytes), pipe)) > 0;) said.text.append(bytes, n);
  int status = ::pclose(pipe);
  said.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return said;
}

TEST_F(Restart, ParadoxctlWaitsForTheEndAndTellsItByItsExitCode) {
  serve();
  Said done = paradoxctl(daemon, "restart forwarders");
  EXPECT_EQ(done.code, 0) << done.text;
  EXPECT_THAT(done.text, HasSubstr("restart of the forwarders: 2 forwarders restarted\n"));
  Said one = paradoxctl(daemon, "--json restart forwarder-2");
  EXPECT_EQ(one.code, 0);
  EXPECT_EQ(nlohmann::json::parse(one.text).at("operation").at("state"), "done");
  EXPECT_EQ(paradoxctl(daemon, "scale 3").code, 0);
  EXPECT_EQ(living().size(), 3u);
  EXPECT_EQ(paradoxctl(daemon, "restart acceptors").code, 0);
  EXPECT_EQ(paradoxctl(daemon, "restart prober").code, 0);
  EXPECT_EQ(paradoxctl(daemon, "restart forwarder-30").code, 1);
  EXPECT_EQ(paradoxctl(daemon, "restart everything").code, 2);
  EXPECT_THAT(paradoxctl(daemon, "events").text, HasSubstr("forwarder_moved"));
  end();
  EXPECT_EQ(paradoxctl(daemon, "restart prober").code, 3);
}

TEST_F(Restart, OfEverythingByAnUpgradeKeepsPidLockAndPort) {
  serve();
  auto before = admin->get("/admin/status").body;
  Said done = paradoxctl(daemon, "upgrade");
  EXPECT_EQ(done.code, 0) << done.text << daemon.said();
  auto after = admin->get("/admin/status").body;
  EXPECT_EQ(after.at("pid"), daemon.pid());
  EXPECT_EQ(after.at("admin").at("port"), before.at("admin").at("port"));
  EXPECT_EQ(after.at("listeners"), before.at("listeners"));
  EXPECT_THAT(daemon.second().said, HasSubstr("has the runtime directory"));
  EXPECT_EQ(paradoxctl(daemon, "upgrade").code, 0);
  EXPECT_THAT(daemon.second().said, HasSubstr("(pid " + std::to_string(daemon.pid()) + ")"));
  end();
}

TEST_F(Restart, AnUpgradeToAProgramThatCannotRunChangesNothing) {
  serve();
  auto before = admin->get("/admin/status").body.at("workers").size();
  std::string program = daemon.program();
  std::filesystem::remove(program);
  std::ofstream(program) << "#!/bin/sh\necho it is too old for this; exit 3\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  auto refused = admin->post("/admin/upgrade");
  EXPECT_EQ(refused.status, 500);
  EXPECT_EQ(refused.code(), "upgrade_impossible");
  EXPECT_THAT(refused.message(), HasSubstr("it is too old for this"));
  std::filesystem::remove(program);
  EXPECT_EQ(paradoxctl(daemon, "upgrade").code, 1);
  EXPECT_EQ(admin->get("/admin/status").body.at("workers").size(), before);
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 1}));
  end();
}

TEST_F(Restart, EventsAreStreamedGoOnBehindTheLastSeenAndEndWithTheGateway) {
  serve();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  std::string all = AdminClient(daemon).listen(0, "event: operation_done");
  EXPECT_THAT(all, HasSubstr("id: 1\nevent: operation_started\ndata: {"));
  EXPECT_THAT(all, HasSubstr("id: 2\nevent: forwarder_moved\n"));
  std::string later = AdminClient(daemon).listen(2, "event: operation_done");
  EXPECT_THAT(later, testing::StartsWith("id: 3\n"));
  EXPECT_EQ(admin->get("/admin/events?after=x").status, 400);
  AdminClient last(daemon);
  std::thread listener([&] { EXPECT_THAT(last.listen(3, "nothing"), testing::Not(HasSubstr("event:"))); });
  end();
  listener.join();
}

TEST_F(Restart, ASignalIsAnUpgradeToo) {
  serve();
  ::kill(daemon.pid(), SIGUSR2);
  ASSERT_FALSE(daemon.waitFor("upgrade is done").empty()) << daemon.said();
  EXPECT_EQ(living().size(), 2u);
  end();
}

struct StuckRestart : Restart {
  StuckRestart() : Restart({"PPX_FAKE_forwarder=holds"}) {}
};

TEST_F(StuckRestart, ASecondOperationIsToldWhatIsUnderWay) {
  serve();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  auto refused = admin->post("/admin/forwarders/restart");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.code(), "operation_under_way");
  EXPECT_THAT(refused.message(), HasSubstr("restart of forwarder-0"));
  EXPECT_EQ(paradoxctl(daemon, "restart forwarders").code, 4);
  end();
}

TEST_F(StuckRestart, ACrashOfTheOldOneEndsItWithTheNewOneInCharge) {
  serve();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  ASSERT_FALSE(daemon.waitFor("was told to hand over").empty());
  ::kill(static_cast<int>(table->worker(0).pid.load()), SIGKILL);
  EXPECT_FALSE(daemon.waitFor("died, successor in row 2").empty());
  EXPECT_EQ(admin->operationOver().at("state"), "done");
  EXPECT_EQ(living(), (std::vector<uint32_t>{1, 2}));
  end();
}

TEST_F(StuckRestart, ACrashedSuccessorIsReplacedAndHandedToAgain) {
  serve();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  ASSERT_FALSE(daemon.waitFor("was told to hand over").empty());
  uint64_t first = table->worker(2).incarnation.load();
  ::kill(static_cast<int>(table->worker(2).pid.load()), SIGKILL);
  ASSERT_FALSE(daemon.waitFor("was told to hand over").empty());
  EXPECT_GT(table->worker(2).incarnation.load(), first);
  EXPECT_EQ(admin->get("/admin/operation").body.at("operation").at("state"), "running");
  end();
}

TEST_F(StuckRestart, ASuccessorThatDiesAgainAndAgainIsGivenUpAndTheOldOneServesOn) {
  serve();
  uint64_t old = table->worker(0).incarnation.load();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  for (int i = 0; i < 3; ++i) {
    ASSERT_FALSE(daemon.waitFor("was told to hand over").empty()) << i << daemon.said();
    ::kill(static_cast<int>(table->worker(2).pid.load()), SIGKILL);
  }
  auto operation = admin->operationOver();
  EXPECT_EQ(operation.at("state"), "failed");
  EXPECT_THAT(operation.at("text"), HasSubstr("died 3 times; forwarder-0 serves on"));
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(table->worker(0).incarnation.load(), old);
  EXPECT_EQ(table->worker(0).ready.load(), 1u);
  end();
}

TEST_F(StuckRestart, ASupervisorKilledInTheMiddleIsFollowedByOneThatLetsTheOldOneLeave) {
  serve();
  ASSERT_EQ(admin->post("/admin/forwarders/0/restart").status, 202);
  ASSERT_FALSE(daemon.waitFor("was told to hand over").empty());
  // A supervisor that ends before that is followed by one that dismisses the successor.
  ASSERT_TRUE(stays(2));
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  daemon.startBeside();
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_EQ(table->worker(0).ready.load(), 0u);
  ::kill(static_cast<int>(table->worker(0).pid.load()), SIGKILL);
  ASSERT_FALSE(daemon.waitFor("died, successor in row").empty());
  EXPECT_EQ(living(), (std::vector<uint32_t>{1, 2}));
  end();
}

struct BrokenRestart : Restart {
  BrokenRestart() : Restart({"PPX_FAKE_forwarder=sterile"}) {}
};

TEST_F(BrokenRestart, ASuccessorThatNeverStartsChangesNothing) {
  serve();
  uint64_t before = table->worker(0).incarnation.load();
  ASSERT_EQ(admin->post("/admin/forwarders/restart").status, 202);
  auto operation = admin->operationOver();
  EXPECT_EQ(operation.at("state"), "failed");
  EXPECT_THAT(operation.at("text"), HasSubstr("nothing has changed"));
  EXPECT_EQ(living(), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(table->worker(0).incarnation.load(), before);
  EXPECT_EQ(table->worker(0).ready.load(), 1u);
  end();
}

}  // namespace
}  // namespace ppx::test
