// Linked into every test program by ppx_test(): whichever way the test's process ends, killed at ctest's time limit too,
// nothing of it stays behind.
//
// Before main() it makes a folder and puts it into TMPDIR, so that all files of the test go there and all processes that the
// test starts, and those that they start, carry its name in their environment. A guard, which is nobody's child any more,
// waits for the test's end. Then it ends every process that carries the name and removes the folder. Death signals would not
// do: they reach a process's children, and a worker of a dead supervisor lives on by design.
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kGrace{400};  // for those that clean up at SIGINT: PostgreSQL and its shared memory
constexpr milliseconds kPatience{10'000};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::abort();
}

bool carries(const std::string& process, const std::string& mark) {
  std::ifstream file(process + "/environ", std::ios::binary);
  for (std::string entry; std::getline(file, entry, '\0');)
    if (entry == mark || entry.starts_with(mark + "/")) return true;
  return false;
}

// How many there were.
int signalAll(const std::string& mark, int signal) {
  int found = 0;
  DIR* processes = ::opendir("/proc");
  while (const dirent* entry = processes == nullptr ? nullptr : ::readdir(processes)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == ::getpid() || !carries(std::string("/proc/") + entry->d_name, mark)) continue;
    ::kill(pid, signal);
    ++found;
  }
  if (processes != nullptr) ::closedir(processes);
  return found;
}

void endAll(const std::string& mark) {
  if (signalAll(mark, SIGINT) > 0)
    for (auto end = Clock::now() + kGrace; Clock::now() < end && signalAll(mark, 0) > 0;) ::usleep(10'000);
  // A process may be forked behind the reading's back: only the second reading without any is the last.
  int without = 0;
  for (auto end = Clock::now() + kPatience; without < 2 && Clock::now() < end; ::usleep(1000))
    without = signalAll(mark, SIGKILL) == 0 ? without + 1 : 0;
}

[[noreturn]] void guard(int test, const std::string& folder) {
  ::setsid();
  ::prctl(PR_SET_NAME, "ppx-test-guard");
  ::signal(SIGHUP, SIG_IGN);
  ::dup2(test, 0);  // ctest reads a test's output to its end: the guard may have none of it
  ::syscall(SYS_close_range, 1u, ~0u, 0u);
  if (::chdir("/") != 0) ::_exit(1);
  pollfd waiting{0, POLLIN, 0};
  while (::poll(&waiting, 1, -1) < 0) {
  }
  endAll("TMPDIR=" + folder);
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  ::_exit(0);
}

// The guard's parent ends at once, so that the guard is no child of the test: ctest kills those together with it.
bool startGuard() {
  std::string folder = fs::temp_directory_path() / "ppx-test-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) fail("a folder for the test");
  ::chmod(folder.c_str(), 0711);  // PostgreSQL, as another user, has its data below
  ::setenv("TMPDIR", folder.c_str(), 1);
  // Of a service that runs the tests: the gateway would take itself for that one.
  for (const char* name : {"INVOCATION_ID", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
                           "LISTEN_PID", "LISTEN_FDNAMES"})
    ::unsetenv(name);
  const int test = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  if (test < 0) fail("pidfd_open");
  const pid_t between = ::fork();
  if (between < 0) fail("fork");
  if (between == 0) {
    const pid_t pid = ::fork();
    if (pid == 0) guard(test, folder);
    ::_exit(pid < 0 ? 1 : 0);
  }
  ::close(test);
  int status = 0;
  if (::waitpid(between, &status, 0) != between || status != 0) fail("the test's guard");
  return true;
}

[[maybe_unused]] const bool kGuarded = startGuard();

}  // namespace
