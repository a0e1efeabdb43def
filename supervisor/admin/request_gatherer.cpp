#include "supervisor/admin/request_gatherer.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace ppx {
namespace {

constexpr int kAcceptsAtOnce = 64;
constexpr Millis kAcceptPauseMs = 100;

}  // namespace

void RequestGatherer::start(UniqueFd listener, SSL_CTX* tls, int stopBell, Handlers handlers) {
  listener_ = std::move(listener);
  tls_ = tls;
  stopBell_ = stopBell;
  handlers_ = std::move(handlers);
  thread_ = std::thread([this] { run(); });
}

void RequestGatherer::stop() {
  if (!thread_.joinable()) return;
  thread_.join();
  waiting_.clear();
  listener_.reset();
}

void RequestGatherer::run() {
  while (!stopping_) wait();
}

void RequestGatherer::wait() {
  Millis now = monotonicMillis();
  bool accepting = now >= acceptAgainAt_;
  std::vector<pollfd> polled{{stopBell_, POLLIN, 0}, {accepting ? listener_.get() : -1, POLLIN, 0}};
  for (const auto& connection : waiting_)
    polled.push_back({connection->socket(), connection->wantedEvents(), 0});
  Millis until = waiting_.empty() ? now + 60'000 : waiting_.front()->headDeadline();
  if (!accepting) until = std::min(until, acceptAgainAt_);
  if (::poll(polled.data(), polled.size(), static_cast<int>(std::max<Millis>(until - now, 0) + 1)) < 0)
    return;
  stopping_ = polled[0].revents != 0;
  if (stopping_) return;
  // From the back: what is handed on leaves the places before it alone.
  for (size_t i = waiting_.size(); i-- > 0;)
    if (polled[i + 2].revents != 0) advance(i);
  expire();
  if (polled[1].revents != 0) acceptSome();
}

void RequestGatherer::acceptSome() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      // Out of descriptors or memory: the client stays in the backlog for a while.
      acceptAgainAt_ = monotonicMillis() + kAcceptPauseMs;
      return;
    }
    if (waiting_.size() >= kMaxWaiting) waiting_.erase(waiting_.begin());
    waiting_.push_back(std::make_unique<HttpConnection>(std::move(client), tls_, stopBell_));
    advance(waiting_.size() - 1);
  }
}

void RequestGatherer::advance(size_t index) {
  switch (waiting_[index]->gather()) {
    case HttpConnection::Head::kWanted:
      return;
    case HttpConnection::Head::kWhole:
      return handlers_.whole(take(index));
    case HttpConnection::Head::kTooLarge:
      return handlers_.tooLarge(take(index));
    case HttpConnection::Head::kBroken:
      take(index);
      return;
  }
}

void RequestGatherer::expire() {
  Millis now = monotonicMillis();
  while (!waiting_.empty() && waiting_.front()->headDeadline() <= now) handlers_.tooSlow(take(0));
}

std::unique_ptr<HttpConnection> RequestGatherer::take(size_t index) {
  std::unique_ptr<HttpConnection> connection = std::move(waiting_[index]);
  waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(index));
  return connection;
}

}  // namespace ppx
