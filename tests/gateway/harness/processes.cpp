#include "tests/gateway/harness/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace ppx::test {
namespace fs = std::filesystem;

void waitUntil(const std::string& what, const std::function<bool()>& holds, Millis within) {
  Deadline deadline(within);
  while (!holds()) {
    if (deadline.passed()) throw std::runtime_error("waited in vain: " + what);
    std::this_thread::sleep_for(5ms);
  }
}

TempDir::TempDir() {
  std::string pattern = fs::temp_directory_path() / "ppx-gateway-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TempDir::file(const std::string& name, const std::string& text) const {
  std::string path = path_ + "/" + name;
  std::ofstream(path) << text;
  return path;
}

std::string readAll(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void becomeSubreaper() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

pid_t startProcess(const std::vector<std::string>& argv,
                   const std::map<std::string, std::string>& environment, const std::string& logFile) {
  // Everything that allocates comes before fork(): this process may have threads.
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string name(*entry, std::strcspn(*entry, "="));
    if (environment.count(name) == 0) variables.push_back(*entry);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<char*> words, entries;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : variables) entries.push_back(const_cast<char*>(entry.c_str()));
  words.push_back(nullptr);
  entries.push_back(nullptr);
  int log = ::open(logFile.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::execve(words[0], words.data(), entries.data());
    ::_exit(127);
  }
  ::close(log);
  if (pid < 0) throw std::runtime_error("fork failed");
  return pid;
}

namespace {

std::vector<std::string> statFields(pid_t pid) {
  std::string text = readAll("/proc/" + std::to_string(pid) + "/stat");
  std::vector<std::string> fields;
  size_t end = text.rfind(')');
  if (end == std::string::npos) return fields;
  std::istringstream in(text.substr(end + 2));
  for (std::string field; in >> field;) fields.push_back(field);
  return fields;
}

uint64_t kibField(pid_t pid, const std::string& file, const std::string& key) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/" + file);
  for (std::string line; std::getline(in, line);)
    if (line.rfind(key, 0) == 0) return std::stoull(line.substr(key.size())) * 1024;
  return 0;
}

}  // namespace

bool isAlive(pid_t pid) {
  std::vector<std::string> fields = statFields(pid);
  return !fields.empty() && fields[0] != "Z" && fields[0] != "X";
}

std::vector<pid_t> processesWith(const std::string& word) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    pid_t pid = std::stoi(name);
    if (pid == ::getpid()) continue;
    std::string line = readAll("/proc/" + name + "/cmdline");
    std::istringstream words(line);
    for (std::string candidate; std::getline(words, candidate, '\0');)
      if (candidate == word && isAlive(pid)) {
        found.push_back(pid);
        break;
      }
  }
  return found;
}

int waitForEnd(pid_t pid, Millis within) {
  int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd >= 0) {
    pollfd waiting{fd, POLLIN, 0};
    int ended = ::poll(&waiting, 1, static_cast<int>(within.count()));
    ::close(fd);
    if (ended != 1) throw std::runtime_error("process " + std::to_string(pid) + " does not end");
  }
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) throw std::runtime_error("no child " + std::to_string(pid));
  return status;
}

void waitForDeath(pid_t pid, Millis within) {
  waitUntil(
      "the death of process " + std::to_string(pid), [&] { return !isAlive(pid); }, within);
}

void killAllWith(const std::string& word) {
  Deadline deadline(kPatience);
  for (;;) {
    std::vector<pid_t> living = processesWith(word);
    for (pid_t pid : living) ::kill(pid, SIGKILL);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (living.empty() || deadline.passed()) return;
    std::this_thread::sleep_for(2ms);
  }
}

uint64_t anonymousBytes(pid_t pid) {
  return kibField(pid, "status", "RssAnon:");
}

uint64_t residentBytes(pid_t pid) {
  return kibField(pid, "status", "VmRSS:");
}

Millis cpuTime(pid_t pid) {
  std::vector<std::string> fields = statFields(pid);
  if (fields.size() < 13) return Millis(0);
  long ticks = std::stol(fields[11]) + std::stol(fields[12]);
  return Millis(ticks * 1000 / ::sysconf(_SC_CLK_TCK));
}

size_t descriptorsOf(pid_t pid) {
  std::error_code error;
  fs::directory_iterator entries("/proc/" + std::to_string(pid) + "/fd", error);
  return error ? 0 : static_cast<size_t>(std::distance(fs::begin(entries), fs::end(entries)));
}

void limitDescriptors(pid_t pid, unsigned limit) {
  rlimit old{};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &old) != 0) throw std::runtime_error("prlimit failed");
  rlimit now{limit, old.rlim_max};
  if (::prlimit(pid, RLIMIT_NOFILE, &now, nullptr) != 0) throw std::runtime_error("prlimit failed");
}

}  // namespace ppx::test
