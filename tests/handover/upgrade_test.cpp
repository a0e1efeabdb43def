// Upgrades to other programs: from those of the release before, whose table goes on being used, and to one that passes its
// check and then dies.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/examples/worker_process.h"
#include "tests/handover/restart_harness.h"
#include "tests/handover/table_census.h"

namespace ppx::test {
namespace {

namespace fs = std::filesystem;

const char* const kPrograms[] = {"paradoxd", "paradox-custodian", "paradox-acceptor", "paradox-forwarder",
                                 "paradox-prober"};
const std::string kThisRelease = PPX_BIN_DIR, kReleaseBefore = PPX_PREVIOUS_BIN_DIR;

// A folder of programs that is renewed as a package does it: each file beside the old one, then in its place.
class Installation {
 public:
  explicit Installation(const std::string& from) {
    for (const char* name : kPrograms) install(from + "/" + name, name);
  }
  void upgrade(const std::string& to) {
    for (const char* name : kPrograms) install(to + "/" + name, name);
  }
  void install(const std::string& file, const std::string& name) {
    fs::copy_file(file, path(name + ".new"));
    fs::rename(path(name + ".new"), path(name));
  }
  void script(const std::string& name, const std::string& text) {
    const std::string file = dir_.file(name + ".new", text);
    ::chmod(file.c_str(), 0755);
    fs::rename(file, path(name));
  }
  std::string path(const std::string& name) const { return dir_.path() + "/" + name; }
  const std::string& dir() const { return dir_.path(); }

 private:
  TempDir dir_;
};

// It runs the program that is at its place now.
bool isCurrent(pid_t pid) {
  std::error_code error;
  return !fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", error).string().ends_with(" (deleted)");
}

class Upgrade : public ::testing::Test {
 protected:
  static constexpr size_t kClients = 40;

  void start(const std::string& release) {
    programs_ = std::make_unique<Installation>(release);
    gateway_ = std::make_unique<Gateway>(
        GatewayOptions{.forwarders = 2,
                       .upstreams = {plain_.port(), extended_.port()},
                       .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                       .programs = programs_->dir()});
    gateway_->waitForUpstream(plain_.port());
    gateway_->waitForUpstream(extended_.port());
    clients_ = talkers(*gateway_, {.target = {}, .connections = kClients, .windowBytes = 8 << 10});
    ASSERT_TRUE(clients_->runUntilBytes(20'000, 20 * load::kSecond));
  }
  void perform(const std::string& path, const Json& body = nullptr) {
    Json end;
    whileTalking(*clients_, [&] { end = operate(*gateway_, path, body); });
    EXPECT_EQ(end.at("state"), "done") << path << ": " << end;
    EXPECT_EQ(clients_->stats().open, kClients) << path << ": " << clients_->stats().firstProblem;
  }
  // The old table under the programs of both releases, then under those of this one, through all that may be ordered.
  void upgradeAndGoOn() {
    programs_->upgrade(kThisRelease);
    perform("/admin/upgrade");
    for (const char* role : {"acceptor", "prober", "forwarder"})
      for (pid_t pid : gateway_->workers(role)) EXPECT_TRUE(isCurrent(pid)) << role;
    EXPECT_TRUE(isCurrent(gateway_->pid()));
    EXPECT_EQ(tableOf(*gateway_).header().minor, kTableMinor - 1);
    perform("/admin/forwarders/restart");
    perform("/admin/forwarders/scale", {{"count", 3}});
    whileTalking(*clients_, [&] { gateway_->crashSupervisor(); });
    perform("/admin/acceptors/restart");
    Client another(gateway_->port());
    EXPECT_EQ(another.exchange("a new client"), "a new client");
    another.reset();
    gateway_->waitForSessions(kClients);
    expectAllWell(*clients_);
    expectDescriptorsAccountedFor(*gateway_, kClients);
    EXPECT_EQ(gateway_->metric("paradox_sessions_in_doubt_total"), 0);
    for (size_t i = 0; i < kClients; ++i) clients_->close(i);
    gateway_->waitUntilEmpty();
    gateway_->stop();
  }

  WorkerProcess plain_{{programPath("paradox-example-echo"), "--quiet"}};
  WorkerProcess extended_{{programPath("paradox-example-echo"), "--quiet", "--extensions"}};
  std::unique_ptr<Installation> programs_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<load::DuplexSwarm> clients_;
};

TEST_F(Upgrade, FromTheReleaseBeforeGoesOnWithItsTable) {
  start(kReleaseBefore);
  EXPECT_EQ(tableOf(*gateway_).header().minor, kTableMinor - 1);
  upgradeAndGoOn();
}

// Its check has said yes, so the old program is gone when it dies.
TEST_F(Upgrade, ToAProgramThatDiesAfterItsCheckClosesNobodyAndTheNextOneGoesOn) {
  start(kThisRelease);
  programs_->script("paradoxd", "#!/bin/sh\ncase \" $* \" in *\" --check \"*) exec " +
                                    programPath("paradoxd") + " \"$@\" ;; esac\nexit 70\n");
  const auto before = gateway_->allProcesses();
  const uint16_t port = gateway_->port();
  whileTalking(*clients_, [&] {
    EXPECT_EQ(gateway_->post("/admin/upgrade").status, 202);
    EXPECT_EQ(WEXITSTATUS(waitForEnd(gateway_->pid())), 70);
  });
  // Nobody leads it; who is there is served, and who comes too.
  expectAllWell(*clients_);
  Client another(port);
  EXPECT_EQ(another.exchange("a new client"), "a new client");
  for (pid_t pid : before) EXPECT_EQ(isAlive(pid), pid != gateway_->pid());
  // A service manager starts the same program again, which dies again; then somebody puts the right one there.
  pid_t again = startProcess({programs_->path("paradoxd")}, {}, programs_->path("log"));
  EXPECT_EQ(WEXITSTATUS(waitForEnd(again)), 70);
  programs_->install(programPath("paradoxd"), "paradoxd");
  whileTalking(*clients_, [&] { gateway_->startSupervisorAgain(); });
  waitUntil("a whole gateway", [&] { return gateway_->isWhole(); });
  // The roll that the upgrade had announced is done by the one that lives.
  waitUntil("the end of the upgrade", [&] {
    Json last = gateway_->getJson("/admin/operation").at("operation");
    return last.is_object() && last.at("name") == "upgrade" && last.at("state") == "done";
  });
  EXPECT_EQ(another.exchange("still here"), "still here");
  another.reset();
  gateway_->waitForSessions(kClients);
  expectAllWell(*clients_);
  expectDescriptorsAccountedFor(*gateway_, kClients);
}

}  // namespace
}  // namespace ppx::test
