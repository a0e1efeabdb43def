// The command line, the start, the lock and the stop of paradoxd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "supervisor/exit_codes.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::HasSubstr;

const std::string kSmall = smallConfig();

TEST(Paradoxd, ServesAndStopsWithoutATrace) {
  Daemon daemon(kSmall);
  daemon.start();
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  EXPECT_TRUE(std::filesystem::exists(daemon.runtimeDir() + "/paradoxd.pid"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone()) << daemon.said();
  EXPECT_FALSE(std::filesystem::exists(daemon.runtimeDir()));
}

TEST(Paradoxd, StopsInOrderAtAnyMomentOfItsStart) {
  for (const char* moment : {"allows", "custodian is ready", "forwarder-0 is ready", "acceptor-0 is ready"}) {
    Daemon daemon(kSmall);
    daemon.start();
    ASSERT_FALSE(daemon.waitFor(moment).empty()) << moment;
    EXPECT_EQ(daemon.stop(SIGINT), kExitOrderly) << moment << daemon.said();
    EXPECT_TRUE(daemon.everybodyGone()) << moment;
    EXPECT_FALSE(std::filesystem::exists(daemon.runtimeDir())) << moment;
  }
}

TEST(Paradoxd, KillsWorkersThatDoNotHearStop) {
  Daemon daemon(kSmall, {"PPX_FAKE_forwarder=deaf", "PPX_FAKE_prober=deaf"});
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  ::kill(daemon.pid(), SIGTERM);
  ASSERT_FALSE(daemon.waitFor("stopping (signal").empty());
  ::kill(daemon.pid(), SIGTERM);
  EXPECT_EQ(daemon.join(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
  EXPECT_THAT(daemon.said(), HasSubstr("killing what is left"));
}

TEST(Paradoxd, KillsWorkersThatMissTheDeadline) {
  Daemon daemon("[management_server]\nport = 0\nshutdown_timeout = '100ms'\n[server]\nport = 0\n",
                {"PPX_FAKE_forwarder=deaf"});
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
  EXPECT_THAT(daemon.said(), HasSubstr("forwarder-0"));
  EXPECT_THAT(daemon.said(), HasSubstr("has not left in time: killing it"));
}

TEST(Paradoxd, KeepsASecondOneOutOfItsDirectory) {
  Daemon daemon(kSmall);
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  Outcome second = daemon.second();
  EXPECT_EQ(second.code, kExitTryAgain);
  EXPECT_THAT(second.said, HasSubstr("another paradoxd (pid " + std::to_string(daemon.pid()) +
                                     ") has the runtime directory " + daemon.runtimeDir()));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

// Its files are removed by their names at the end, so it takes no directory that is somebody else's.
class StrangeDirectory : public ::testing::Test {
 protected:
  void expectRefused(const std::string& why) {
    struct stat before {
    }, after{};
    ASSERT_EQ(::stat(dir().c_str(), &before), 0);
    Outcome outcome = runDaemon(daemon_);
    EXPECT_EQ(outcome.code, kExitConfiguration);
    EXPECT_THAT(outcome.said, HasSubstr("the runtime directory " + dir()));
    EXPECT_THAT(outcome.said, HasSubstr(why));
    ASSERT_EQ(::stat(dir().c_str(), &after), 0);
    EXPECT_EQ(after.st_mode, before.st_mode);
  }
  std::string dir() const { return daemon_.runtimeDir(); }
  Daemon daemon_{kSmall};
};

TEST_F(StrangeDirectory, ThatOthersMayWriteToIsRefusedAndKeepsItsMode) {
  std::filesystem::create_directory(dir());
  ASSERT_EQ(::chmod(dir().c_str(), 01777), 0);
  expectRefused("others may write to");
}

TEST_F(StrangeDirectory, WithSomebodyElsesFilesIsRefusedAndKeepsThem) {
  std::filesystem::create_directory(dir());
  for (const char* name : {"lock", "roll", "last-words.mine", "letter.txt"})
    std::ofstream(dir() + "/" + name) << "mine";
  expectRefused("letter.txt");
  for (const char* name : {"lock", "roll", "last-words.mine", "letter.txt"})
    EXPECT_EQ(std::filesystem::file_size(dir() + "/" + name), 4u) << name;
}

TEST_F(StrangeDirectory, ThatIsAFileIsRefusedForGood) {
  std::ofstream(dir()) << "mine";
  Outcome outcome = runDaemon(daemon_);
  EXPECT_EQ(outcome.code, kExitConfiguration);
  EXPECT_THAT(outcome.said, HasSubstr("is not a directory"));
}

TEST(Paradoxd, TakesAnEmptyDirectoryAndLeavesItThere) {
  Daemon daemon(kSmall);
  std::filesystem::create_directory(daemon.runtimeDir());
  ASSERT_EQ(::chmod(daemon.runtimeDir().c_str(), 0750), 0);
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(std::filesystem::is_empty(daemon.runtimeDir()));
}

TEST(Paradoxd, SaysWhichPortIsTaken) {
  TakenPort taken;
  Daemon daemon(taken.config());
  Outcome outcome = runDaemon(daemon);
  EXPECT_EQ(outcome.code, kExitTryAgain);
  EXPECT_THAT(outcome.said, HasSubstr("listener \"default\" on 127.0.0.1:" + taken.name() +
                                      ": bind: Address already in use"));
  EXPECT_FALSE(std::filesystem::exists(daemon.runtimeDir() + "/paradoxd.pid"));
}

TEST(Paradoxd, SaysThatTheAdminPortIsTaken) {
  TakenPort taken;
  Daemon daemon("[server]\nport = 0\n[management_server]\nport = " + taken.name() + "\n");
  Outcome outcome = runDaemon(daemon);
  EXPECT_EQ(outcome.code, kExitTryAgain);
  EXPECT_THAT(outcome.said, HasSubstr("admin API: "));
  EXPECT_THAT(outcome.said, HasSubstr(taken.name()));
  EXPECT_FALSE(std::filesystem::exists(daemon.runtimeDir()));
}

TEST(Paradoxd, TellsItsPortsAndTheFilesUpstreamsThroughTheAdminApi) {
  Daemon daemon(smallConfig() + "[[upstream]]\nhost = '127.0.0.1'\nport = 45999\n");
  daemon.start();
  std::string line = daemon.waitFor("listening on");
  ASSERT_FALSE(line.empty());
  int port = 0;
  std::ifstream(daemon.runtimeDir() + "/admin.port") >> port;
  EXPECT_THAT(line, HasSubstr("admin API on 127.0.0.1:" + std::to_string(port)));
  httplib::Client client("127.0.0.1", port);
  auto health = client.Get("/health/ready");
  ASSERT_TRUE(health);
  auto status = client.Get("/admin/status");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->status, 200);
  EXPECT_THAT(status->body, HasSubstr("\"default\""));
  EXPECT_THAT(status->body, HasSubstr(std::to_string(daemon.pid())));
  auto upstreams = client.Get("/upstream");
  ASSERT_TRUE(upstreams);
  EXPECT_THAT(upstreams->body, HasSubstr("45999"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Paradoxd, ChecksAFileWithoutStarting) {
  Daemon good(kSmall);
  Outcome outcome = runDaemon(good, {"--check"});
  EXPECT_EQ(outcome.code, kExitOrderly);
  EXPECT_EQ(outcome.said, good.configFile() + ": ok\n");
  EXPECT_FALSE(std::filesystem::exists(good.runtimeDir()));

  Daemon bad("[server]\nprot = 1\nhost = 5\n");
  outcome = runDaemon(bad, {"--check"});
  EXPECT_EQ(outcome.code, kExitConfiguration);
  EXPECT_THAT(outcome.said, HasSubstr(":2:1: server.prot: unknown key; did you mean \"port\"?\n"));
  EXPECT_THAT(outcome.said, HasSubstr(":3:8: server.host: expected"));
}

TEST(Paradoxd, DoesNotStartWithAWrongFile) {
  Daemon daemon("[server]\nprot = 1\n");
  Outcome outcome = runDaemon(daemon);
  EXPECT_EQ(outcome.code, kExitConfiguration);
  EXPECT_THAT(outcome.said, HasSubstr("did you mean \"port\"?"));
}

TEST(Paradoxd, RefusesUnknownArguments) {
  Daemon daemon(kSmall);
  EXPECT_EQ(runDaemon(daemon, {"--loud"}).code, kExitUsage);
}

TEST(Paradoxd, NamesAProgramThatIsNotThere) {
  Daemon daemon(kSmall);
  std::filesystem::path prober =
      std::filesystem::path(daemon.configFile()).parent_path() / "bin" / "paradox-prober";
  std::filesystem::remove(prober);
  Outcome outcome = runDaemon(daemon);
  EXPECT_EQ(outcome.code, kExitConfiguration);
  EXPECT_THAT(outcome.said, HasSubstr("the program " + prober.string() + " cannot be run: No such file"));
}

}  // namespace
}  // namespace ppx::test
