// One client's TCP connection to the existing server.
//
//   write(bytes) --> queue, bounded by whoever calls --> server
//   onReply() <-- one shared buffer <-- server            read only while mayReply() says so
//
// Connecting -> Open -> ServerClosed (the server sent its FIN; it may still read) -> Ended; each may end at
// once. Everything runs in the one thread of the io_context. Owned by shared_ptr: its pending operations hold
// it.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

namespace ppx::examples {

class ServerConnection;

class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  // False: there is nowhere to put a reply; resumeReplies() will be called.
  virtual bool mayReply(ServerConnection& connection) = 0;
  virtual void onReply(ServerConnection& connection, std::string_view bytes) = 0;
  // The server has taken so many bytes more; at its end, those that it will not take are counted too.
  virtual void onTaken(ServerConnection& connection, std::size_t bytes) = 0;
  // The server has said its last.
  virtual void onServerEnd(ServerConnection& connection) = 0;
  virtual void onEnded(ServerConnection& connection) = 0;
};

struct ServerTarget {
  std::string host;
  std::string port;
};

struct ConnectionLimits {
  std::chrono::milliseconds connectTimeout{10'000};
  std::chrono::milliseconds stallTimeout{10'000};      // bytes wait and the server takes none
  std::chrono::milliseconds halfCloseTimeout{60'000};  // since the last byte after the server's FIN
};

class ServerConnection : public std::enable_shared_from_this<ServerConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  ServerConnection(boost::asio::io_context& io, ConnectionOwner& owner, std::string client);

  void connect(const ServerTarget& target);
  void write(std::string bytes);
  void endInput();  // a FIN to the server after what was written
  void resumeReplies();
  // Closes at once; the reason goes to the log.
  void end(std::string_view reason);
  // Ends it if a limit has passed.
  void checkDeadlines(Clock::time_point now, const ConnectionLimits& limits);

  const std::string& client() const { return client_; }
  bool hasEnded() const { return state_ == State::kEnded; }
  bool serverHasEnded() const { return serverEnded_; }  // orderly

 private:
  enum class State { kConnecting, kOpen, kServerClosed, kEnded };

  void onConnected(const boost::system::error_code& error);
  void waitForReply();
  void readReply();
  void writeMore();
  void onWritten(std::size_t bytes);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::ip::tcp::resolver resolver_;
  ConnectionOwner& owner_;
  std::string client_;
  State state_ = State::kConnecting;
  std::deque<std::string> queue_;
  std::size_t frontWritten_ = 0;  // of queue_.front()
  std::size_t waitingBytes_ = 0;
  bool writing_ = false;
  bool inputEnded_ = false;
  bool finSent_ = false;
  bool serverEnded_ = false;
  bool waiting_ = false;  // for something to read
  Clock::time_point lastActive_;
  Clock::time_point lastTaken_;  // the server took bytes, or had none to take
};

}  // namespace ppx::examples
