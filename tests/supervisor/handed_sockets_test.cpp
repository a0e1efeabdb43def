// Listening sockets that systemd made: what is still to be done to them, and what is none.
#include "supervisor/handed_sockets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ppx::test {
namespace {

UniqueFd made(int family, int type, bool listening) {
  UniqueFd socket(::socket(family, type | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (family == AF_INET) {
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  if (listening) {
    EXPECT_EQ(::listen(socket.get(), 1), 0);
  }
  return socket;
}

TEST(HandedSockets, BecomeWhatAnOwnListenerIs) {
  UniqueFd socket = made(AF_INET, SOCK_STREAM, true);
  uint64_t cookie = socketCookie(socket.get());
  UniqueFd copy(::dup(socket.get()));
  auto prepared = prepareHanded(std::move(socket), {});
  ASSERT_TRUE(prepared.ok());
  int fd = prepared->socket.get(), inlined = 0;
  socklen_t size = sizeof(inlined);
  EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK);
  ASSERT_EQ(::getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inlined, &size), 0);
  EXPECT_EQ(inlined, 1);
  EXPECT_EQ(boundPlace(fd), "127.0.0.1:" + std::to_string(prepared->port));
  // A copy is the same socket, another listener is not.
  EXPECT_NE(cookie, 0u);
  EXPECT_EQ(socketCookie(copy.get()), cookie);
  EXPECT_NE(socketCookie(made(AF_INET, SOCK_STREAM, true).get()), cookie);
}

TEST(HandedSockets, OthersAreRefused) {
  EXPECT_FALSE(prepareHanded(made(AF_INET, SOCK_STREAM, false), {}).ok()) << "it does not listen";
  EXPECT_FALSE(prepareHanded(made(AF_INET, SOCK_DGRAM, false), {}).ok());
  EXPECT_FALSE(prepareHanded(made(AF_UNIX, SOCK_STREAM, false), {}).ok());
  EXPECT_FALSE(prepareHanded(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), {}).ok());
}

}  // namespace
}  // namespace ppx::test
