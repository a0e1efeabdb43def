// The bridge: each client of the gateway has one TCP connection to an existing server.
//
// - With the contract's extensions the two live and die together: a client's opening connects to the server (so the
//   server may speak first), its end of input becomes a FIN, its going closes the connection; the server's end closes
//   the client when all has been flushed, a reset resets it. A client whose conversation another bridge began is
//   closed: nobody can go on with that.
// - A server that is slow to one client slows down that client: its bytes stay in the gateway until the server has
//   taken them. After stallTimeout without a byte taken the connection ends.
// - With the plain contract a client's coming is its first byte, and its going is idleTimeout without one. When its
//   server has closed, what it still sends is dropped: a second connection would start in the middle of a
//   conversation.
// Everything but io() and the handler's calls runs in the thread of the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "examples/bridge/server_connection.h"
#include "upstream/cpp/upstream.h"

namespace ppx::examples {

struct BridgeOptions {
  ServerTarget server;
  ConnectionLimits connection;
  std::chrono::milliseconds idleTimeout{3'600'000};
  std::size_t clientBuffer =
      1 << 20;  // plain contract: waits for the server, of all clients of one forwarder
  std::size_t maxClients = 10'000;
};

class Bridge final : public ConnectionOwner, public paradox::upstream::Handler {
 public:
  explicit Bridge(BridgeOptions options);

  boost::asio::io_context& io() { return io_; }
  grpc::Service& service() { return upstream_.service(); }
  void run();   // until stop(), in a thread of its own
  void stop();  // any thread

  // The library's thread: they only hand over.
  void onOpened(const std::string& client, const paradox::upstream::Opened& opened) override;
  bool onBytes(const std::string& client, std::string_view bytes, uint64_t offset) override;
  void onEnd(const std::string& client) override;
  void onClosed(const std::string& client, const std::string& reason) override;
  void onRoom() override;

  bool mayReply(ServerConnection& connection) override;
  void onReply(ServerConnection& connection, std::string_view bytes) override;
  void onTaken(ServerConnection& connection, std::size_t bytes) override;
  void onServerEnd(ServerConnection& connection) override;
  void onEnded(ServerConnection& connection) override;

 private:
  using Clock = ServerConnection::Clock;

  void open(const std::string& client, bool continued);
  void take(const std::string& client, std::string bytes);
  ServerConnection* find(const std::string& client) const;
  bool makeRoom();
  void resumeReplies();
  void sweep();

  BridgeOptions options_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer sweepTimer_;
  std::unordered_map<std::string, std::shared_ptr<ServerConnection>> clients_;  // by UUID
  std::deque<std::string> ended_;             // clients whose connection has ended, oldest first
  std::unordered_set<std::string> silenced_;  // clients whose server must wait for room
  Clock::time_point lastFullLog_;
  paradox::upstream::Upstream upstream_;  // last: its thread calls the rest
};

}  // namespace ppx::examples
