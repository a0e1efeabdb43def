#include "supervisor/spawner.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string_view>

// glibc 2.36's header declares these for C only.
extern "C" {
#include <sys/pidfd.h>
}

extern char** environ;

namespace ppx {
namespace {

constexpr int kExecDeadlineMs = 10'000;
constexpr int kLastSignal = 64;

// Everything that the child needs, laid out before the fork: afterwards only async-signal-safe calls.
struct Image {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int devNull;
  int report;  // close-on-exec: end of file says that exec worked
};

[[noreturn]] void childExec(const Image& image) {
  ::setsid();
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= kLastSignal; ++signal) ::sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(image.devNull, STDIN_FILENO);
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  ::execve(image.program, image.arguments, image.environment);
  int code = errno;
  [[maybe_unused]] ssize_t ignored = ::write(image.report, &code, sizeof(code));
  ::_exit(127);
}

// 0: it runs; otherwise why it does not.
int awaitExec(int report) {
  pollfd waiting{report, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&waiting, 1, kExecDeadlineMs);
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return ETIMEDOUT;
  int code = 0;
  return ::read(report, &code, sizeof(code)) == static_cast<ssize_t>(sizeof(code)) ? code : 0;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& each : strings) out.push_back(const_cast<char*>(each.c_str()));
  out.push_back(nullptr);
  return out;
}

std::vector<char*> childEnvironment() {
  std::vector<char*> out;
  for (char** each = environ; *each != nullptr; ++each)
    if (!std::string_view(*each).starts_with("NOTIFY_SOCKET=")) out.push_back(*each);
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<Process> spawn(const std::string& program, const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return systemError("pipe2");
  UniqueFd read(ends[0]), write(ends[1]);
  UniqueFd devNull(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!devNull) return systemError("opening /dev/null");
  std::vector<std::string> all{program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv = pointers(all), envp = childEnvironment();
  Image image{program.c_str(), argv.data(), envp.data(), devNull.get(), write.get()};

  Process child;
  child.pid = ::fork();
  if (child.pid < 0) return systemError("fork");
  if (child.pid == 0) childExec(image);
  write.reset();
  child.pidfd.reset(::pidfd_open(child.pid, 0));
  int code = child.pidfd ? awaitExec(read.get()) : errno;
  if (code == 0) return child;
  ::kill(child.pid, SIGKILL);  // not reaped yet, so the pid is its
  ::waitpid(child.pid, nullptr, 0);
  return systemError("running " + program, code);
}

Result<Process> openProcess(int pid) {
  Process process{pid, UniqueFd(::pidfd_open(pid, 0))};
  if (!process.pidfd) return systemError("pidfd_open of " + std::to_string(pid));
  return process;
}

bool isDead(const Process& process) {
  return awaitDeath(process, 0);
}

bool awaitDeath(const Process& process, int mostMs) {
  pollfd waiting{process.pidfd.get(), POLLIN, 0};
  return ::poll(&waiting, 1, mostMs) > 0;
}

void killNow(const Process& process) {
  ::pidfd_send_signal(process.pidfd.get(), SIGKILL, nullptr, 0);
}

void terminate(const Process& process) {
  ::pidfd_send_signal(process.pidfd.get(), SIGTERM, nullptr, 0);
}

bool hasCrashed(const Process& process) {
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return false;
  return info.si_code == CLD_EXITED ? info.si_status != 0 : info.si_status != SIGKILL;
}

bool endedWell(const Process& process) {
  siginfo_t info{};
  return ::waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
         (info.si_code == CLD_EXITED && info.si_status == 0);
}

std::string reap(const Process& process) {
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info, WEXITED | WNOHANG) != 0)
    return "ended (not as a child of this supervisor)";
  if (info.si_code == CLD_EXITED) return "exit code " + std::to_string(info.si_status);
  return "signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
}

}  // namespace ppx
