#include "common/datagram_sender.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>

namespace ppx {

DatagramSender::DatagramSender(std::string path)
    : path_(std::move(path)), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}

int DatagramSender::send(std::span<const iovec> parts) const {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path_.empty() || path_.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  path_.copy(address.sun_path, path_.size());
  if (path_[0] == '@') address.sun_path[0] = '\0';
  msghdr message{};
  message.msg_name = &address;
  // The zero that ends a path counts too; an abstract name has none.
  size_t end = path_[0] == '@' ? 0 : 1;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size() + end);
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

int DatagramSender::send(const std::string& text) const {
  iovec part{const_cast<char*>(text.data()), text.size()};
  return send(std::span(&part, 1));
}

}  // namespace ppx
