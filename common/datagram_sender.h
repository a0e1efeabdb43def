// Datagrams to the unix socket of a service (the service manager, the journal), without ever waiting for it: one that
// hangs must not hang the gateway. Any thread.
#pragma once

#include <sys/uio.h>

#include <span>
#include <string>

#include "common/unique_fd.h"

namespace ppx {

class DatagramSender {
 public:
  // `path`: absolute, or with '@' first for an abstract one. Nothing is sent yet: who reads may come and go.
  explicit DatagramSender(std::string path);

  // All parts as one datagram. 0, or errno; EAGAIN: its reader is behind.
  int send(std::span<const iovec> parts) const;
  int send(const std::string& text) const;

 private:
  std::string path_;
  UniqueFd socket_;
};

}  // namespace ppx
