// The kernel's figures against what the test has really sent and read, over real TCP connections.
#include "common/witness.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace ppx {
namespace {

constexpr uint8_t kEstablished = 1, kFinWait1 = 4, kFinWait2 = 5, kTimeWait = 6, kClose = 7, kCloseWait = 8,
                  kLastAck = 9, kClosing = 11;

class WitnessOf : public ::testing::Test {
 protected:
  void SetUp() override {
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int one = 1;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    client_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ours_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    ASSERT_TRUE(ours_);
    ::setsockopt(ours_.get(), SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
  }
  void clientSends(size_t bytes) {
    std::string text(bytes, 'x');
    ASSERT_EQ(::send(client_.get(), text.data(), bytes, MSG_NOSIGNAL), static_cast<ssize_t>(bytes));
  }
  size_t take(size_t bytes) {
    std::string text(bytes, ' ');
    pollfd wait{ours_.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&wait, 1, 10000), 1);
    ssize_t got = ::recv(ours_.get(), text.data(), bytes, 0);
    EXPECT_GE(got, 0);
    return got < 0 ? 0 : static_cast<size_t>(got);
  }
  size_t give(size_t bytes) {
    std::string text(bytes, 'y');
    ssize_t sent = ::send(ours_.get(), text.data(), bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  void waitUnread(int bytes) {
    until([&] {
      int unread = 0;
      return ::ioctl(ours_.get(), FIONREAD, &unread) == 0 && unread >= bytes;
    });
  }
  void waitState(uint8_t state) {
    until([&] {
      auto w = readWitness(ours_.get());
      return w.ok() && w->state == state;
    });
  }
  // There is no event for these on this side: looks until it is so, ten seconds at most.
  template <typename Condition>
  void until(Condition condition) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "never happened";
      ::poll(nullptr, 0, 1);
    }
  }
  void expect(uint64_t consumed, uint64_t sent, uint8_t state) {
    auto w = readWitness(ours_.get());
    ASSERT_TRUE(w) << w.error().text;
    EXPECT_EQ(w->consumed, consumed);
    EXPECT_EQ(w->sent, sent);
    EXPECT_EQ(w->state, state);
    EXPECT_TRUE(w->usable());
  }

  UniqueFd client_, ours_;
};

TEST_F(WitnessOf, AFreshConnectionHasTakenAndGivenNothing) {
  expect(0, 0, kEstablished);
}

TEST_F(WitnessOf, UnreadInputIsNotConsumed) {
  clientSends(1000);
  waitUnread(1000);
  expect(0, 0, kEstablished);
  EXPECT_EQ(take(300), 300u);
  expect(300, 0, kEstablished);
  clientSends(50);
  waitUnread(750);
  expect(300, 0, kEstablished);
  take(750);
  expect(1050, 0, kEstablished);
}

TEST_F(WitnessOf, OutputCountsOnceGivenToTheSocketThoughThePeerReadsNothing) {
  uint64_t given = 0;
  for (size_t now; (now = give(65536)) > 0;) given += now;
  ASSERT_GT(given, 65536u);
  expect(0, given, kEstablished);
}

TEST_F(WitnessOf, ThePeersFinIsNoByte) {
  clientSends(100);
  ::shutdown(client_.get(), SHUT_WR);
  waitState(kCloseWait);
  expect(0, 0, kCloseWait);  // data and FIN unread
  take(40);
  expect(40, 0, kCloseWait);
  take(60);
  expect(100, 0, kCloseWait);
  EXPECT_EQ(take(1), 0u);  // the FIN read
  expect(100, 0, kCloseWait);
  EXPECT_EQ(give(77), 77u);
  expect(100, 77, kCloseWait);
}

TEST_F(WitnessOf, APeersFinWithoutAByteIsNoByte) {
  ::shutdown(client_.get(), SHUT_WR);
  waitState(kCloseWait);
  expect(0, 0, kCloseWait);
  EXPECT_EQ(take(1), 0u);
  expect(0, 0, kCloseWait);
}

TEST_F(WitnessOf, OurFinIsNoByteBeforeAndAfterItIsAcknowledged) {
  uint64_t given = 0;
  for (size_t now; (now = give(65536)) > 0;) given += now;
  ::shutdown(ours_.get(), SHUT_WR);
  expect(0, given, kFinWait1);  // queued behind what the peer has no room for
  clientSends(10);
  waitUnread(10);
  take(4);
  expect(4, given, kFinWait1);
  std::vector<char> sink(1 << 20);
  while (::recv(client_.get(), sink.data(), sink.size(), 0) > 0) {
  }
  waitState(kFinWait2);
  expect(4, given, kFinWait2);
  take(6);
  clientSends(5);
  waitUnread(5);
  expect(10, given, kFinWait2);
}

TEST_F(WitnessOf, BothFinsAreNoBytes) {
  clientSends(20);
  ::shutdown(client_.get(), SHUT_WR);
  waitState(kCloseWait);
  take(20);
  uint64_t given = 0;
  for (size_t now; (now = give(65536)) > 0;) given += now;
  ::shutdown(ours_.get(), SHUT_WR);
  expect(20, given, kLastAck);  // the peer's window is full: our FIN waits
}

TEST_F(WitnessOf, FinsThatCrossAreNoBytes) {
  uint64_t given = 0;
  for (size_t now; (now = give(65536)) > 0;) given += now;
  ::shutdown(ours_.get(), SHUT_WR);
  clientSends(33);
  ::shutdown(client_.get(), SHUT_WR);
  waitState(kClosing);
  expect(0, given, kClosing);
  take(33);
  expect(33, given, kClosing);
}

TEST_F(WitnessOf, UrgentDataInlineIsAByteLikeAnyOther) {
  clientSends(10);
  ASSERT_EQ(::send(client_.get(), "!", 1, MSG_OOB), 1);
  clientSends(10);
  waitUnread(10);
  size_t taken = 0;
  while (taken < 21) {
    size_t now = take(3);
    ASSERT_GT(now, 0u);
    taken += now;
    auto w = readWitness(ours_.get());
    ASSERT_TRUE(w);
    EXPECT_EQ(w->consumed, taken);
  }
}

TEST_F(WitnessOf, AResetConnectionIsNoWitness) {
  give(10);
  linger hard{1, 0};
  ::setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  client_.reset();
  waitState(kClose);
  EXPECT_FALSE(readWitness(ours_.get())->usable());
}

TEST_F(WitnessOf, AfterBothEndsItIsNoWitness) {
  ::shutdown(ours_.get(), SHUT_WR);
  ::shutdown(client_.get(), SHUT_WR);
  until([&] {
    auto w = readWitness(ours_.get());
    return w.ok() && (w->state == kTimeWait || w->state == kClose);
  });
  EXPECT_FALSE(readWitness(ours_.get())->usable());
}

TEST(Witness, SaysWhatIsNoTcpSocket) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd a(ends[0]), b(ends[1]);
  EXPECT_FALSE(readWitness(a.get()));
  EXPECT_FALSE(readWitness(-1));
}

}  // namespace
}  // namespace ppx
