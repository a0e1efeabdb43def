// A bare TCP echo server on one epoll: the benchmark's baseline and the tests' counterpart. While a client does not
// read its echo, nothing more is read from it. run() in one thread; stop() from any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"
#include "tests/load/epoll_loop.h"
#include "tests/load/sockets.h"

namespace ppx::load {

class TcpEchoServer {
 public:
  static Result<std::unique_ptr<TcpEchoServer>> listen(const Endpoint& at);

  uint16_t port() const { return port_; }
  void run(int stopFd = -1);  // until stop(), or until stopFd is readable
  void stop();

 private:
  struct Client {
    UniqueFd fd;
    std::string unsent;  // read, but not taken by the socket yet
    bool ended = false;  // the client's FIN was read
  };

  TcpEchoServer(UniqueFd listener, UniqueFd stop, uint16_t port);
  void acceptAll();
  void serve(uint64_t index);
  bool echo(Client& client);  // false: it is over

  UniqueFd listener_;
  UniqueFd stop_;
  uint16_t port_;
  EpollLoop loop_;
  std::vector<Client> clients_;
  std::vector<uint64_t> free_;
};

}  // namespace ppx::load
