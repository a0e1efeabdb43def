// What a service manager hears of paradoxd: here the manager is a socket of the test's.
#include "supervisor/service_notify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <boost/asio/post.hpp>
#include <cstdlib>
#include <fstream>
#include <future>
#include <thread>

#include "supervisor/exit_codes.h"
#include "supervisor/spawner.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using namespace std::chrono_literals;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class Manager {
 public:
  Manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  }
  std::string path() const { return folder_.path() + "/notify"; }

  // The next message, or "" when there is none in time.
  std::string next(int deadlineMs) {
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, deadlineMs) <= 0) return "";
    char buffer[4096];
    ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : "";
  }
  // The next message with `text` in it; what comes before is kept in `passed`.
  std::string waitFor(const std::string& text) {
    passed.clear();
    for (Millis end = monotonicMillis() + 20'000; monotonicMillis() < end;) {
      std::string message = next(static_cast<int>(end - monotonicMillis()));
      if (message.find(text) != std::string::npos) return message;
      passed += message + "\n";
    }
    return "";
  }
  void forget() {
    while (!next(0).empty()) {
    }
  }
  std::string passed;

 private:
  TemporaryFolder folder_;
  UniqueFd socket_;
};

// In the environment of this process, for the time of a test.
struct Watched {
  Watched(const Manager& manager, std::chrono::microseconds limit) {
    ::setenv("NOTIFY_SOCKET", manager.path().c_str(), 1);
    ::setenv("WATCHDOG_USEC", std::to_string(limit.count()).c_str(), 1);
  }
  ~Watched() {
    ::unsetenv("NOTIFY_SOCKET");
    ::unsetenv("WATCHDOG_USEC");
  }
};

struct ServiceOfDaemon : ::testing::Test {
  Manager manager;

  std::vector<std::string> environment(std::vector<std::string> more = {}) {
    more.push_back("NOTIFY_SOCKET=" + manager.path());
    more.push_back("WATCHDOG_USEC=1000000");
    return more;
  }
};

TEST(ServiceNotify, FeedsTheWatchdogOnlyWhileTheLoopTurns) {
  Manager manager;
  Watched watched(manager, 100ms);
  boost::asio::io_context io;
  ServiceNotify service(io, [] { return "a line"; });
  boost::asio::post(io, [&] { service.start(); });
  std::jthread loop([&] { io.run(); });
  std::jthread other([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) std::this_thread::yield();  // a busy process with a loop that hangs
  });
  for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.waitFor("WATCHDOG"), "WATCHDOG=1");

  std::promise<void> blocked, release;
  boost::asio::post(io, [&] {
    blocked.set_value();
    release.get_future().wait();
  });
  blocked.get_future().wait();
  manager.forget();
  EXPECT_EQ(manager.next(400), "");
  release.set_value();
  EXPECT_EQ(manager.waitFor("WATCHDOG"), "WATCHDOG=1");
  io.stop();
}

TEST(ServiceNotify, TellsTheStatusOnceASecondAtMostAndOnlyWhatHasChanged) {
  Manager manager;
  Watched watched(manager, 0us);
  boost::asio::io_context io;
  int turn = 0;
  ServiceNotify service(io, [&] { return "line\n" + std::to_string(std::min(++turn, 2)); });
  const Millis began = monotonicMillis();
  service.start();
  EXPECT_EQ(manager.next(0), "STATUS=line 1");
  while (turn < 4) io.run_one();
  EXPECT_GE(monotonicMillis() - began, 2900);
  EXPECT_EQ(manager.next(0), "STATUS=line 2");
  EXPECT_EQ(manager.next(0), "");
}

TEST(ServiceNotify, WaitsForNoManagerAndKeepsTheStateForIt) {
  Manager manager;
  Watched watched(manager, 20ms);
  boost::asio::io_context io;
  ServiceNotify service(io, [] { return "a line"; });
  service.start();
  while (DatagramSender(manager.path()).send("filling") == 0) {
  }
  service.ready();
  service.stopping();
  for (int i = 0; i < 10; ++i) io.run_one();
  manager.forget();
  for (int i = 0; i < 2; ++i) io.run_one();
  EXPECT_EQ(manager.next(0), "READY=1\nSTATUS=a line");
  EXPECT_EQ(manager.next(0), "STOPPING=1\nSTATUS=a line");
  EXPECT_EQ(manager.next(0), "WATCHDOG=1");
}

TEST(ServiceNotify, IsSilentWhereNobodyListens) {
  boost::asio::io_context io;
  ServiceNotify service(io, [] { return "never asked for: no timer runs"; });
  service.start();
  EXPECT_EQ(io.run(), 0u);
}

TEST_F(ServiceOfDaemon, SaysReadyWhenClientsAreServedAndStoppingWhileADrainGoesOn) {
  Daemon daemon(smallConfig("forwarders = 2\n"), environment({"PPX_FAKE_forwarder=deaf"}));
  daemon.start();
  std::string ready = manager.waitFor("READY=1");
  EXPECT_THAT(ready, HasSubstr("STATUS=serving: 0 sessions, 0 of 0 upstreams ready"));
  EXPECT_THAT(manager.passed, HasSubstr("STATUS=starting, waiting for "));
  ASSERT_TRUE(daemon.serves());
  ::kill(daemon.pid(), SIGTERM);
  EXPECT_FALSE(manager.waitFor("STOPPING=1").empty());
  EXPECT_THAT(manager.waitFor("EXTEND_TIMEOUT_USEC="), MatchesRegex("EXTEND_TIMEOUT_USEC=[0-9]+"));
  EXPECT_FALSE(manager.waitFor("WATCHDOG=1").empty());
  EXPECT_EQ(daemon.join(), kExitOrderly);
}

TEST_F(ServiceOfDaemon, NamesWhatHappenedLast) {
  Daemon daemon(smallConfig(), environment());
  daemon.start();
  ASSERT_FALSE(manager.waitFor("READY=1").empty());
  auto forwarder = openProcess(static_cast<int>(daemon.table().worker(1).pid.load()));
  ASSERT_TRUE(forwarder.ok());
  killNow(*forwarder);
  EXPECT_THAT(manager.waitFor("forwarder-1 restarted"),
              ContainsRegex("^STATUS=serving: .* forwarder-1 restarted [0-9][0-9]:[0-9][0-9]:[0-9][0-9]$"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST_F(ServiceOfDaemon, SaysReloadingAndReadyAgainWhateverComesOfIt) {
  Daemon daemon(smallConfig(), environment());
  daemon.start();
  ASSERT_FALSE(manager.waitFor("READY=1").empty());
  ::kill(daemon.pid(), SIGHUP);
  EXPECT_THAT(manager.waitFor("RELOADING=1"), ContainsRegex("RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+\n"));
  EXPECT_THAT(manager.waitFor("READY=1"), HasSubstr("configuration reloaded"));
  std::ofstream(daemon.configFile()) << "[nothing]\n";
  ::kill(daemon.pid(), SIGHUP);
  EXPECT_FALSE(manager.waitFor("RELOADING=1").empty());
  EXPECT_THAT(manager.waitFor("READY=1"), HasSubstr("the configuration was refused"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST_F(ServiceOfDaemon, IsReloadingWhileItsProgramIsExchanged) {
  Daemon daemon(smallConfig(), environment());
  daemon.start();
  ASSERT_FALSE(manager.waitFor("READY=1").empty());
  ::kill(daemon.pid(), SIGUSR2);
  EXPECT_FALSE(manager.waitFor("RELOADING=1").empty());
  EXPECT_FALSE(manager.waitFor("READY=1").empty());
  EXPECT_THAT(manager.passed, HasSubstr("STATUS=starting"));  // of the next program
  EXPECT_FALSE(manager.waitFor("upgrade done").empty());
  EXPECT_FALSE(manager.waitFor("WATCHDOG=1").empty());
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST_F(ServiceOfDaemon, FeedsNoWatchdogWhileItIsStopped) {
  Daemon daemon(smallConfig(), environment());
  daemon.start();
  ASSERT_FALSE(manager.waitFor("READY=1").empty());
  EXPECT_FALSE(manager.waitFor("WATCHDOG=1").empty());
  ::kill(daemon.pid(), SIGSTOP);
  siginfo_t stopped{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(daemon.pid()), &stopped, WSTOPPED), 0);
  manager.forget();
  EXPECT_EQ(manager.next(1500), "");
  ::kill(daemon.pid(), SIGCONT);
  EXPECT_FALSE(manager.waitFor("WATCHDOG=1").empty());
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

}  // namespace
}  // namespace ppx::test
