#include "examples/bridge/bridge.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <utility>

#include "examples/common/log.h"
#include "examples/common/time_text.h"

namespace ppx::examples {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSweepEvery{250};
// What an ended stream carried is with the gateway by then.
constexpr milliseconds kSettle{100};

}  // namespace

Bridge::Bridge(BridgeOptions options) : options_(std::move(options)), sweepTimer_(io_), settleTimer_(io_) {}

void Bridge::run() {
  const auto guard = boost::asio::make_work_guard(io_);
  sweep();
  io_.run();
}

void Bridge::stop() {
  io_.stop();
}

void Bridge::onOpened(const StreamPtr& stream) {
  streams_.push_back(stream);
  resumeReplies();
}

void Bridge::onPayload(const StreamPtr& stream, const std::string& id, std::string payload) {
  Client* client = findOrOpen(id);
  if (client != nullptr && !client->connection->hasEnded()) {
    client->input = stream;
    client->connection->write(std::move(payload));
    count(*client);
    if (silenced_.erase(id) > 0) {
      client->connection->resumeReplies();
    }
  }
  if (mustPause(id)) {
    paused_.push_back({stream, id});
  } else {
    stream->resumeReading();
  }
}

Bridge::Client* Bridge::findOrOpen(const std::string& id) {
  const auto found = clients_.find(id);
  if (found != clients_.end()) {
    return &found->second;
  }
  if (!makeRoom()) {
    return nullptr;
  }
  Client& client = clients_[id];
  client.connection = std::make_shared<ServerConnection>(io_, *this, id);
  client.connection->connect(options_.server);
  return &client;
}

// A name in ended_ may be out of date: forgotten since, and perhaps come again.
bool Bridge::isEnded(const std::string& id) const {
  const auto found = clients_.find(id);
  return found != clients_.end() && found->second.connection->hasEnded();
}

bool Bridge::makeRoom() {
  while (clients_.size() >= options_.maxClients && !ended_.empty()) {
    if (isEnded(ended_.front())) {
      clients_.erase(ended_.front());
    }
    ended_.pop_front();
  }
  if (clients_.size() < options_.maxClients) {
    return true;
  }
  const auto now = Clock::now();
  if (now - lastFullLog_ > std::chrono::seconds(1)) {
    lastFullLog_ = now;
    log("no more than {} clients: bytes of others are dropped", options_.maxClients);
  }
  return false;
}

void Bridge::onInputEnd(const StreamPtr& stream) {
  std::erase(streams_, stream);
  stream->life = BridgeStream::Life::kEnding;
  stream->finish();
}

void Bridge::onGone(const StreamPtr& stream) {
  std::erase(streams_, stream);
  std::erase_if(paused_, [&](const Paused& paused) { return paused.stream == stream; });
  stream->life = BridgeStream::Life::kGone;
  stream->goneAt = Clock::now();
  resumeReplies();
  settleTimer_.expires_after(kSettle);
  settleTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) {
      resumeReplies();
    }
  });
}

void Bridge::count(Client& client) {
  waitingBytes_ += client.connection->waitingBytes() - client.counted;
  client.counted = client.connection->waitingBytes();
}

bool Bridge::mustPause(const std::string& id) {
  const auto found = clients_.find(id);
  return waitingBytes_ >= options_.totalBuffer ||
         (found != clients_.end() && found->second.counted >= options_.clientBuffer);
}

void Bridge::onProgress(ServerConnection& connection) {
  const auto found = clients_.find(connection.client());
  if (found == clients_.end()) {
    return;
  }
  count(found->second);
  if (connection.hasEnded()) {
    found->second.input.reset();
    found->second.reply.reset();
    silenced_.erase(connection.client());
    ended_.push_back(connection.client());
  }
  resumeStreams();
}

void Bridge::resumeStreams() {
  std::erase_if(paused_, [this](const Paused& paused) {
    if (mustPause(paused.client)) {
      return false;
    }
    paused.stream->resumeReading();
    return true;
  });
}

Bridge::StreamPtr Bridge::streamFor(Client& client) {
  using Life = BridgeStream::Life;
  const bool hasOwn = client.input != nullptr && client.input->life == Life::kOpen;
  if (!hasOwn && streams_.empty()) {
    return nullptr;
  }
  if (client.reply != nullptr && client.reply->life != Life::kOpen) {
    // The gateway moves a client only after its old stream has ended, so a payload by a new one is proof
    // enough.
    const bool isGone = client.reply->life == Life::kGone;
    const bool isSettled = isGone && (hasOwn || Clock::now() - client.reply->goneAt >= kSettle);
    if (!isSettled) {
      return nullptr;
    }
  }
  return hasOwn ? client.input : streams_[turn_++ % streams_.size()];
}

bool Bridge::mayReply(ServerConnection& connection) {
  Client& client = clients_.at(connection.client());
  StreamPtr stream = streamFor(client);
  if (stream == nullptr || stream->isCongested()) {
    silenced_.insert(connection.client());
    return false;
  }
  client.reply = std::move(stream);
  return true;
}

void Bridge::onReply(ServerConnection& connection, std::string_view bytes) {
  OutputMessage reply;
  reply.set_time(std::string(timeText()));
  reply.set_client_uuid(connection.client());
  reply.set_payload(bytes.data(), bytes.size());
  if (!clients_.at(connection.client()).reply->send(std::move(reply), bytes.size())) {
    log("client {}: {} bytes of the server lost with a broken stream", connection.client(), bytes.size());
  }
}

void Bridge::resumeReplies() {
  for (const std::string& id : std::exchange(silenced_, {})) {
    const auto found = clients_.find(id);
    if (found != clients_.end()) {
      found->second.connection->resumeReplies();
    }
  }
}

void Bridge::sweep() {
  const auto now = Clock::now();
  std::vector<std::shared_ptr<ServerConnection>> connections;
  connections.reserve(clients_.size());
  for (const auto& [id, client] : clients_) {
    connections.push_back(client.connection);
  }
  for (const auto& connection : connections) {
    connection->checkDeadlines(now, options_.connection);
    if (now - connection->lastActive() > options_.idleTimeout) {
      connection->end("silent for too long");
      clients_.erase(connection->client());
    }
  }
  while (!ended_.empty() && !isEnded(ended_.front())) {
    ended_.pop_front();
  }
  sweepTimer_.expires_after(kSweepEvery);
  sweepTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) {
      sweep();
    }
  });
}

}  // namespace ppx::examples
