#include "tests/load/duplex_swarm.h"

#include <algorithm>
#include <random>

namespace ppx::load {
namespace {

constexpr Nanos kSlowTick = 20 * kMillisecond;
constexpr Nanos kLookTick = 5 * kMillisecond;
constexpr std::size_t kPaceTurns = 8;  // paced clients send at each eighth tick

}  // namespace

Result<std::unique_ptr<DuplexSwarm>> DuplexSwarm::connect(const SwarmOptions& options) {
  std::unique_ptr<DuplexSwarm> swarm(new DuplexSwarm(options));
  swarm->clients_.reserve(options.connections);
  for (std::size_t i = 0; i < options.connections; ++i) {
    auto client = swarm->makeClient(i);
    if (!client) {
      return client.error();
    }
    swarm->clients_.push_back(std::move(*client));
  }
  return swarm;
}

Result<DuplexSwarm::Client> DuplexSwarm::makeClient(std::size_t index) {
  const auto address = options_.target.address();
  if (!address) {
    return address.error();
  }
  const auto source = options_.sources == 0 ? 0 : static_cast<unsigned>(1 + index % options_.sources);
  auto fd = startConnect(address.value(), source);
  if (!fd) {
    return fd.error();
  }
  loop_.watch(fd->get(), index);
  const uint64_t seed = options_.seed + made_++;
  Client client{VerifiedConnection(std::move(*fd), seed)};
  if (isBrief(index)) {
    client.end = 1 + std::mt19937_64(seed)() % options_.briefBytes;
  } else if (options_.bytesEach != 0) {
    client.end = options_.bytesEach;
  }
  client.born = nowNanos();
  return client;
}

Result<std::size_t> DuplexSwarm::renewBrief() {
  std::size_t renewed = 0;
  for (std::size_t i = options_.connections - options_.brief; i < options_.connections; ++i) {
    const VerifiedConnection& link = clients_[i].link;
    if (link.state() != LinkState::kEnded || link.received() != clients_[i].end) {
      continue;
    }
    auto client = makeClient(i);
    if (!client) {
      return client.error();
    }
    clients_[i] = std::move(*client);
    ++renewed;
  }
  return renewed;
}

void DuplexSwarm::runFor(Nanos time) {
  run(time, [](const Client&) { return false; });
}

void DuplexSwarm::runWhile(const std::atomic<bool>& going) {
  going_ = &going;
  run(INT64_MAX / 2, [](const Client&) { return false; });
  going_ = nullptr;
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
  const bool anySlow = options_.slowReaders > 0, paced = options_.bytesPerSecond > 0;
  resume(now);
  while (!allDone() && now < deadline && (going_ == nullptr || *going_)) {
    const Nanos until = going_ == nullptr && !paced ? deadline : std::min(deadline, now + kLookTick);
    const auto events = loop_.wait(anySlow ? std::min(until, lastTick_ + kSlowTick) : until);
    now = nowNanos();
    for (const epoll_event& event : events) {
      advance(event.data.u64, event.events, now);
    }
    if (anySlow && now >= lastTick_ + kSlowTick) {
      tickSlowReaders(now);
    }
    if (paced && now >= lastPaceTick_ + kLookTick) {
      tickPaced(now);
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
  // A paced one sends at its tick, not a few bytes at each echo.
  if (options_.bytesPerSecond == 0 || link.offered() == 0) {
    offerMore(index, now);
  }
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

void DuplexSwarm::offerMore(std::size_t index, Nanos now) {
  Client& client = clients_[index];
  VerifiedConnection& link = client.link;
  if (draining_ || link.state() != LinkState::kOpen) {
    return;
  }
  const uint64_t underWay = link.offered() - link.received();
  const uint64_t room = options_.windowBytes > underWay ? options_.windowBytes - underWay : 0;
  link.offer(std::min({room, client.end - link.offered(), allowedBy(client, now)}));
  if ((options_.halfClose || isBrief(index)) && link.offered() == client.end) {
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

uint64_t DuplexSwarm::allowedBy(const Client& client, Nanos now) const {
  if (options_.bytesPerSecond == 0) {
    return UINT64_MAX;
  }
  // One byte at the start: it is the first event, its connection, that begins it.
  const auto age = static_cast<uint64_t>((now - client.born) / kMicrosecond);
  const uint64_t due = std::max<uint64_t>(1, age * options_.bytesPerSecond / 1'000'000);
  return due - std::min(due, client.link.offered());
}

// A part of them at each tick, so that they do not all send at once.
void DuplexSwarm::tickPaced(Nanos now) {
  lastPaceTick_ = now;
  for (std::size_t i = paceTurn_++ % kPaceTurns; i < clients_.size(); i += kPaceTurns) {
    Client& client = clients_[i];
    if (isOver(client) || client.link.offered() == 0) {
      continue;
    }
    offerMore(i, now);
    if (client.quietSince == 0 && !isSlow(i) && client.link.received() < client.link.offered()) {
      client.quietSince = now;
    }
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
    offerMore(i, now);
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
