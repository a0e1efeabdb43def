#include "examples/bridge/bridge.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "examples/common/log.h"

namespace ppx::examples {
namespace {

using paradox::upstream::CloseMode;
using std::chrono::milliseconds;

constexpr milliseconds kSweepEvery{250};

paradox::upstream::Options libraryOptions(const BridgeOptions& options) {
  paradox::upstream::Options library;
  library.inputBytes = options.clientBuffer;
  library.plainIdleTimeout = options.idleTimeout;
  return library;
}

}  // namespace

Bridge::Bridge(BridgeOptions options)
    : options_(std::move(options)), sweepTimer_(io_), upstream_(*this, libraryOptions(options_)) {}

void Bridge::run() {
  const auto guard = boost::asio::make_work_guard(io_);
  sweep();
  io_.run();
}

void Bridge::stop() {
  io_.stop();
}

// --- the library's thread ---

void Bridge::onOpened(const std::string& client, const paradox::upstream::Opened& opened) {
  boost::asio::post(io_, [this, client, continued = opened.continued] { open(client, continued); });
}

// Dealt with once the server has taken them.
bool Bridge::onBytes(const std::string& client, std::string_view bytes, uint64_t) {
  boost::asio::post(io_,
                    [this, client, text = std::string(bytes)]() mutable { take(client, std::move(text)); });
  return false;
}

void Bridge::onEnd(const std::string& client) {
  boost::asio::post(io_, [this, client] {
    if (ServerConnection* connection = find(client)) connection->endInput();
  });
}

void Bridge::onClosed(const std::string& client, const std::string& reason) {
  boost::asio::post(io_, [this, client, reason] {
    const auto found = clients_.find(client);
    if (found == clients_.end()) return;
    const auto connection = found->second;
    clients_.erase(found);
    silenced_.erase(client);
    connection->end("the client is gone: " + reason);
  });
}

void Bridge::onRoom() {
  boost::asio::post(io_, [this] { resumeReplies(); });
}

// --- the bridge's thread ---

void Bridge::open(const std::string& client, bool continued) {
  if (continued) {
    log("client {}: its conversation began with another bridge", client);
    upstream_.close(client, CloseMode::kNow);
    return;
  }
  if (!makeRoom()) {
    upstream_.close(client, CloseMode::kNow);
    return;
  }
  auto connection = std::make_shared<ServerConnection>(io_, *this, client);
  clients_[client] = connection;
  connection->connect(options_.server);
}

void Bridge::take(const std::string& client, std::string bytes) {
  const std::size_t count = bytes.size();
  ServerConnection* connection = find(client);
  if (connection != nullptr && !connection->hasEnded())
    connection->write(std::move(bytes));
  else
    upstream_.handled(client, count);
}

ServerConnection* Bridge::find(const std::string& client) const {
  const auto found = clients_.find(client);
  return found == clients_.end() ? nullptr : found->second.get();
}

// A name in ended_ may be out of date: forgotten since.
bool Bridge::makeRoom() {
  while (clients_.size() >= options_.maxClients && !ended_.empty()) {
    const ServerConnection* oldest = find(ended_.front());
    if (oldest != nullptr && oldest->hasEnded()) clients_.erase(ended_.front());
    ended_.pop_front();
  }
  if (clients_.size() < options_.maxClients) return true;
  const auto now = Clock::now();
  if (now - lastFullLog_ > std::chrono::seconds(1)) {
    lastFullLog_ = now;
    log("no more than {} clients: others are turned away", options_.maxClients);
  }
  return false;
}

bool Bridge::mayReply(ServerConnection& connection) {
  if (!upstream_.isFull(connection.client())) return true;
  silenced_.insert(connection.client());
  return false;
}

void Bridge::onReply(ServerConnection& connection, std::string_view bytes) {
  if (!upstream_.send(connection.client(), bytes))
    log("client {}: {} bytes of the server have nobody to go to", connection.client(), bytes.size());
}

void Bridge::resumeReplies() {
  for (const std::string& client : std::exchange(silenced_, {}))
    if (ServerConnection* connection = find(client)) connection->resumeReplies();
}

void Bridge::onTaken(ServerConnection& connection, std::size_t bytes) {
  upstream_.handled(connection.client(), bytes);
}

// The plain contract cannot close a client: then the server may still be sent what comes.
void Bridge::onServerEnd(ServerConnection& connection) {
  upstream_.close(connection.client(), CloseMode::kFlush);
}

void Bridge::onEnded(ServerConnection& connection) {
  if (find(connection.client()) != &connection) return;  // it was the client that left
  silenced_.erase(connection.client());
  ended_.push_back(connection.client());
  if (!connection.serverHasEnded()) upstream_.close(connection.client(), CloseMode::kNow);
}

void Bridge::sweep() {
  const auto now = Clock::now();
  std::vector<std::shared_ptr<ServerConnection>> connections;
  connections.reserve(clients_.size());
  for (const auto& [id, connection] : clients_) connections.push_back(connection);
  for (const auto& connection : connections) connection->checkDeadlines(now, options_.connection);
  while (!ended_.empty()) {
    const ServerConnection* oldest = find(ended_.front());
    if (oldest != nullptr && oldest->hasEnded()) break;
    ended_.pop_front();
  }
  sweepTimer_.expires_after(kSweepEvery);
  sweepTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) sweep();
  });
}

}  // namespace ppx::examples
