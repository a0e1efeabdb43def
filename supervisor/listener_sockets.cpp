#include "supervisor/listener_sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

namespace ppx {
namespace {

std::string place(const ListenerConfig& config) {
  bool literal6 = config.host.find(':') != std::string::npos;
  return (literal6 ? "[" + config.host + "]" : config.host) + ":" + std::to_string(config.port);
}

Error failed(const ListenerConfig& config, const std::string& what, int code) {
  return systemError("listener \"" + config.name + "\" on " + place(config) + ": " + what, code);
}

Result<uint16_t> boundPort(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return systemError("getsockname");
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  return Error{EAFNOSUPPORT, "not a TCP socket"};
}

Result<ListenerSocket> listenOn(const ListenerConfig& config, const addrinfo& address) {
  ListenerSocket out;
  out.socket.reset(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!out.socket) return failed(config, "socket", errno);
  int fd = out.socket.get(), one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  // Before listen(): urgent data that comes before accept() would otherwise break the kernel's byte counts.
  if (::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) != 0)
    return failed(config, "SO_OOBINLINE", errno);
  // 0.0.0.0 and :: side by side are two listeners.
  if (address.ai_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
  if (::bind(fd, address.ai_addr, address.ai_addrlen) != 0) return failed(config, "bind", errno);
  if (::listen(fd, static_cast<int>(config.backlog)) != 0) return failed(config, "listen", errno);
  auto port = boundPort(fd);
  if (!port) return failed(config, "getsockname", port.error().code);
  out.port = *port;
  return out;
}

}  // namespace

Result<ListenerSocket> openListener(const ListenerConfig& config) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int code = ::getaddrinfo(config.host.c_str(), std::to_string(config.port).c_str(), &hints, &found);
  if (code != 0)
    return Error{code == EAI_SYSTEM ? errno : EADDRNOTAVAIL,
                 "listener \"" + config.name + "\" on " + place(config) +
                     ": resolving the host: " + ::gai_strerror(code)};
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  Result<ListenerSocket> last = Error{EADDRNOTAVAIL, ""};
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    last = listenOn(config, *each);
    if (last) break;
  }
  return last;
}

Result<ListenerSocket> adoptListener(UniqueFd socket) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0)
    return systemError("SO_ACCEPTCONN");
  if (listening == 0) return Error{EINVAL, "not a listening socket"};
  auto port = boundPort(socket.get());
  if (!port) return port.error();
  return ListenerSocket{std::move(socket), *port};
}

}  // namespace ppx
