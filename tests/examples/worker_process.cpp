#include "tests/examples/worker_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace ppx::test {
namespace {

using Clock = std::chrono::steady_clock;

pid_t spawn(const std::vector<std::string>& argv, int from, int to) {
  std::vector<char*> words;
  for (const std::string& word : argv) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, from, to);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0) << "cannot start " << argv[0];
  return error == 0 ? pid : -1;
}

int msLeft(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

// Reads until `stop` says so, the end, or the deadline.
template <class Stop>
std::string readUntil(int fd, Clock::time_point deadline, Stop stop) {
  std::string text;
  std::array<char, 512> chunk;
  pollfd waiting{fd, POLLIN, 0};
  while (!stop(text) && ::poll(&waiting, 1, msLeft(deadline)) > 0) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got <= 0) {
      break;
    }
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

WorkerProcess::WorkerProcess(std::vector<std::string> argv, uint16_t port) {
  argv.insert(argv.end(), {"--port", std::to_string(port)});
  start(argv);
}

void WorkerProcess::start(const std::vector<std::string>& argv) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  pid_ = spawn(argv, ends[1], STDOUT_FILENO);
  ::close(ends[1]);
  const std::string line =
      readUntil(ends[0], Clock::now() + std::chrono::seconds(30),
                [](const std::string& text) { return text.find('\n') != std::string::npos; });
  ::close(ends[0]);
  const std::string prefix = "listening on ";
  ASSERT_EQ(line.substr(0, prefix.size()), prefix) << argv[0] << " said: " << line;
  address_ = line.substr(prefix.size(), line.find('\n') - prefix.size());
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

int WorkerProcess::stop(int signal, std::chrono::milliseconds within) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  ::kill(pid_, signal);
  pollfd waiting{pidfd, POLLIN, 0};
  const bool ended = ::poll(&waiting, 1, static_cast<int>(within.count())) == 1;
  ::close(pidfd);
  if (!ended) {
    return -1;
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Outcome runToEnd(const std::vector<std::string>& argv, std::chrono::milliseconds within) {
  std::array<int, 2> ends{};
  Outcome outcome;
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return outcome;
  }
  const pid_t pid = spawn(argv, ends[1], STDERR_FILENO);
  ::close(ends[1]);
  if (pid > 0) {
    const auto deadline = Clock::now() + within;
    outcome.errorText = readUntil(ends[0], deadline, [](const std::string&) { return false; });
    if (Clock::now() >= deadline) {
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    outcome.exitCode = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  ::close(ends[0]);
  return outcome;
}

}  // namespace ppx::test
