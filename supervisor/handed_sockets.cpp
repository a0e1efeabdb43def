#include "supervisor/handed_sockets.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>

namespace ppx {
namespace {

template <typename T>
bool option(int socket, int name, T& value) {
  socklen_t size = sizeof(value);
  return ::getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0;
}

}  // namespace

std::vector<HandedSocket> takeHandedSockets() {
  char** names = nullptr;
  int count = ::sd_listen_fds_with_names(1, &names);
  std::vector<HandedSocket> out;
  for (int i = 0; i < count; ++i) {
    out.push_back({names != nullptr ? names[i] : "", UniqueFd(SD_LISTEN_FDS_START + i)});
    if (names != nullptr) std::free(names[i]);
  }
  std::free(names);
  return out;
}

uint64_t socketCookie(int socket) {
  uint64_t cookie = 0;
  return option(socket, SO_COOKIE, cookie) ? cookie : 0;
}

Result<ListenerSocket> prepareHanded(UniqueFd socket, const ListenerConfig& config) {
  int protocol = 0, one = 1, fd = socket.get();
  if (!option(fd, SO_PROTOCOL, protocol) || protocol != IPPROTO_TCP) return Error{EINVAL, "not a TCP socket"};
  auto out = adoptListener(std::move(socket));
  if (!out) return out;
  // systemd makes it blocking again at each start, for all its copies, unless the unit has NonBlocking=yes.
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return systemError("O_NONBLOCK");
  if (::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) != 0) return systemError("SO_OOBINLINE");
  if (::listen(fd, static_cast<int>(config.backlog)) != 0) return systemError("listen");
  return out;
}

std::string boundPlace(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "no address";
  return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                       : fmt::format("{}:{}", host, port);
}

}  // namespace ppx
