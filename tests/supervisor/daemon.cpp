#include "tests/supervisor/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/clock.h"
#include "supervisor/custody_keeper.h"

extern char** environ;

namespace ppx::test {
namespace {

namespace fs = std::filesystem;

// paradoxd looks for its workers beside itself, so it is copied; its name in /proc is the copy's.
void fillPrograms(const fs::path& folder) {
  fs::create_directory(folder);
  fs::copy_file(fs::path(PPX_BIN_DIR) / "paradoxd", folder / "paradoxd");
  fs::create_symlink(fs::path(PPX_BIN_DIR) / "paradox-custodian", folder / "paradox-custodian");
  for (const char* name : {"paradox-forwarder", "paradox-acceptor", "paradox-prober"})
    fs::create_symlink(PPX_FAKE_WORKER, folder / name);
}

// Every process that still runs with this runtime directory: what a failed test leaves.
void killAllOf(const std::string& runtimeDir) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::ostringstream line;  // which may end now: an iterator would throw
    line << file.rdbuf();
    if (line.str().find(runtimeDir + '\0') != std::string::npos) ::kill(pid, SIGKILL);
  }
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "ppx-supervisor-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Daemon::Daemon(const std::string& settings, std::vector<std::string> environment)
    : environment_(std::move(environment)) {
  fillPrograms(folder_.path() + "/bin");
  std::ofstream(configFile()) << settings;
}

Daemon::~Daemon() {
  killAllOf(runtimeDir());
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

void Daemon::start(std::vector<std::string> arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  output_.reset(ends[0]);
  launch(std::move(arguments), UniqueFd(ends[1]));
}

void Daemon::startBeside() {
  // The other end of a pipe by way of /proc: nobody here has kept one, so that its end can be seen.
  std::string way = "/proc/self/fd/" + std::to_string(output_.get());
  launch({}, UniqueFd(::open(way.c_str(), O_WRONLY | O_CLOEXEC)));
}

void Daemon::launch(std::vector<std::string> arguments, UniqueFd write) {
  said_.clear();
  searched_ = 0;
  std::string program = folder_.path() + "/bin/paradoxd";
  arguments.insert(arguments.begin(), {program, "--config", configFile(), "--runtime-dir", runtimeDir()});
  std::vector<char*> argv, envp;
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  for (char** each = environ; *each != nullptr; ++each) envp.push_back(*each);
  for (std::string& each : environment_) envp.push_back(each.data());
  envp.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(write.get(), 1);
    ::dup2(write.get(), 2);
    ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
}

bool Daemon::readMore(int deadlineMs) {
  pollfd waiting{output_.get(), POLLIN, 0};
  if (::poll(&waiting, 1, deadlineMs) <= 0) return false;
  char buffer[4096];
  ssize_t got = ::read(output_.get(), buffer, sizeof(buffer));
  if (got > 0) said_.append(buffer, static_cast<size_t>(got));
  return got > 0;
}

std::string Daemon::waitFor(const std::string& text, int deadlineMs) {
  Millis end = monotonicMillis() + deadlineMs;
  for (;;) {
    for (size_t newline; (newline = said_.find('\n', searched_)) != std::string::npos;) {
      std::string line = said_.substr(searched_, newline - searched_);
      searched_ = newline + 1;
      if (line.find(text) != std::string::npos) return line;
    }
    Millis left = end - monotonicMillis();
    if (left <= 0 || !readMore(static_cast<int>(left))) return "";
  }
}

std::vector<std::string> Daemon::waitForAll(const std::vector<std::string>& texts, int deadlineMs) {
  const Millis end = monotonicMillis() + deadlineMs;
  std::vector<std::string> lines(texts.size());
  while (std::find(lines.begin(), lines.end(), "") != lines.end()) {
    const std::string line = waitFor("", static_cast<int>(end - monotonicMillis()));
    if (line.empty()) break;
    for (size_t i = 0; i < texts.size(); ++i)
      if (lines[i].empty() && line.find(texts[i]) != std::string::npos) lines[i] = line;
  }
  return lines;
}

bool Daemon::everybodyGone(int deadlineMs) {
  Millis end = monotonicMillis() + deadlineMs;
  while (monotonicMillis() < end)
    if (!readMore(static_cast<int>(end - monotonicMillis()))) break;
  pollfd waiting{output_.get(), POLLIN, 0};
  return ::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLHUP) != 0;
}

int Daemon::join() {
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int Daemon::stop(int signal) {
  ::kill(pid_, signal);
  return join();
}

Outcome Daemon::second() const {
  std::string command =
      folder_.path() + "/bin/paradoxd --config " + configFile() + " --runtime-dir " + runtimeDir() + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "re");
  Outcome out;
  char buffer[512];
  while (::fgets(buffer, sizeof(buffer), pipe) != nullptr) out.said += buffer;
  out.code = WEXITSTATUS(::pclose(pipe));
  return out;
}

Table Daemon::table() const {
  auto inheritance = fetchInheritance(runtimeDir());
  if (!inheritance) std::abort();
  auto table = Table::map(std::move(inheritance->table));
  if (!table) std::abort();
  return std::move(*table);
}

Outcome runDaemon(Daemon& daemon, std::vector<std::string> arguments) {
  daemon.start(std::move(arguments));
  daemon.everybodyGone();
  return {daemon.join(), daemon.said()};
}

TakenPort::TakenPort() {
  ListenerConfig config;
  config.port = 0;
  auto opened = openListener(config);
  if (!opened) std::abort();
  listener = std::move(*opened);
}

int pidIn(const std::string& line) {
  size_t at = line.find("pid ");
  return at == std::string::npos ? 0 : std::atoi(line.c_str() + at + 4);
}

}  // namespace ppx::test
