#include "tests/load/duplex_swarm.h"

#include <algorithm>

namespace ppx::load {
namespace {

constexpr Nanos kSlowTick = 20 * kMillisecond;

}  // namespace

Result<std::unique_ptr<DuplexSwarm>> DuplexSwarm::connect(const SwarmOptions& options) {
  const auto address = options.target.address();
  if (!address) {
    return address.error();
  }
  std::unique_ptr<DuplexSwarm> swarm(new DuplexSwarm(options));
  swarm->clients_.reserve(options.connections);
  for (std::size_t i = 0; i < options.connections; ++i) {
    const auto source = options.sources == 0 ? 0 : static_cast<unsigned>(1 + i % options.sources);
    auto fd = startConnect(address.value(), source);
    if (!fd) {
      return fd.error();
    }
    swarm->loop_.watch(fd->get(), i);
    swarm->clients_.push_back(Client{VerifiedConnection(std::move(*fd), options.seed + i)});
  }
  return swarm;
}

void DuplexSwarm::runFor(Nanos time) {
  run(time, [](const Client&) { return false; });
}

bool DuplexSwarm::runUntilBytes(uint64_t echoedEach, Nanos timeout) {
  return run(timeout, [&](const Client& client) { return client.link.received() >= echoedEach; });
}

bool DuplexSwarm::runUntilEnd(Nanos timeout) {
  return run(timeout, [](const Client&) { return false; });
}

bool DuplexSwarm::drain(Nanos timeout) {
  draining_ = true;
  const bool drained =
      run(timeout, [](const Client& client) { return client.link.received() == client.link.offered(); });
  draining_ = false;
  return drained;
}

bool DuplexSwarm::isOver(const Client& client) {
  return client.link.state() != LinkState::kOpen || client.link.fd() < 0;
}

// Runs until each open client is done. One found done stays so and is not asked again: asking is cheap.
template <typename Done>
bool DuplexSwarm::run(Nanos timeout, const Done& done) {
  Nanos now = nowNanos();
  const Nanos deadline = now + timeout;
  std::size_t firstUndone = 0;
  const auto allDone = [&] {
    while (firstUndone < clients_.size() && (isOver(clients_[firstUndone]) || done(clients_[firstUndone]))) {
      ++firstUndone;
    }
    return firstUndone == clients_.size();
  };
  const bool anySlow = options_.slowReaders > 0;
  resume(now);
  while (!allDone() && now < deadline) {
    const auto events = loop_.wait(anySlow ? std::min(deadline, lastTick_ + kSlowTick) : deadline);
    now = nowNanos();
    for (const epoll_event& event : events) {
      advance(event.data.u64, event.events, now);
    }
    if (anySlow && now >= lastTick_ + kSlowTick) {
      tickSlowReaders(now);
    }
  }
  noteSilence(now);
  return allDone();
}

void DuplexSwarm::advance(std::size_t index, uint32_t events, Nanos now) {
  Client& client = clients_[index];
  if (isOver(client)) {
    return;
  }
  VerifiedConnection& link = client.link;
  const uint64_t before = link.received();
  link.advance(events, isSlow(index) ? client.slowCredit : UINT64_MAX);
  const uint64_t got = link.received() - before;
  offerMore(client);
  if (isSlow(index)) {
    client.slowCredit -= got;
    return;
  }
  if (got > 0 && client.quietSince != 0) {
    longestPause_ = std::max(longestPause_, now - client.quietSince);
  }
  if (isOver(client) || link.received() == link.offered()) {
    client.quietSince = 0;
  } else if (got > 0 || client.quietSince == 0) {
    client.quietSince = now;
  }
}

void DuplexSwarm::offerMore(Client& client) {
  VerifiedConnection& link = client.link;
  if (draining_ || link.state() != LinkState::kOpen) {
    return;
  }
  const uint64_t end = options_.bytesEach == 0 ? UINT64_MAX : options_.bytesEach;
  const uint64_t underWay = link.offered() - link.received();
  const uint64_t room = options_.windowBytes > underWay ? options_.windowBytes - underWay : 0;
  link.offer(std::min(room, end - link.offered()));
  if (options_.halfClose && link.offered() == end) {
    link.finishSending();
  }
}

// Edges of a slow reader's socket come while it has no credit, so it looks again at each tick.
void DuplexSwarm::tickSlowReaders(Nanos now) {
  const auto credit =
      static_cast<uint64_t>((now - lastTick_) * static_cast<Nanos>(options_.slowBytesPerSecond) / kSecond);
  lastTick_ = now;
  for (std::size_t i = 0; i < std::min(options_.slowReaders, clients_.size()); ++i) {
    clients_[i].slowCredit = std::min<uint64_t>(clients_[i].slowCredit + credit, options_.slowBytesPerSecond);
    advance(i, EPOLLRDHUP, now);
  }
}

// The time between two runs is nobody's pause; and clients that stopped sending for a drain begin again.
void DuplexSwarm::resume(Nanos now) {
  lastTick_ = now;
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    // Nothing is offered before the first event: until then it is not connected.
    if (isOver(client) || client.link.offered() == 0) {
      continue;
    }
    offerMore(client);
    const bool underWay = client.link.received() < client.link.offered();
    client.quietSince = underWay && !isSlow(i) ? now : 0;
  }
}

// Those who are still waiting for their bytes when a run ends.
void DuplexSwarm::noteSilence(Nanos now) {
  for (const Client& client : clients_) {
    if (client.quietSince != 0 && !isOver(client)) {
      longestPause_ = std::max(longestPause_, now - client.quietSince);
    }
  }
}

void DuplexSwarm::close(std::size_t index) {
  clients_[index].link.close();
}

SwarmStats DuplexSwarm::stats() const {
  SwarmStats stats;
  stats.longestPause = longestPause_;
  for (const Client& client : clients_) {
    const VerifiedConnection& link = client.link;
    const LinkState state = link.state();
    stats.open += !isOver(client);
    stats.ended += state == LinkState::kEnded;
    stats.reset += state == LinkState::kReset;
    stats.mismatched += state == LinkState::kMismatched;
    const bool fine = state == LinkState::kOpen || state == LinkState::kEnded;
    stats.intact += fine && link.fd() >= 0 && link.received() == link.offered();
    stats.bytesSent += link.sent();
    stats.bytesEchoed += link.received();
    if (!fine && stats.firstProblem.empty()) {
      stats.firstProblem = link.problem();
    }
  }
  return stats;
}

}  // namespace ppx::load
