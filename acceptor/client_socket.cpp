#include "acceptor/client_socket.h"

#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>

#include "common/failpoint.h"

namespace ppx {
namespace {

PeerAddress peerAddress(const sockaddr_storage& address) {
  PeerAddress peer;
  unsigned char bytes[16] = {};
  if (address.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(bytes, &in6.sin6_addr, sizeof(bytes));
    peer.port = be16toh(in6.sin6_port);
  } else if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes + 12, &in.sin_addr, 4);
    peer.port = be16toh(in.sin_port);
  }
  std::memcpy(&peer.high, bytes, 8);
  std::memcpy(&peer.low, bytes + 8, 8);
  peer.high = be64toh(peer.high);
  peer.low = be64toh(peer.low);
  return peer;
}

bool setNumber(int socket, int level, int option, uint32_t value) {
  int number = static_cast<int>(value);
  return ::setsockopt(socket, level, option, &number, sizeof(number)) == 0;
}

}  // namespace

Result<AcceptedClient> acceptClient(int listener) {
  if (int simulated = failpoint("sys.accept4"); simulated != 0) return systemError("accept4", simulated);
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  UniqueFd socket(
      ::accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return systemError("accept4");
  return AcceptedClient{std::move(socket), peerAddress(address)};
}

AcceptTrouble acceptTrouble(int code) {
  switch (code) {
    case EAGAIN:
      return AcceptTrouble::kEmpty;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return AcceptTrouble::kResources;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EFAULT:
      return AcceptTrouble::kBroken;
    default:  // accept(2): errors that the network had ready for the new socket
      return AcceptTrouble::kPassing;
  }
}

bool setClientOptions(int socket, const ListenerRow& settings) {
  constexpr auto relaxed = std::memory_order_relaxed;
  // Without SO_OOBINLINE urgent data breaks the kernel's count of consumed bytes for ever.
  if (!setNumber(socket, SOL_SOCKET, SO_OOBINLINE, 1) || !setNumber(socket, IPPROTO_TCP, TCP_NODELAY, 1))
    return false;
  if (uint32_t idle = settings.keepaliveIdleS.load(relaxed); idle != 0) {
    if (!setNumber(socket, SOL_SOCKET, SO_KEEPALIVE, 1) ||
        !setNumber(socket, IPPROTO_TCP, TCP_KEEPIDLE, idle))
      return false;
    if (uint32_t interval = settings.keepaliveIntervalS.load(relaxed); interval != 0)
      setNumber(socket, IPPROTO_TCP, TCP_KEEPINTVL, interval);
    if (uint32_t count = settings.keepaliveCount.load(relaxed); count != 0)
      setNumber(socket, IPPROTO_TCP, TCP_KEEPCNT, count);
  }
  if (uint32_t timeout = settings.userTimeoutMs.load(relaxed); timeout != 0)
    setNumber(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout);
  return true;
}

uint64_t socketCookie(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool isPlainTcp(int socket) {
  int protocol = 0;
  socklen_t size = sizeof(protocol);
  return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
}

void resetClient(UniqueFd socket) {
  linger now{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace ppx
