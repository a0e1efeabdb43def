#include "common/seqpacket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "common/failpoint.h"

namespace ppx {
namespace {

// A path socket's address holds 107 bytes; through a descriptor of its folder any path fits.
struct PathAddress {
  UniqueFd folder;
  std::string name;
  sockaddr_un address{};

  static Result<PathAddress> make(const std::string& path) {
    std::filesystem::path p(path);
    if (!p.has_parent_path()) p = "." / p;
    PathAddress out;
    out.folder.reset(::open(p.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!out.folder) return systemError("opening " + p.parent_path().string());
    out.name = p.filename().string();
    out.address.sun_family = AF_UNIX;
    std::string through = "/proc/self/fd/" + std::to_string(out.folder.get()) + "/" + out.name;
    if (through.size() >= sizeof(out.address.sun_path))
      return Error{ENAMETOOLONG, "socket name too long: " + out.name};
    std::memcpy(out.address.sun_path, through.c_str(), through.size() + 1);
    return out;
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

constexpr int kType = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC;

void takeDescriptors(msghdr& header, std::vector<UniqueFd>& out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      out.emplace_back(fd);
    }
  }
}

}  // namespace

Result<UniqueFd> listenSeqpacket(const std::string& path, int backlog) {
  auto where = PathAddress::make(path);
  if (!where) return where.error();
  UniqueFd socket(::socket(AF_UNIX, kType, 0));
  if (!socket) return systemError("socket");
  ::unlinkat(where->folder.get(), where->name.c_str(), 0);
  if (::bind(socket.get(), where->get(), sizeof(sockaddr_un)) != 0) return systemError("binding " + path);
  if (::fchmodat(where->folder.get(), where->name.c_str(), 0600, 0) != 0)
    return systemError("chmod of " + path);
  if (::listen(socket.get(), backlog) != 0) return systemError("listening on " + path);
  return socket;
}

Result<UniqueFd> dialSeqpacket(const std::string& path) {
  auto where = PathAddress::make(path);
  if (!where) return where.error();
  UniqueFd socket(::socket(AF_UNIX, kType, 0));
  if (!socket) return systemError("socket");
  if (::connect(socket.get(), where->get(), sizeof(sockaddr_un)) != 0)
    return systemError("connecting to " + path);
  return socket;
}

Result<UniqueFd> acceptSeqpacket(int listener) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return systemError("accept4");
  return socket;
}

Result<PeerCredentials> peerCredentials(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return systemError("SO_PEERCRED");
  return PeerCredentials{credentials.pid, credentials.uid};
}

Status sendMessage(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors) {
  if (descriptors.size() > kMaxDescriptorsPerMessage)
    return Error{EINVAL, "too many descriptors in a message"};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptorsPerMessage * sizeof(int))> control;
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  if (int simulated = failpoint("sys.sendmsg"); simulated != 0) return systemError("sendmsg", simulated);
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return systemError("sendmsg");
  return Done{};
}

Result<ReceivedMessage> receiveMessage(int socket, std::span<std::byte> buffer) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptorsPerMessage * sizeof(int))> control;
  iovec piece{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = 0;
  // A peer that died with unread messages of ours: the kernel says ECONNRESET once, then gives all that the peer had
  // sent, then its end. CustodianProcess.ReadsToTheEndBehindAReset pins it.
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return systemError("recvmsg");
  ReceivedMessage message;
  message.bytes = static_cast<size_t>(got);
  message.descriptorsLost = (header.msg_flags & MSG_CTRUNC) != 0;
  message.bytesLost = (header.msg_flags & MSG_TRUNC) != 0;
  takeDescriptors(header, message.descriptors);
  return message;
}

Result<std::pair<UniqueFd, UniqueFd>> seqpacketPair() {
  int ends[2];
  if (::socketpair(AF_UNIX, kType, 0, ends) != 0) return systemError("socketpair");
  return std::pair<UniqueFd, UniqueFd>(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

}  // namespace ppx
