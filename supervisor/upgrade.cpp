#include "supervisor/upgrade.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "common/clock.h"

extern char** environ;

namespace ppx {
namespace {

constexpr Millis kCheckMs = 15'000;
constexpr size_t kMaxSaid = 4096;
constexpr int kTableDescriptor = 3;  // of the program that checks
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR2};

void changeMask(int how) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : kSignals) sigaddset(&set, signal);
  ::pthread_sigmask(how, &set, nullptr);
}

// Until its end of file, or the deadline.
bool readAll(int descriptor, std::string& text) {
  for (Millis end = monotonicMillis() + kCheckMs;;) {
    pollfd waiting{descriptor, POLLIN, 0};
    Millis left = end - monotonicMillis();
    if (left <= 0) return false;
    int ready = ::poll(&waiting, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    char bytes[1024];
    ssize_t got = ::read(descriptor, bytes, sizeof(bytes));
    if (got <= 0) return got == 0;
    text.append(bytes, std::min(static_cast<size_t>(got), kMaxSaid - std::min(kMaxSaid, text.size())));
  }
}

std::string oneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& each : text)
    if (each == '\n') each = ';';
  return text;
}

}  // namespace

Status checkProgram(const std::string& file, const std::string& configFile, int tableMemfd) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return systemError("pipe2");
  UniqueFd read(ends[0]), write(ends[1]);
  std::vector<std::string> arguments{file,       "--check",       "--config",
                                     configFile, "--check-table", std::to_string(kTableDescriptor)};
  std::vector<char*> argv = nullTerminated(arguments);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, write.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, tableMemfd, kTableDescriptor);
  pid_t pid = 0;
  int failed = ::posix_spawn(&pid, file.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return systemError("running " + file, failed);
  write.reset();
  std::string said;
  bool inTime = readAll(read.get(), said);
  if (!inTime) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!inTime) return Error{ETIMEDOUT, file + " --check did not end in time"};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Done{};
  return Error{0, file + " --check says: " + (said.empty() ? "nothing, and fails" : oneLine(said))};
}

Status writeRollNote(const RuntimeDir& dir, const RollNote& note) {
  return dir.write(kRollNoteName, std::to_string(note.operation) + " " + std::to_string(note.lastEvent) +
                                      " " + note.name + "\n");
}

std::optional<RollNote> readRollNote(const RuntimeDir& dir) {
  std::ifstream in(dir.file(kRollNoteName));
  RollNote note;
  if (!(in >> note.operation >> note.lastEvent)) return std::nullopt;
  std::getline(in >> std::ws, note.name);
  return note;
}

void removeRollNote(const RuntimeDir& dir) {
  ::unlink(dir.file(kRollNoteName).c_str());
}

Error replaceProgram(const ProgramImage& image, const RuntimeDir& dir) {
  changeMask(SIG_BLOCK);
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  dir.handOn();
  std::vector<char*> argv = nullTerminated(image.arguments);
  ::execv(image.file.c_str(), argv.data());
  Error error = systemError("running " + image.file);
  dir.keep();
  unblockSignals();
  return error;
}

void unblockSignals() {
  changeMask(SIG_UNBLOCK);
}

}  // namespace ppx
