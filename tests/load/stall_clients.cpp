#include "tests/load/stall_clients.h"

#include <algorithm>

namespace ppx::load {

Result<std::unique_ptr<StallClients>> StallClients::connect(const StallOptions& options) {
  std::unique_ptr<StallClients> self(new StallClients(options));
  auto clients = Clients::make(self->options_.load);
  if (!clients) return clients.error();
  self->clients_ = std::move(*clients);
  if (const auto started = self->clients_->startAll(); !started) return started.error();
  self->due_.resize(options.load.connections);
  self->longest_.resize(options.active);
  return self;
}

bool StallClients::exchangeAll(Nanos timeout) {
  const Nanos now = nowNanos();
  for (std::size_t i = 0; i < clients_->size(); ++i)
    if ((*clients_)[i].fd() >= 0) send(i, now);
  return run(now + timeout, false, [this] { return underWay_ == 0; });
}

void StallClients::runFor(Nanos time) {
  const Nanos now = nowNanos();
  // It goes on from now: what was due while nobody ran was not kept waiting by the server.
  const Nanos apart = options_.every / static_cast<Nanos>(options_.active);
  const Nanos due = start_ + static_cast<Nanos>(next_) * apart;
  if (due + options_.every < now) start_ += now - due;
  run(now + time, true, [] { return false; });
}

bool StallClients::drain(Nanos timeout) {
  return run(nowNanos() + timeout, false, [this] { return underWay_ == 0; });
}

template <typename Done>
bool StallClients::run(Nanos until, bool sends, const Done& done) {
  const Nanos apart = options_.every / static_cast<Nanos>(options_.active);
  for (Nanos now = nowNanos(); !done() && now < until; now = nowNanos()) {
    if (sends) sendWhatIsDue(now);
    const Nanos next = start_ + static_cast<Nanos>(next_) * apart;
    for (const epoll_event& event : clients_->wait(sends ? std::min(until, next) : until))
      advance(event.data.u64, event.events);
  }
  return done();
}

void StallClients::sendWhatIsDue(Nanos now) {
  const Nanos apart = options_.every / static_cast<Nanos>(options_.active);
  for (;; ++next_) {
    const Nanos due = start_ + static_cast<Nanos>(next_) * apart;
    if (due > now) return;
    const std::size_t index = next_ % options_.active;
    if ((*clients_)[index].fd() >= 0) send(index, due);
  }
}

void StallClients::send(std::size_t index, Nanos due) {
  due_[index].push_back(due);
  ++underWay_;
  (*clients_)[index].offer(options_.load.messageBytes);
}

void StallClients::advance(std::size_t index, uint32_t events) {
  VerifiedConnection& link = (*clients_)[index];
  if (link.fd() < 0) return;
  const uint64_t before = link.received() / options_.load.messageBytes;
  link.advance(events);
  const Nanos now = nowNanos();
  for (uint64_t i = before; i < link.received() / options_.load.messageBytes; ++i) {
    if (index < longest_.size()) longest_[index] = std::max(longest_[index], now - due_[index].front());
    due_[index].pop_front();
    --underWay_;
  }
  if (link.state() != LinkState::kOpen) {
    underWay_ -= due_[index].size();
    clients_->giveUp(index, result_);
  }
}

Histogram StallClients::takeStalls() {
  Histogram stalls;
  const Nanos now = nowNanos();
  for (std::size_t i = 0; i < longest_.size(); ++i) {
    const Nanos waiting = due_[i].empty() ? 0 : now - due_[i].front();
    stalls.record(std::max(longest_[i], waiting));
    longest_[i] = 0;
  }
  return stalls;
}

}  // namespace ppx::load
