// Messages with descriptors between the processes of a gateway: SOCK_SEQPACKET on path sockets, SCM_RIGHTS.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx {

inline constexpr size_t kMaxDescriptorsPerMessage = 253;  // the kernel's SCM_MAX_FD

struct PeerCredentials {
  int pid = 0;
  unsigned uid = 0;
};

struct ReceivedMessage {
  size_t bytes = 0;  // 0: the peer has closed
  std::vector<UniqueFd> descriptors;
  bool descriptorsLost =
      false;               // MSG_CTRUNC: we are at our descriptor limit, some were dropped by the kernel
  bool bytesLost = false;  // MSG_TRUNC: longer than the buffer
};

// Non-blocking and close-on-exec all. Paths may be longer than sun_path: they are reached through
// /proc/self/fd.
Result<UniqueFd> listenSeqpacket(const std::string& path,
                                 int backlog = 64);  // replaces a stale socket file, mode 0600
Result<UniqueFd> dialSeqpacket(const std::string& path);
Result<UniqueFd> acceptSeqpacket(int listener);  // code EAGAIN: nobody waits
Result<PeerCredentials> peerCredentials(int socket);

// One message, whole or not at all. Errors: EAGAIN (the peer is slow), EPIPE/ECONNRESET (it is gone),
// ETOOMANYREFS.
Status sendMessage(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors = {});
// One message. Errors: EAGAIN; others mean that the channel is broken. Received descriptors are
// close-on-exec.
Result<ReceivedMessage> receiveMessage(int socket, std::span<std::byte> buffer);

// Ends of a pair, for tests.
Result<std::pair<UniqueFd, UniqueFd>> seqpacketPair();

template <typename T>
std::span<const std::byte> bytesOf(const T& value) {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

}  // namespace ppx
