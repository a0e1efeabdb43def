#include "common/custody_connection.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

using boost::asio::posix::stream_descriptor;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr int kMessagesATurn = 32;
constexpr milliseconds kFirstRedial{10};
constexpr milliseconds kLastRedial{1000};
constexpr milliseconds kRetry{10};  // the kernel's limit of descriptors under way, or our own of open ones

}  // namespace

CustodyConnection::CustodyConnection(boost::asio::io_context& io, std::string path, WorkerId self,
                                     Handlers handlers)
    : io_(io),
      path_(std::move(path)),
      self_(self),
      handlers_(std::move(handlers)),
      channel_(io),
      redialTimer_(io),
      retryTimer_(io),
      redialDelay_(kFirstRedial) {}

void CustodyConnection::dial() {
  if (stopped_ || up_) return;
  auto socket = dialSeqpacket(path_);
  if (!socket) return redialLater();
  channel_.assign(socket->release());
  ++dials_;
  if (!sendMessage(channel_.native_handle(), custody::Message(custody::Type::kHello, {}, self_).wire())) {
    error_code ignored;
    channel_.close(ignored);
    return redialLater();
  }
  up_ = true;
  redialDelay_ = kFirstRedial;
  redialTimer_.cancel();
  waitReadable();
  handlers_.up();
}

void CustodyConnection::stop() {
  error_code ignored;
  stopped_ = true;
  up_ = false;
  channel_.close(ignored);
  redialTimer_.cancel();
  retryTimer_.cancel();
}

void CustodyConnection::redialLater() {
  redialTimer_.expires_after(redialDelay_);
  redialDelay_ = std::min(redialDelay_ * 2, kLastRedial);
  redialTimer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->dial();
  });
}

void CustodyConnection::broken() {
  if (!up_ || stopped_) return;
  error_code ignored;
  channel_.close(ignored);
  up_ = false;
  waitingWritable_ = false;
  redialLater();
  handlers_.down();
}

// From inside a call of the user's: its handlers are called later.
void CustodyConnection::breakSoon() {
  boost::asio::post(io_, [self = shared_from_this(), dial = dials_] {
    if (dial == self->dials_) self->broken();
  });
}

void CustodyConnection::waitReadable() {
  channel_.async_wait(stream_descriptor::wait_read,
                      [self = shared_from_this(), dial = dials_](const error_code& error) {
                        if (!error && dial == self->dials_ && self->up_) self->receive();
                      });
}

void CustodyConnection::waitWritable() {
  if (waitingWritable_) return;
  waitingWritable_ = true;
  channel_.async_wait(stream_descriptor::wait_write,
                      [self = shared_from_this(), dial = dials_](const error_code& error) {
                        if (error || dial != self->dials_ || !self->up_) return;
                        self->waitingWritable_ = false;
                        self->handlers_.room();
                      });
}

void CustodyConnection::retryLater() {
  if (retrying_) return;
  retrying_ = true;
  retryTimer_.expires_after(kRetry);
  retryTimer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error || self->stopped_) return;
    self->retrying_ = false;
    if (self->up_) self->handlers_.room();
  });
}

void CustodyConnection::receive() {
  for (int i = 0; i < kMessagesATurn; ++i) {
    auto message = receiveMessage(channel_.native_handle(), incoming_.buffer());
    if (!message) {
      if (message.error().code == EAGAIN) break;
      return broken();
    }
    if (message->bytes == 0) return broken();
    const uint64_t dial = dials_;
    const Verdict verdict = incoming_.wellFormed(message->bytes)
                                ? handlers_.message(incoming_, std::move(message->descriptors))
                                : Verdict::kUnreadable;
    if (!up_ || dial != dials_) return;  // a handler stopped us
    if (verdict == Verdict::kUnreadable) {
      spdlog::warn("the custodian sent what cannot be read; dialling again");
      return broken();
    }
    if (verdict == Verdict::kEnough) break;
  }
  waitReadable();
}

bool CustodyConnection::send(const custody::Message& message, std::span<const int> descriptors) {
  if (!takesMore()) return false;
  Status sent = sendMessage(channel_.native_handle(), message.wire(), descriptors);
  if (sent) return true;
  if (sent.error().code == EAGAIN)
    waitWritable();
  else if (sent.error().code == ETOOMANYREFS)
    retryLater();
  else
    breakSoon();
  return false;
}

}  // namespace ppx
