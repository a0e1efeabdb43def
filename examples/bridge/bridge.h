// The bridge: each client of the gateway has one TCP connection to an existing server.
//
// What the plain contract leaves open, and what is done about it:
// - A client's coming is its first byte; its going is never told. It is forgotten after idleTimeout without a
// byte.
// - The bridge can't close a client. When its connection has ended, what the client sends is dropped until it
// is
//   forgotten: a second connection would start in the middle of a conversation.
// - All clients of a forwarder share one stream. Up to clientBuffer bytes wait for a server that is slow to
// one
//   client; beyond that the stream is paused for all, since a hole in a byte stream is worse, and after
//   stallTimeout without a byte taken that connection ends.
// - A server's bytes go over the stream that the client's last payload came by. When that ends, they wait
// until it
//   is gone and what it carried had time to arrive, then take another.
// Everything but io() runs in the thread of the io_context.
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
#include <vector>

#include "examples/bridge/bridge_stream.h"
#include "examples/bridge/server_connection.h"

namespace ppx::examples {

struct BridgeOptions {
  ServerTarget server;
  ConnectionLimits connection;
  std::chrono::milliseconds idleTimeout{3'600'000};
  std::size_t clientBuffer = 1 << 20;
  std::size_t totalBuffer = 256 << 20;
  std::size_t maxClients = 10'000;
};

class Bridge final : public ConnectionOwner {
 public:
  explicit Bridge(BridgeOptions options);

  boost::asio::io_context& io() { return io_; }
  void run();   // until stop(), in a thread of its own
  void stop();  // any thread

  using StreamPtr = std::shared_ptr<BridgeStream>;
  void onOpened(const StreamPtr& stream);
  void onPayload(const StreamPtr& stream, const std::string& client, std::string payload);
  void onInputEnd(const StreamPtr& stream);
  void onGone(const StreamPtr& stream);
  void resumeReplies();

  bool mayReply(ServerConnection& connection) override;
  void onReply(ServerConnection& connection, std::string_view bytes) override;
  void onProgress(ServerConnection& connection) override;

 private:
  using Clock = ServerConnection::Clock;

  struct Client {
    std::shared_ptr<ServerConnection> connection;
    StreamPtr input;          // its last payload came by this one
    StreamPtr reply;          // its last reply went by this one
    std::size_t counted = 0;  // of waitingBytes_
  };
  struct Paused {
    StreamPtr stream;
    std::string client;
  };

  Client* findOrOpen(const std::string& client);
  bool isEnded(const std::string& client) const;
  bool makeRoom();
  bool mustPause(const std::string& client);
  void resumeStreams();
  StreamPtr streamFor(Client& client);
  void count(Client& client);
  void sweep();

  BridgeOptions options_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer sweepTimer_;
  boost::asio::steady_timer settleTimer_;
  std::unordered_map<std::string, Client> clients_;  // by UUID
  std::deque<std::string> ended_;                    // clients whose connection has ended, oldest first
  std::vector<StreamPtr> streams_;                   // open ones
  std::vector<Paused> paused_;                // streams whose next payload must wait for a client's room
  std::unordered_set<std::string> silenced_;  // clients whose server must wait for a stream's room
  std::size_t waitingBytes_ = 0;              // for the server, of all clients
  std::size_t turn_ = 0;                      // spreads clients without a stream over the open ones
  Clock::time_point lastFullLog_;
};

}  // namespace ppx::examples
