// The bridge between the gateway's stream and an existing TCP server.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <thread>

#include "tests/examples/gateway_side.h"
#include "tests/examples/tcp_server.h"
#include "tests/examples/worker_process.h"
#include "tests/examples/workers.h"

namespace ppx::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMegabyte = 1 << 20;
constexpr std::size_t kPayload = 64 * 1024;

std::vector<std::string> bridgeTo(const std::string& server, std::vector<std::string> more = {}) {
  std::vector<std::string> argv{workerBinary("bridge"), "--quiet", "--server", server};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

std::string randomBytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(random());
  }
  return bytes;
}

// Until the condition holds or ten seconds are over.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

// The worker's memory is small; a sanitizer's own use of it is not, and not checked.
bool isSmall(pid_t pid) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return pid > 0;
#else
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) {
      return std::stoul(line.substr(6)) < 64 * 1024;
    }
  }
  return false;
#endif
}

TEST(Bridge, GivesEachClientItsOwnConnection) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), "one"));
  ServerSide first = server.accept();
  EXPECT_EQ(first.receive(3), "one");
  ASSERT_TRUE(stream.say(clientId(2), "two"));
  ServerSide second = server.accept();
  EXPECT_EQ(second.receive(3), "two");
  ASSERT_TRUE(second.send("for two"));
  ASSERT_TRUE(first.send("for one"));
  EXPECT_EQ(stream.readUntil(clientId(1), "for one"), "for one");
  EXPECT_EQ(stream.readUntil(clientId(2), "for two"), "for two");
}

TEST(Bridge, CarriesEachByteBothWaysForManyClients) {
  constexpr int kClients = 50;
  constexpr std::size_t kBytes = 200'000;
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream stream(worker.address());
  std::thread echoes([&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      threads.emplace_back([side = server.accept()]() mutable {
        for (std::size_t done = 0; done < kBytes; done += 1000) {
          side.send(side.receive(1000));
        }
        side.sawEnd();
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
  std::map<std::string, std::string> sent;
  for (int i = 0; i < kClients; ++i) {
    sent[clientId(i)] = randomBytes(kBytes, static_cast<unsigned>(i));
  }
  std::thread writer([&] {
    std::mt19937 random(1);
    for (std::size_t done = 0; done < kBytes;) {
      const std::size_t piece = std::min<std::size_t>(random() % 20'000 + 1, kBytes - done);
      for (const auto& [client, bytes] : sent) {
        stream.say(client, bytes.substr(done, piece));
      }
      done += piece;
    }
  });
  std::map<std::string, std::string> got;
  for (std::size_t all = 0; all < kClients * kBytes;) {
    const auto reply = stream.read();
    ASSERT_TRUE(reply) << "after " << all << " bytes";
    EXPECT_LE(reply->payload().size(), kPayload);
    got[reply->client_uuid()] += reply->payload();
    all += reply->payload().size();
  }
  writer.join();
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(worker.stop(SIGTERM), 0);
  echoes.join();
}

TEST(Bridge, KeepsSendingToAServerThatHasEndedItsSide) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), "hello"));
  ServerSide side = server.accept();
  ASSERT_TRUE(side.send("my last"));
  side.endOutput();
  stream.readUntil(clientId(1), "my last");
  ASSERT_TRUE(stream.say(clientId(1), "but mine is not"));
  EXPECT_EQ(side.receive(20), "hellobut mine is not");
}

TEST(Bridge, EndsAConnectionWhoseServerStaysSilentAfterItsEnd) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address(), {"--half-close-timeout", "1"}));
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), "hello"));
  ServerSide side = server.accept();
  side.endOutput();
  EXPECT_TRUE(side.sawEnd());
}

TEST(Bridge, DropsWhatAClientSendsAfterItsServerHasClosed) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), "hello"));
  ServerSide side = server.accept();
  EXPECT_EQ(side.receive(5), "hello");
  ASSERT_TRUE(side.send("bye"));
  side.close();
  stream.readUntil(clientId(1), "bye");
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(stream.say(clientId(1), "more"));
  }
  ASSERT_TRUE(stream.say(clientId(2), "another"));
  ServerSide other = server.accept();
  EXPECT_EQ(other.receive(7), "another");
  EXPECT_FALSE(server.isCalled(200)) << "a second connection would begin in the middle of a conversation";
}

TEST(Bridge, LogsAndDropsWhenTheServerIsGone) {
  std::string gone;
  {
    TcpServer server;
    gone = server.address();
  }
  const std::string logFile = testing::TempDir() + "/bridge_log_" + std::to_string(::getpid());
  WorkerProcess worker(
      {"/bin/sh", "-c", "exec \"$@\" 2>" + logFile, "sh", workerBinary("bridge"), "--server", gone});
  GatewayStream stream(worker.address());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(stream.say(clientId(1), "anybody?"));
  }
  std::string text;
  EXPECT_TRUE(eventually([&] {
    std::ostringstream read;
    read << std::ifstream(logFile).rdbuf();
    text = read.str();
    return text.find("cannot connect to the server: Connection refused") != std::string::npos;
  })) << text;
  stream.endInput();
  EXPECT_FALSE(stream.read());
  EXPECT_TRUE(stream.end().ok());
  ::unlink(logFile.c_str());
}

TEST(Bridge, HoldsLittleForAServerThatDoesNotRead) {
  constexpr std::size_t kBytes = 64 * kMegabyte;
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address(), {"--stall-timeout", "30"}));
  GatewayStream stream(worker.address(), 60s);
  const std::string bytes = randomBytes(kBytes, 5);
  std::atomic<std::size_t> sent = 0;
  std::thread writer([&] {
    for (std::size_t at = 0; at < kBytes && stream.say(clientId(1), bytes.substr(at, kPayload));
         at += kPayload) {
      sent = at + kPayload;
    }
  });
  ServerSide side = server.accept();
  // Blocked: nothing more was taken for half a second.
  std::size_t before = 0;
  do {
    before = sent;
    std::this_thread::sleep_for(500ms);
  } while (before != sent || before == 0);
  EXPECT_LT(sent, kBytes / 2);
  EXPECT_TRUE(isSmall(worker.pid()));
  EXPECT_TRUE(side.receive(kBytes) == bytes);
  writer.join();
  EXPECT_EQ(sent, kBytes);
}

TEST(Bridge, GivesUpAServerThatStallsAndFreesTheOthers) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address(), {"--stall-timeout", "1", "--client-buffer", "65536"}));
  GatewayStream stream(worker.address());
  std::thread writer([&] {
    const std::string bytes(kPayload, 'x');
    for (int i = 0; i < 512; ++i) {
      stream.say(clientId(1), bytes);
    }
    stream.say(clientId(2), "and I?");
  });
  ServerSide stalled = server.accept();
  ServerSide other = server.accept();
  EXPECT_EQ(other.receive(6), "and I?");
  writer.join();
  EXPECT_TRUE(stalled.sawEnd());
}

TEST(Bridge, ReadsNothingFromServersWhileTheGatewayDoesNotRead) {
  constexpr std::size_t kBytes = 64 * kMegabyte;
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream stream(worker.address(), 60s);
  ASSERT_TRUE(stream.say(clientId(1), "all of it, please"));
  ServerSide side = server.accept();
  const std::string bytes = randomBytes(kBytes, 6);
  const std::size_t taken = side.sendUntilBlocked(bytes, 0);
  EXPECT_LT(taken, kBytes / 2);
  EXPECT_TRUE(isSmall(worker.pid()));
  std::thread rest([&] { side.send(bytes.substr(taken)); });
  std::string got;
  while (got.size() < kBytes) {
    const auto reply = stream.read();
    if (!reply) {
      break;
    }
    got += reply->payload();
  }
  rest.join();
  EXPECT_TRUE(got == bytes);
}

TEST(Bridge, TakesAnotherStreamWhenTheFirstHasEnded) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  GatewayStream first(worker.address());
  ASSERT_TRUE(first.say(clientId(1), "hello"));
  ServerSide side = server.accept();
  ASSERT_TRUE(side.send("by the first"));
  first.readUntil(clientId(1), "by the first");
  first.endInput();
  EXPECT_FALSE(first.read());
  EXPECT_TRUE(first.end().ok());
  ASSERT_TRUE(side.send("by the second"));
  GatewayStream second(worker.address());
  EXPECT_EQ(second.readUntil(clientId(1), "second"), "by the second");
  ASSERT_TRUE(second.say(clientId(1), " again"));
  EXPECT_EQ(side.receive(11), "hello again");
}

TEST(Bridge, KeepsItsConnectionsWhenAStreamBreaks) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address()));
  auto broken = std::make_unique<GatewayStream>(worker.address());
  ASSERT_TRUE(broken->say(clientId(1), "hello"));
  ServerSide side = server.accept();
  ASSERT_TRUE(side.send(std::string(kMegabyte, 'x')));
  ASSERT_TRUE(broken->read());
  broken.reset();
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), " again"));
  EXPECT_EQ(side.receive(11), "hello again");
  ASSERT_TRUE(side.send("welcome back"));
  stream.readUntil(clientId(1), "welcome back");
}

TEST(Bridge, ForgetsASilentClient) {
  TcpServer server;
  WorkerProcess worker(bridgeTo(server.address(), {"--idle-timeout", "1"}));
  GatewayStream stream(worker.address());
  ASSERT_TRUE(stream.say(clientId(1), "hello"));
  EXPECT_TRUE(server.accept().sawEnd());
  ASSERT_TRUE(stream.say(clientId(1), "me again"));
  EXPECT_EQ(server.accept().receive(8), "me again");
}

TEST(Bridge, SaysWhatIsWrongWithItsServerOption) {
  const Outcome missing = runToEnd({workerBinary("bridge")});
  EXPECT_EQ(missing.exitCode, 2);
  EXPECT_NE(missing.errorText.find("--server is required"), std::string::npos) << missing.errorText;
  const Outcome wrong = runToEnd({workerBinary("bridge"), "--server", "nowhere"});
  EXPECT_EQ(wrong.exitCode, 2);
  EXPECT_NE(wrong.errorText.find("--server: HOST:PORT expected, not 'nowhere'"), std::string::npos)
      << wrong.errorText;
  const Outcome bounded = runToEnd({workerBinary("bridge"), "--server", "a:1", "--max-clients", "0"});
  EXPECT_EQ(bounded.exitCode, 2);
  EXPECT_NE(bounded.errorText.find("expected a whole number from 1 on, found 0"), std::string::npos)
      << bounded.errorText;
}

}  // namespace
}  // namespace ppx::test
