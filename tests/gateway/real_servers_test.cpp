// Real servers behind the bridge, with their own benchmarks for clients, while forwarders are killed, or while everything
// is restarted in turn and upgraded: no failed request, no broken connection. PPX_SECONDS and PPX_RESTARTS make it longer
// (the long run takes a minute or two).
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

namespace fs = std::filesystem;

std::string programNamed(const std::vector<std::string>& places) {
  for (const std::string& place : places)
    if (::access(place.c_str(), X_OK) == 0) return place;
  return {};
}

unsigned secondsOfLoad() {
  return fromEnvironment("PPX_SECONDS", 1);
}

uint16_t freePort() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

// A program in a process group of its own, its output in a file. At the end, and when this process dies, it gets SIGINT: a
// server then cleans up and ends. Only what is still there after a time is killed, with all its children.
class Program {
 public:
  Program(std::vector<std::string> argv, std::string logFile) : log_(std::move(logFile)) {
    std::vector<char*> arguments;
    for (std::string& each : argv) arguments.push_back(each.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGINT);
    int out = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ~Program() {
    if (pid_ <= 0) return;
    for (int signal : {SIGINT, SIGQUIT}) {
      ::kill(pid_, signal);
      try {
        waitForEnd(pid_);
        return;
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what() << " at signal " << signal << ": " << log();
      }
    }
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  // Its exit code, -1 if a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string log() const {
    std::string text;
    if (FILE* file = std::fopen(log_.c_str(), "r")) {
      char buffer[4096];
      for (size_t got; (got = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) text.append(buffer, got);
      std::fclose(file);
    }
    return text;
  }

 private:
  pid_t pid_;
  std::string log_;
};

bool accepts(uint16_t port) {
  try {
    Client probe(port);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

enum class Trouble { kKills, kPlanned };

struct RealServer : ::testing::TestWithParam<Trouble> {
  using Load = std::function<std::unique_ptr<Program>()>;
  using Check = std::function<void(const std::string& log)>;
  TempDir dir;
  uint16_t serverPort = freePort();
  std::unique_ptr<WorkerProcess> bridge;
  std::unique_ptr<Gateway> gateway;
  uint16_t gatewayPort = 0;  // asked for once: the admin API is away for a moment during an upgrade

  void startGateway() {
    bridge = std::make_unique<WorkerProcess>(
        std::vector<std::string>{programPath("paradox-example-bridge"), "--quiet", "--server",
                                 "127.0.0.1:" + std::to_string(serverPort)});
    gateway = std::make_unique<Gateway>(
        GatewayOptions{.upstreams = {bridge->port()},
                       .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n"});
    gateway->waitForUpstream(bridge->port());
    gatewayPort = gateway->port();
  }
  void runInTrouble(const Load& load, const Check& check) {
    if (GetParam() == Trouble::kKills)
      killWhile(load, check);
    else
      restartWhile(load, check);
  }

 private:
  static void runToEnd(const Load& load, const Check& check) {
    std::unique_ptr<Program> program = load();
    EXPECT_EQ(program->wait(), 0) << program->log();
    check(program->log());
  }
  // Kills forwarders, about three a second, until the load has ended.
  void killWhile(const Load& load, const Check& check) {
    auto ended = std::async(std::launch::async, [&] { runToEnd(load, check); });
    int kills = 0;
    while (ended.wait_for(300ms) != std::future_status::ready) {
      pid_t pid = gateway->worker("forwarder", kills++ % 2);
      ::kill(pid, SIGKILL);
      gateway->waitForSuccessor("forwarder", pid);
    }
    ended.get();
    std::printf("%d forwarders were killed\n", kills);
  }
  // The load again and again while everything is restarted.
  void restartWhile(const Load& load, const Check& check) {
    const unsigned rounds = fromEnvironment("PPX_RESTARTS", 1);
    auto ended = std::async(std::launch::async, [&] {
      for (unsigned i = 0; i < rounds && !HasFailure(); ++i)
        for (const char* what : {"forwarders/restart", "acceptors/restart", "prober/restart", "upgrade"}) {
          Json last = operate(*gateway, std::string("/admin/") + what);
          EXPECT_EQ(last.at("state"), "done") << last;
        }
    });
    unsigned loads = 0;
    do {
      runToEnd(load, check);
      ++loads;
    } while (ended.wait_for(0ms) != std::future_status::ready && !HasFailure());
    ended.get();
    std::printf("%u loads while everything was restarted and upgraded %u times\n", loads, rounds);
  }
};

TEST_P(RealServer, RedisBenchmarkSeesNothing) {
  // One program under two names; Debian's redis-tools has it without the service that comes with redis-server.
  const std::string program = programNamed({"/usr/bin/redis-server", "/usr/bin/redis-check-rdb"}),
                    load = programNamed({"/usr/bin/redis-benchmark"}), server = dir.path() + "/redis-server";
  if (program.empty() || load.empty()) GTEST_SKIP() << "redis-tools is not installed";
  fs::create_symlink(program, server);
  Program redis({server, "--port", std::to_string(serverPort), "--bind", "127.0.0.1", "--save", "", "--dir",
                 dir.path(), "--appendonly", "no"},
                dir.path() + "/redis.log");
  waitUntil("redis", [&] { return accepts(serverPort); });
  startGateway();
  const std::string requests = std::to_string(secondsOfLoad() * 10'000);
  runInTrouble(
      [&] {
        return std::make_unique<Program>(
            std::vector<std::string>{load, "-h", "127.0.0.1", "-p", std::to_string(gatewayPort), "-c", "50",
                                     "-n", requests, "-t", "set,get,incr,lpush", "-r", "1000", "-d", "512",
                                     "-q"},
            dir.path() + "/benchmark.log");
      },
      [](const std::string& log) {
        EXPECT_EQ(log.find("rror"), std::string::npos) << log;
        EXPECT_NE(log.find("LPUSH"), std::string::npos) << log;
      });
}

TEST_P(RealServer, PgbenchSeesNothing) {
  const std::string bin = "/usr/lib/postgresql/15/bin/";
  if (programNamed({bin + "initdb"}).empty() || programNamed({bin + "pgbench"}).empty())
    GTEST_SKIP() << "PostgreSQL 15 is not installed";
  // PostgreSQL refuses to be root. Its shared memory (mmap) is in its data folder and goes with it, however it ends.
  std::vector<std::string> as;
  if (::geteuid() == 0) {
    const passwd* user = ::getpwnam("postgres");
    if (user == nullptr) GTEST_SKIP() << "there is no user postgres";
    ::chown(dir.path().c_str(), user->pw_uid, user->pw_gid);
    as = {"/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=INT"};
  }
  auto run = [&](std::vector<std::string> argv) {
    std::vector<std::string> all = as;
    all.insert(all.end(), argv.begin(), argv.end());
    return all;
  };
  fs::permissions(dir.path(), fs::perms::all);
  const std::string data = dir.path() + "/data", port = std::to_string(serverPort);
  Program init(run({bin + "initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync"}),
               dir.path() + "/initdb.log");
  ASSERT_EQ(init.wait(), 0) << init.log();
  Program postgres(run({bin + "postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-k",
                        dir.path(), "-c", "fsync=off", "-c", "dynamic_shared_memory_type=mmap"}),
                   dir.path() + "/postgres.log");
  // It accepts connections before it serves them.
  waitUntil("PostgreSQL", [&] {
    return Program(run({bin + "pg_isready", "-q", "-h", "127.0.0.1", "-p", port}),
                   dir.path() + "/isready.log")
               .wait() == 0;
  });
  std::vector<std::string> at{"-h", "127.0.0.1", "-U", "bench"};
  auto pgbench = [&](uint16_t to, std::vector<std::string> more) {
    std::vector<std::string> argv{bin + "pgbench"};
    argv.insert(argv.end(), at.begin(), at.end());
    argv.insert(argv.end(), {"-p", std::to_string(to)});
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back("postgres");
    return argv;
  };
  Program fill(pgbench(serverPort, {"-i", "-q"}), dir.path() + "/fill.log");
  ASSERT_EQ(fill.wait(), 0) << fill.log();
  startGateway();
  std::vector<std::string> load{"-n", "-c", "20", "-j", "2", "-T", std::to_string(secondsOfLoad())};
  for (bool connectsEachTime : {false, true}) {
    if (connectsEachTime) load.push_back("-C");
    runInTrouble(
        [&] { return std::make_unique<Program>(pgbench(gatewayPort, load), dir.path() + "/pgbench.log"); },
        [](const std::string& log) {
          EXPECT_NE(log.find("number of failed transactions: 0 "), std::string::npos) << log;
        });
  }
  // What the benchmark promises: the balances of all levels add up to the same sum.
  Program check(
      {bin + "psql", "-h", "127.0.0.1", "-U", "bench", "-p", std::to_string(gatewayPort), "-At", "-c",
       "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and "
       "(select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches)",
       "postgres"},
      dir.path() + "/check.log");
  EXPECT_EQ(check.wait(), 0);
  EXPECT_EQ(check.log(), "t\n");
}

INSTANTIATE_TEST_SUITE_P(While, RealServer, ::testing::Values(Trouble::kKills, Trouble::kPlanned),
                         [](const auto& each) {
                           return each.param == Trouble::kKills ? "ForwardersAreKilled" : "AllIsRestarted";
                         });

}  // namespace
}  // namespace ppx::test
