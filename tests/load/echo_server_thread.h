// A TcpEchoServer on a free port in a thread of its own, for the length of a test.
#pragma once

#include <memory>
#include <thread>

#include "tests/load/tcp_echo_server.h"

namespace ppx::load {

class EchoServerThread {
 public:
  EchoServerThread()
      : server_(std::move(TcpEchoServer::listen({}).value())), thread_([this] { server_->run(); }) {}
  ~EchoServerThread() {
    server_->stop();
    thread_.join();
  }
  EchoServerThread(const EchoServerThread&) = delete;
  EchoServerThread& operator=(const EchoServerThread&) = delete;

  Endpoint endpoint() const { return {"127.0.0.1", server_->port()}; }

 private:
  std::unique_ptr<TcpEchoServer> server_;
  std::thread thread_;
};

}  // namespace ppx::load
