#include "tests/examples/tcp_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <utility>

namespace ppx::test {
namespace {

constexpr int kDeadlineMs = 10'000;

bool waitFor(int fd, short events, int ms) {
  pollfd waiting{fd, events, 0};
  return ::poll(&waiting, 1, ms) == 1;
}

}  // namespace

ServerSide::ServerSide(UniqueFd fd) : fd_(std::move(fd)) {
  const timeval deadline{kDeadlineMs / 1000, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
}

bool ServerSide::send(const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t sent = ::send(fd_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) {
      return false;
    }
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

std::size_t ServerSide::sendUntilBlocked(const std::string& bytes, std::size_t from) {
  // Blocked: not writable for half a second.
  while (from < bytes.size() && waitFor(fd_.get(), POLLOUT, 500)) {
    const ssize_t sent =
        ::send(fd_.get(), bytes.data() + from, bytes.size() - from, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) {
      break;
    }
    from += static_cast<std::size_t>(sent);
  }
  return from;
}

std::string ServerSide::receive(std::size_t bytes) {
  std::string got(bytes, '\0');
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t received = ::recv(fd_.get(), got.data() + done, bytes - done, 0);
    if (received <= 0) {
      break;
    }
    done += static_cast<std::size_t>(received);
  }
  got.resize(done);
  return got;
}

bool ServerSide::sawEnd() {
  std::array<char, 4096> ignored;
  while (waitFor(fd_.get(), POLLIN, kDeadlineMs)) {
    if (::recv(fd_.get(), ignored.data(), ignored.size(), 0) <= 0) {
      return true;
    }
  }
  return false;
}

void ServerSide::endOutput() {
  ::shutdown(fd_.get(), SHUT_WR);
}

TcpServer::TcpServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener_.get(), generic, size), 0);
  EXPECT_EQ(::listen(listener_.get(), 512), 0);
  EXPECT_EQ(::getsockname(listener_.get(), generic, &size), 0);
  port_ = ntohs(address.sin_port);
}

std::string TcpServer::address() const {
  return "127.0.0.1:" + std::to_string(port_);
}

ServerSide TcpServer::accept() {
  UniqueFd fd;
  if (isCalled(kDeadlineMs)) {
    fd = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  EXPECT_GE(fd.get(), 0) << "no connection came";
  return ServerSide(std::move(fd));
}

bool TcpServer::isCalled(int withinMs) {
  return waitFor(listener_.get(), POLLIN, withinMs);
}

}  // namespace ppx::test
