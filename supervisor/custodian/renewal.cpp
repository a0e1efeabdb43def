#include "supervisor/custodian/renewal.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "common/failpoint.h"
#include "common/log.h"

// glibc 2.36's header declares these for C only.
extern "C" {
#include <sys/pidfd.h>
}

extern char** environ;

namespace ppx {
namespace {

constexpr std::chrono::seconds kCheckDeadline{5};
constexpr int kCheckDescriptor = 3;  // of the program that checks
constexpr char kCheck[] = "--check-succession";
// Not an argument: a custodian is known by its arguments, and stays what it is.
constexpr char kSucceed[] = "PPX_SUCCESSION";

int numberOf(std::string_view text) {
  int value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

void changeMask(int how) {
  sigset_t renew;
  sigemptyset(&renew);
  sigaddset(&renew, SIGUSR2);
  ::pthread_sigmask(how, &renew, nullptr);
}

Succession readOrExit(const char* descriptor) {
  auto succession = Succession::read(numberOf(descriptor));
  if (succession) return std::move(*succession);
  spdlog::critical("{}", succession.error().text);
  std::exit(EXIT_FAILURE);
}

}  // namespace

std::optional<Succession> takeSuccession(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == kCheck) {
    readOrExit(argv[2]);
    std::exit(EXIT_SUCCESS);
  }
  const char* descriptor = std::getenv(kSucceed);
  if (descriptor == nullptr) return std::nullopt;
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  UniqueFd memfd(numberOf(descriptor));
  Succession succession = readOrExit(descriptor);
  ::unsetenv(kSucceed);
  failpoint("custodian.succeeding");
  return succession;
}

void unblockRenewal() {
  changeMask(SIG_UNBLOCK);
}

Renewal::Renewal(boost::asio::io_context& io, ProgramImage image, std::function<Succession()> handOn)
    : image_(std::move(image)), handOn_(std::move(handOn)), checkWatch_(io), deadline_(io) {}

Renewal::~Renewal() {
  if (checkPid_ == 0) return;
  ::kill(checkPid_, SIGKILL);
  ::waitpid(checkPid_, nullptr, 0);
}

void Renewal::begin(std::function<void(const std::string&)> failed) {
  if (failed_) return failed("a change of the program is under way already");
  failed_ = std::move(failed);
  if (Status started = startCheck(); !started) fail(started.error().text);
}

Status Renewal::startCheck() {
  auto memfd = handOn_().write();
  if (!memfd) return memfd.error();
  std::vector<std::string> arguments{image_.file, kCheck, std::to_string(kCheckDescriptor)};
  std::vector<char*> argv = nullTerminated(arguments);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, memfd->get(), kCheckDescriptor);
  int failed = ::posix_spawn(&checkPid_, image_.file.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    checkPid_ = 0;
    return systemError("running " + image_.file, failed);
  }
  UniqueFd pidfd(::pidfd_open(checkPid_, 0));
  if (!pidfd) return systemError("pidfd_open");
  checkWatch_.assign(pidfd.release());
  checkWatch_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (!error) checked();
                         });
  deadline_.expires_after(kCheckDeadline);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error && checkPid_ != 0) ::kill(checkPid_, SIGKILL);  // its end is what checked() waits for
  });
  return Done{};
}

void Renewal::checked() {
  deadline_.cancel();
  boost::system::error_code ignored;
  checkWatch_.close(ignored);
  int status = 0;
  ::waitpid(std::exchange(checkPid_, 0), &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    return fail(image_.file + " did not check what it would get in time");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(image_.file + " cannot go on with what this custodian has");
  fail(execute().text);
}

void Renewal::fail(const std::string& reason) {
  if (checkPid_ != 0) {
    ::kill(checkPid_, SIGKILL);
    ::waitpid(std::exchange(checkPid_, 0), nullptr, 0);
  }
  spdlog::error("no change of the program: {}", reason);
  std::exchange(failed_, {})(reason);
}

// Returns only when it failed.
Error Renewal::execute() {
  Succession succession = handOn_();
  auto memfd = succession.write();
  if (!memfd) return memfd.error();
  failpoint("custodian.renewing");
  auto keep = [](int descriptor) { ::fcntl(descriptor, F_SETFD, 0); };
  succession.forEachDescriptor(keep);
  keep(memfd->get());
  std::vector<char*> argv = nullTerminated(image_.arguments);
  // A second request must not meet a program that does not listen for it yet.
  changeMask(SIG_BLOCK);
  ::setenv(kSucceed, std::to_string(memfd->get()).c_str(), 1);
  ::execv(image_.file.c_str(), argv.data());
  Error error = systemError("running " + image_.file);
  ::unsetenv(kSucceed);
  changeMask(SIG_UNBLOCK);
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  return error;
}

}  // namespace ppx
