#include "tests/load/duplex_swarm.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <future>

#include "tests/load/echo_server_thread.h"

namespace ppx::load {
namespace {

constexpr Nanos kLong = 30 * kSecond;

// Takes one client and does with it what the test says; blocking, in a thread.
class OddServer {
 public:
  explicit OddServer(std::function<void(int)> serve) : listener_(std::move(listenOn({}).value())) {
    served_ = std::async(std::launch::async, [this, serve = std::move(serve)] {
      EpollLoop loop;
      loop.watchInput(listener_.get(), 0);
      loop.wait(nowNanos() + kLong);
      const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      serve(client.get());
    });
  }
  Endpoint endpoint() const { return {"127.0.0.1", portOf(listener_.get()).value()}; }

 private:
  UniqueFd listener_;
  std::future<void> served_;
};

std::string readSome(int fd) {
  std::array<char, 256> bytes;
  const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
  return std::string(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
}

TEST(DuplexSwarm, GetsEveryByteOfEveryStreamBack) {
  const EchoServerThread server;
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .connections = 100, .bytesEach = 200'000});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilBytes(200'000, kLong));
  const SwarmStats stats = (*swarm)->stats();
  EXPECT_EQ(stats.open, 100u);
  EXPECT_EQ(stats.intact, 100u);
  EXPECT_EQ(stats.bytesEchoed, 100u * 200'000);
  EXPECT_EQ(stats.firstProblem, "");
}

TEST(DuplexSwarm, AHalfClosedClientGetsTheRestAndThenTheEnd) {
  const EchoServerThread server;
  auto swarm = DuplexSwarm::connect(
      {.target = server.endpoint(), .connections = 20, .bytesEach = 300'000, .halfClose = true});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilEnd(kLong));
  EXPECT_EQ((*swarm)->stats().ended, 20u);
  EXPECT_EQ((*swarm)->stats().intact, 20u);
  EXPECT_EQ((*swarm)->stats().bytesEchoed, 20u * 300'000);
}

TEST(DuplexSwarm, StandsStillAfterADrainAndGoesOnLater) {
  const EchoServerThread server;
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .connections = 10});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilBytes(100'000, kLong));
  EXPECT_TRUE((*swarm)->drain(kLong));
  const SwarmStats still = (*swarm)->stats();
  EXPECT_EQ(still.bytesSent, still.bytesEchoed);
  EXPECT_EQ(still.intact, 10u);
  EXPECT_TRUE((*swarm)->runUntilBytes((*swarm)->client(0).received() + 2'000'000, kLong));
}

TEST(DuplexSwarm, ASlowReaderReadsAtItsRateAndHoldsUpNobody) {
  const EchoServerThread server;
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(),
                                     .connections = 3,
                                     .windowBytes = 1 << 20,
                                     .slowReaders = 1,
                                     .slowBytesPerSecond = 10'000});
  ASSERT_TRUE(swarm);
  const Nanos start = nowNanos();
  (*swarm)->runFor(kSecond);
  const Nanos took = nowNanos() - start;
  EXPECT_LE((*swarm)->client(0).received(),
            static_cast<uint64_t>(10'000.0 * static_cast<double>(took) / kSecond) + 1);
  EXPECT_GT((*swarm)->client(0).received(), 0u);
  EXPECT_GT((*swarm)->client(1).received(), 1'000'000u);
}

TEST(DuplexSwarm, APacedClientSendsAtItsRate) {
  const EchoServerThread server;
  auto swarm =
      DuplexSwarm::connect({.target = server.endpoint(), .connections = 20, .bytesPerSecond = 10'000});
  ASSERT_TRUE(swarm);
  const Nanos start = nowNanos();
  EXPECT_TRUE((*swarm)->runUntilBytes(3'000, kLong));
  EXPECT_GE(nowNanos() - start, 250 * kMillisecond);
  EXPECT_EQ((*swarm)->stats().open, 20u);
}

TEST(DuplexSwarm, BriefClientsEndTheirSideAndComeAgain) {
  const EchoServerThread server;
  auto swarm = DuplexSwarm::connect(
      {.target = server.endpoint(), .connections = 10, .brief = 4, .briefBytes = 20'000});
  ASSERT_TRUE(swarm);
  for (int i = 0; i < 3; ++i) {
    while ((*swarm)->stats().ended < 4) (*swarm)->runFor(kMillisecond);
    EXPECT_EQ((*swarm)->stats().mismatched + (*swarm)->stats().reset, 0u);
    auto renewed = (*swarm)->renewBrief();
    ASSERT_TRUE(renewed);
    EXPECT_EQ(*renewed, 4u);
    EXPECT_TRUE((*swarm)->runUntilBytes(1, kLong));
  }
  EXPECT_TRUE((*swarm)->drain(kLong));
  EXPECT_EQ((*swarm)->stats().intact, 10u);
}

TEST(DuplexSwarm, ABriefClientThatIsEndedTooEarlyIsNotRenewed) {
  OddServer server([](int fd) { ::send(fd, readSome(fd).data(), 0, MSG_NOSIGNAL); });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .brief = 1, .briefBytes = 20'000});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilEnd(kLong));
  auto renewed = (*swarm)->renewBrief();
  ASSERT_TRUE(renewed);
  EXPECT_EQ(*renewed, 0u);
}

TEST(DuplexSwarm, SeesAWrongByte) {
  OddServer server([](int fd) {
    std::string bytes = readSome(fd);
    bytes[10] = static_cast<char>(bytes[10] ^ 0x40);
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    readSome(fd);
  });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .bytesEach = 100});
  ASSERT_TRUE(swarm);
  EXPECT_FALSE((*swarm)->runUntilBytes(100, kLong) && (*swarm)->stats().intact == 1);
  EXPECT_EQ((*swarm)->stats().mismatched, 1u);
  EXPECT_EQ((*swarm)->stats().firstProblem, "wrong byte at offset 10");
  (*swarm)->close(0);
}

TEST(DuplexSwarm, SeesMoreBytesThanWereSent) {
  OddServer server([](int fd) {
    const std::string bytes = readSome(fd) + "x";
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    readSome(fd);
  });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .bytesEach = 100});
  ASSERT_TRUE(swarm);
  (*swarm)->runFor(kLong);
  EXPECT_EQ((*swarm)->stats().firstProblem, "more than was sent, at offset 100");
  (*swarm)->close(0);
}

TEST(DuplexSwarm, AnEndWithBytesMissingIsNotIntact) {
  OddServer server([](int fd) {
    const std::string bytes = readSome(fd).substr(0, 60);
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .bytesEach = 100});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilEnd(kLong));
  EXPECT_EQ((*swarm)->stats().ended, 1u);
  EXPECT_EQ((*swarm)->stats().intact, 0u);
  EXPECT_EQ((*swarm)->client(0).received(), 60u);
}

TEST(DuplexSwarm, CountsResets) {
  OddServer server([](int fd) {
    readSome(fd);
    const linger at_once{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint()});
  ASSERT_TRUE(swarm);
  EXPECT_TRUE((*swarm)->runUntilEnd(kLong));
  EXPECT_EQ((*swarm)->stats().reset, 1u);
}

TEST(DuplexSwarm, TellsHowLongAClientWaitedForItsBytes) {
  std::promise<void> tested;
  OddServer server([&](int fd) {
    readSome(fd);
    tested.get_future().wait();
  });
  auto swarm = DuplexSwarm::connect({.target = server.endpoint(), .bytesEach = 100});
  ASSERT_TRUE(swarm);
  (*swarm)->runFor(300 * kMillisecond);
  EXPECT_GE((*swarm)->stats().longestPause, 250 * kMillisecond);
  tested.set_value();
}

}  // namespace
}  // namespace ppx::load
