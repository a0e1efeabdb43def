// The existing server behind the bridge, as a test plays it: plain blocking sockets with deadlines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/unique_fd.h"

namespace ppx::test {

// One accepted connection. Every wait ends after ten seconds.
class ServerSide {
 public:
  explicit ServerSide(UniqueFd fd);
  bool isOpen() const { return fd_.get() >= 0; }
  bool send(const std::string& bytes);
  // As much as the socket takes without waiting for the peer to read: the count, at most `most`.
  std::size_t sendUntilBlocked(const std::string& bytes, std::size_t from);
  // Exactly this many bytes, fewer only at the end of the stream or the deadline.
  std::string receive(std::size_t bytes);
  // True if the peer has closed, in whatever way; waits for it.
  bool sawEnd();
  void endOutput();
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

class TcpServer {
 public:
  TcpServer();  // on 127.0.0.1, a free port
  std::string address() const;
  ServerSide accept();
  // Whether a connection comes within the time.
  bool isCalled(int withinMs);

 private:
  UniqueFd listener_;
  std::uint16_t port_ = 0;
};

}  // namespace ppx::test
