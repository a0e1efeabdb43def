#include "tests/load/sockets.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>

namespace ppx::load {
namespace {

const sockaddr* plain(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<UniqueFd> newSocket() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return systemError("socket");
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

Result<sockaddr_in> Endpoint::address() const {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &result.sin_addr) != 1) {
    return Error{EINVAL, host + " is no numeric IPv4 address"};
  }
  return result;
}

Result<UniqueFd> startConnect(const sockaddr_in& to, unsigned source) {
  auto fd = newSocket();
  if (!fd) {
    return fd;
  }
  if (source != 0) {
    const int on = 1;
    // The port is then chosen at connect(), where only the four addresses together must be new.
    ::setsockopt(fd->get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(0x7f000100u + source % 255);
    if (::bind(fd->get(), plain(from), sizeof from) != 0) {
      return systemError("bind to a source address");
    }
  }
  if (::connect(fd->get(), plain(to), sizeof to) != 0 && errno != EINPROGRESS) {
    return systemError("connect");
  }
  return fd;
}

Result<UniqueFd> listenOn(const Endpoint& at) {
  const auto address = at.address();
  if (!address) {
    return address.error();
  }
  auto fd = newSocket();
  if (!fd) {
    return fd;
  }
  const int on = 1;
  ::setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd->get(), plain(address.value()), sizeof(sockaddr_in)) != 0) {
    return systemError("bind to " + at.host + ":" + std::to_string(at.port));
  }
  if (::listen(fd->get(), 4096) != 0) {
    return systemError("listen");
  }
  return fd;
}

Result<uint16_t> portOf(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return systemError("getsockname");
  }
  return static_cast<uint16_t>(ntohs(address.sin_port));
}

uint64_t raiseFileLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace ppx::load
