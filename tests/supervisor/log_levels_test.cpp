// The log of all processes of a gateway: its form, and its levels at run time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <set>
#include <sstream>

#include "common/log_settings.h"
#include "supervisor/exit_codes.h"
#include "supervisor/spawner.h"
#include "tests/supervisor/admin_client.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using nlohmann::json;

const std::string kJson = smallConfig("forwarders = 1\n") + "[log]\nformat = 'json'\n";

// The lines of all processes that say so, until each of them has.
std::set<std::string> whoSay(Daemon& daemon, const std::string& text, size_t processes) {
  std::set<std::string> found;
  while (found.size() < processes) {
    std::string line = daemon.waitFor(text);
    if (line.empty()) break;
    found.insert(json::parse(line).at("process").get<std::string>());
  }
  return found;
}

// Others may say so too, meanwhile.
bool says(Daemon& daemon, const std::string& process, const std::string& text) {
  for (;;) {
    const std::string line = daemon.waitFor(text);
    if (line.empty()) return false;
    if (json::parse(line).at("process") == process) return true;
  }
}

const std::set<std::string> kEverybody{"paradoxd", "fake-forwarder", "fake-acceptor", "fake-prober",
                                       "custodian"};

TEST(GatewayLog, IsJsonInEachLineOfEachProcess) {
  Daemon daemon(kJson);
  daemon.start();
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
  std::istringstream lines(daemon.said());
  std::set<std::string> events, ready;
  for (std::string line; std::getline(lines, line);) {
    json parsed = json::parse(line, nullptr, false);
    ASSERT_TRUE(parsed.is_object()) << line;
    for (const char* field : {"time", "level", "process", "pid", "message"})
      EXPECT_TRUE(parsed.contains(field)) << line;
    if (parsed.at("process") != "paradoxd") {
      EXPECT_TRUE(parsed.contains("row") && parsed.contains("incarnation")) << line;
    }
    events.insert(parsed.value("event", ""));
    if (parsed.value("event", "") == "worker_ready") {
      EXPECT_GT(parsed.at("incarnation"), 0) << line;
      ready.insert(parsed.at("worker").get<std::string>());
    }
  }
  EXPECT_EQ(ready, (std::set<std::string>{"forwarder-0", "acceptor-0", "prober", "custodian"}));
  EXPECT_TRUE(events.contains("serving") && events.contains("stopping") && events.contains("worker_left"));
}

TEST(GatewayLog, LevelsAreSetAtRunTimeForThoseThatComeLaterToo) {
  Daemon daemon(kJson);
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  AdminClient admin(daemon);
  auto reply = admin.put("/admin/log", R"({"level":"debug"})");
  EXPECT_EQ(reply.status, 200) << reply.body;
  for (const auto& [role, level] : reply.body.at("levels").items()) EXPECT_EQ(level, "debug") << role;
  EXPECT_EQ(whoSay(daemon, "logs at level debug", kEverybody.size()), kEverybody);

  EXPECT_EQ(admin.put("/admin/log", R"({"level":"configured","role":"forwarder"})").status, 200);
  EXPECT_EQ(
      admin.get("/admin/log").body,
      json::parse(R"({"levels":{"supervisor":"debug","forwarder":"info","acceptor":"debug","prober":"debug",
                            "custodian":"debug"},"configured":"info","format":"json"})"));
  EXPECT_EQ(admin.put("/admin/log", R"({"level":"debug","role":"forwarder"})").status, 200);
  auto forwarder = openProcess(static_cast<int>(daemon.table().worker(0).pid.load()));
  ASSERT_TRUE(forwarder.ok());
  killNow(*forwarder);
  ASSERT_FALSE(daemon.waitFor("\"worker_died\"").empty());
  EXPECT_TRUE(says(daemon, "fake-forwarder", "logs at level debug"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST(GatewayLog, LevelsOutliveTheSupervisorUntilTheFileSaysOtherwise) {
  Daemon daemon(kJson);
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  ASSERT_EQ(AdminClient(daemon).put("/admin/log", R"({"level":"warn","role":"prober"})").status, 200);
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  daemon.startBeside();
  ASSERT_TRUE(daemon.serves());
  AdminClient admin(daemon);
  EXPECT_EQ(admin.get("/admin/log").body.at("levels").at("prober"), "warn");
  EXPECT_EQ(admin.post("/admin/reload").status, 200);
  EXPECT_EQ(admin.get("/admin/log").body.at("levels").at("prober"), "info");

  std::ofstream(daemon.configFile()) << kJson << "level = 'debug'\n";
  auto reply = admin.post("/admin/reload");
  EXPECT_EQ(reply.body.at("changed").dump(), R"(["log"])");
  EXPECT_EQ(whoSay(daemon, "logs at level debug", kEverybody.size()), kEverybody);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST(GatewayLog, RefusesWhatIsNoLevelAndNoRole) {
  Daemon daemon(kJson);
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  AdminClient admin(daemon);
  auto before = admin.get("/admin/log").body;
  for (const char* body : {R"({"level":"loud"})", R"({"level":"debug","role":"everybody"})",
                           R"({"role":"prober"})", R"({"level":"debug","all":true})", R"({"level":3})"})
    EXPECT_EQ(admin.put("/admin/log", body).status, 400) << body;
  EXPECT_EQ(admin.get("/admin/log").body, before);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST(GatewayLog, WhatIsOffIsNotSaid) {
  Daemon daemon(smallConfig() + "[log]\nlevel = 'off'\n");
  daemon.start();
  // Nothing is said, so the admin port tells that it runs.
  for (Millis end = monotonicMillis() + 20'000; monotonicMillis() < end;)
    if (std::ifstream(daemon.runtimeDir() + "/" + kAdminPortFileName) &&
        AdminClient(daemon).get("/health/ready").status == 200)
      break;
  EXPECT_EQ(AdminClient(daemon).get("/health/ready").status, 200);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
  EXPECT_EQ(daemon.said(), "");
}

}  // namespace
}  // namespace ppx::test
