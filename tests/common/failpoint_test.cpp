#include "common/failpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace ppx {
namespace {

struct Outcome {
  std::string output;
  int status = 0;  // as of waitpid
};

// Runs the probe with PPX_FAILPOINTS=`points`, and PPX_FAILPOINTS_ONLY=`only`, past `names`.
Outcome run(const char* points, std::vector<std::string> names, int options = 0, const char* only = nullptr) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reading(ends[0]), writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), 2);
  std::vector<char*> argv;
  std::string program = PPX_FAILPOINT_PROBE;
  argv.push_back(program.data());
  for (std::string& name : names) argv.push_back(name.data());
  argv.push_back(nullptr);
  std::string variable = std::string("PPX_FAILPOINTS=") + (points == nullptr ? "" : points);
  std::vector<char*> environment;
  if (points != nullptr) environment.push_back(variable.data());
  std::string restriction = std::string("PPX_FAILPOINTS_ONLY=") + (only == nullptr ? "" : only);
  if (only != nullptr) environment.push_back(restriction.data());
  environment.push_back(nullptr);
  pid_t child = -1;
  EXPECT_EQ(::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environment.data()), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  writing.reset();
  Outcome outcome;
  EXPECT_EQ(::waitpid(child, &outcome.status, options), child);
  if (WIFSTOPPED(outcome.status)) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  char buffer[512];
  for (ssize_t got; (got = ::read(reading.get(), buffer, sizeof(buffer))) > 0;)
    outcome.output.append(buffer, static_cast<size_t>(got));
  return outcome;
}

TEST(Failpoint, IsPassedByOtherProgramsThanTheOneThatIsMeant) {
  const std::string program = PPX_FAILPOINT_PROBE;
  const std::string name = program.substr(program.rfind('/') + 1);
  EXPECT_EQ(run("a=errno:5", {"a"}, 0, name.c_str()).output, "5 end");
  EXPECT_EQ(run("a=errno:5", {"a"}, 0, "another").output, "0 end");
}

TEST(Failpoint, DoesNothingUnordered) {
  EXPECT_EQ(run(nullptr, {"a", "b"}).output, "0 0 end");
  EXPECT_EQ(run("", {"a", "b"}).output, "0 0 end");
  EXPECT_EQ(run(";;", {"a"}).output, "0 end");
}

TEST(Failpoint, SimulatesAnErrnoOnTheGivenPasses) {
  EXPECT_EQ(run("a=errno:24", {"a", "b", "a"}).output, "24 0 24 end");
  EXPECT_EQ(run("a=errno:24@2", {"a", "a", "a"}).output, "0 24 0 end");
  EXPECT_EQ(run("a=errno:24@2-3;b=errno:5@1", {"a", "a", "b", "a", "a", "b"}).output, "0 24 5 24 0 0 end");
}

TEST(Failpoint, KillsAndExitsInTheMiddle) {
  Outcome killed = run("a=kill@2", {"a", "b", "a", "b"});
  EXPECT_EQ(killed.output, "0 0 ");
  EXPECT_TRUE(WIFSIGNALED(killed.status) && WTERMSIG(killed.status) == SIGKILL);
  Outcome left = run("x=exit:7", {"a", "x", "a"});
  EXPECT_EQ(left.output, "0 ");
  EXPECT_TRUE(WIFEXITED(left.status) && WEXITSTATUS(left.status) == 7);
}

TEST(Failpoint, Stops) {
  Outcome stopped = run("a=stop", {"b", "a", "b"}, WUNTRACED);
  EXPECT_TRUE(WIFSTOPPED(stopped.status));
  EXPECT_EQ(stopped.output, "0 ");
}

TEST(Failpoint, RefusesWhatItCannotRead) {
  for (std::string wrong : {"a", "a=", "a=boom", "a=kill@", "a=kill@x", "a=kill@1-", "a=kill@1-x",
                            "a=errno:", "a=errno:x", "a=errno:1x", "a=kill@0x1"}) {
    Outcome outcome = run(wrong.c_str(), {"b"});
    EXPECT_TRUE(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 64) << wrong;
    EXPECT_EQ(outcome.output, "PPX_FAILPOINTS: cannot read \"" + wrong + "\"\n");
  }
}

}  // namespace
}  // namespace ppx
