#include "examples/bridge/server_connection.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <utility>
#include <vector>

#include "examples/common/log.h"

namespace ppx::examples {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 64 * 1024;  // a payload's size; one thread, so one buffer for all
constexpr std::size_t kGather = 16;

std::array<char, kReadBytes>& sharedBuffer() {
  static std::array<char, kReadBytes> buffer;
  return buffer;
}

}  // namespace

ServerConnection::ServerConnection(asio::io_context& io, ConnectionOwner& owner, std::string client)
    : socket_(io),
      resolver_(io),
      owner_(owner),
      client_(std::move(client)),
      lastActive_(Clock::now()),
      lastTaken_(lastActive_) {}

void ServerConnection::connect(const ServerTarget& target) {
  const auto onResult = [self = shared_from_this()](const error_code& error, const auto&) {
    self->onConnected(error);
  };
  resolver_.async_resolve(
      target.host, target.port,
      [self = shared_from_this(), onResult](const error_code& error, const auto& endpoints) {
        if (self->hasEnded()) {
          return;
        }
        if (error) {
          self->end("cannot resolve the server: " + error.message());
          return;
        }
        asio::async_connect(self->socket_, endpoints, onResult);
      });
}

void ServerConnection::onConnected(const error_code& error) {
  if (hasEnded()) {
    return;
  }
  if (error) {
    end("cannot connect to the server: " + error.message());
    return;
  }
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  socket_.non_blocking(true, ignored);
  state_ = State::kOpen;
  lastTaken_ = Clock::now();
  waitForReply();
  writeMore();
}

void ServerConnection::write(std::string bytes) {
  if (hasEnded() || bytes.empty()) {
    return;
  }
  lastActive_ = Clock::now();
  if (queue_.empty()) {
    lastTaken_ = lastActive_;
  }
  waitingBytes_ += bytes.size();
  queue_.push_back(std::move(bytes));
  writeMore();
}

void ServerConnection::endInput() {
  inputEnded_ = true;
  lastActive_ = Clock::now();
  writeMore();
}

void ServerConnection::writeMore() {
  if (writing_ || (state_ != State::kOpen && state_ != State::kServerClosed)) {
    return;
  }
  if (queue_.empty()) {
    if (inputEnded_ && !finSent_) {
      finSent_ = true;
      error_code ignored;
      socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    }
    return;
  }
  std::vector<asio::const_buffer> pieces;
  for (std::size_t i = 0; i < queue_.size() && i < kGather; ++i) {
    pieces.emplace_back(asio::buffer(queue_[i]));
  }
  pieces.front() += frontWritten_;
  writing_ = true;
  socket_.async_write_some(pieces, [self = shared_from_this()](const error_code& error, std::size_t bytes) {
    self->writing_ = false;
    if (self->hasEnded()) {
      return;
    }
    if (error) {
      self->end("the server takes no more: " + error.message());
      return;
    }
    self->onWritten(bytes);
    self->writeMore();
  });
}

void ServerConnection::onWritten(std::size_t bytes) {
  lastActive_ = lastTaken_ = Clock::now();
  waitingBytes_ -= bytes;
  frontWritten_ += bytes;
  while (!queue_.empty() && frontWritten_ >= queue_.front().size()) {
    frontWritten_ -= queue_.front().size();
    queue_.pop_front();
  }
  owner_.onTaken(*this, bytes);
}

void ServerConnection::waitForReply() {
  if (waiting_ || state_ != State::kOpen) {
    return;
  }
  waiting_ = true;
  socket_.async_wait(asio::socket_base::wait_read, [self = shared_from_this()](const error_code& error) {
    self->waiting_ = false;
    if (!error) {
      self->readReply();
    }
  });
}

void ServerConnection::resumeReplies() {
  readReply();
}

void ServerConnection::readReply() {
  if (state_ != State::kOpen || !owner_.mayReply(*this)) {
    return;
  }
  error_code error;
  auto& buffer = sharedBuffer();
  const std::size_t got = socket_.read_some(asio::buffer(buffer), error);
  if (got > 0) {
    lastActive_ = Clock::now();
    owner_.onReply(*this, {buffer.data(), got});
  } else if (error == asio::error::eof) {
    log("client {}: the server has said its last", client_);
    state_ = State::kServerClosed;
    serverEnded_ = true;
    owner_.onServerEnd(*this);
    return;
  } else if (error && error != asio::error::would_block) {
    end("the server broke off: " + error.message());
    return;
  }
  waitForReply();
}

void ServerConnection::end(std::string_view reason) {
  if (hasEnded()) {
    return;
  }
  log("client {}: {}; {} bytes dropped", client_, reason, waitingBytes_);
  state_ = State::kEnded;
  error_code ignored;
  socket_.close(ignored);
  resolver_.cancel();
  // A write in flight has its bytes in the queue's strings, but a closed socket reads them no more.
  queue_.clear();
  owner_.onTaken(*this, std::exchange(waitingBytes_, 0));
  owner_.onEnded(*this);
}

void ServerConnection::checkDeadlines(Clock::time_point now, const ConnectionLimits& limits) {
  if (state_ == State::kConnecting && now - lastTaken_ > limits.connectTimeout) {
    end("the server does not answer");
  } else if (waitingBytes_ > 0 && state_ != State::kConnecting && now - lastTaken_ > limits.stallTimeout) {
    end("the server takes no bytes for too long");
  } else if (state_ == State::kServerClosed && now - lastActive_ > limits.halfCloseTimeout) {
    end("the server has closed");
  }
}

}  // namespace ppx::examples
