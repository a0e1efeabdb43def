#include "supervisor/custodian/custodian.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

constexpr size_t kMaxPeers = 160;          // every row, twice over, and the supervisor
constexpr uint64_t kOwnDescriptors = 192;  // set aside: peers, the loop, the table, the log
constexpr std::chrono::milliseconds kAcceptPause{100};

}  // namespace

Custodian::Custodian(boost::asio::io_context& io, std::string runtimeDir, uint64_t descriptorLimit,
                     std::function<void(size_t)> heldChanged)
    : io_(io),
      runtimeDir_(std::move(runtimeDir)),
      heldChanged_(std::move(heldChanged)),
      listener_(io),
      acceptTimer_(io) {
  store_.setCapacity(descriptorLimit > kOwnDescriptors ? descriptorLimit - kOwnDescriptors : 0);
}

Custodian::~Custodian() {
  for (auto& peer : peers_) peer->close();
}

Status Custodian::listen() {
  auto socket = listenSeqpacket(runtimeDir_ + "/" + custody::kSocketName, kMaxPeers);
  if (!socket) return socket.error();
  listener_.assign(socket->release());
  waitForPeers();
  return Done{};
}

void Custodian::waitForPeers() {
  listener_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         acceptPeers();
                         if (peers_.size() < kMaxPeers) return waitForPeers();
                         acceptTimer_.expires_after(kAcceptPause);
                         acceptTimer_.async_wait([this](const boost::system::error_code& stopped) {
                           if (!stopped) waitForPeers();
                         });
                       });
}

void Custodian::acceptPeers() {
  while (peers_.size() < kMaxPeers) {
    auto socket = acceptSeqpacket(listener_.native_handle());
    if (!socket) {
      if (socket.error().code == ECONNABORTED || socket.error().code == EINTR) continue;
      if (socket.error().code != EAGAIN) spdlog::warn("accepting a peer: {}", socket.error().text);
      return;
    }
    addPeer(std::move(*socket));
  }
}

void Custodian::addPeer(UniqueFd socket) {
  auto credentials = peerCredentials(socket.get());
  if (!credentials || (credentials->uid != 0 && credentials->uid != ::geteuid())) {
    spdlog::warn("a process of another user dialled the custodian and was refused");
    return;
  }
  peers_.push_back(std::make_shared<CustodyPeer>(io_, std::move(socket), store_, peerHandlers()));
  peers_.back()->start();
}

CustodyPeer::Handlers Custodian::peerHandlers() {
  CustodyPeer::Handlers handlers;
  handlers.fetch = [this](CustodyPeer& peer, std::vector<custody::Record> records, WorkerId after) {
    onFetch(peer, std::move(records), after);
  };
  handlers.changed = [this] { heldChanged_(store_.held()); };
  handlers.ended = [this](CustodyPeer& peer) { onEnded(peer); };
  return handlers;
}

Succession Custodian::handOn() {
  Succession out;
  out.listener = listener_.native_handle();
  out.held = store_.handOn();
  for (const auto& peer : peers_) out.peers.push_back(peer->handOn());
  for (const WaitingFetch& fetch : fetches_) {
    auto place = std::find_if(peers_.begin(), peers_.end(),
                              [&](const auto& peer) { return peer.get() == fetch.peer; });
    out.fetches.push_back({static_cast<uint32_t>(place - peers_.begin()), fetch.records, fetch.after});
  }
  return out;
}

void Custodian::succeed(const Succession& before) {
  store_.restore(before.held);
  for (const Succession::Peer& each : before.peers)
    peers_.push_back(std::make_shared<CustodyPeer>(io_, each, store_, peerHandlers()));
  for (const Succession::Fetch& each : before.fetches) {
    peers_[each.peer]->adoptFetch();
    fetches_.push_back({peers_[each.peer].get(), each.records, each.after});
  }
  listener_.assign(before.listener);
  waitForPeers();
  for (const auto& peer : std::vector(peers_)) peer->start();
  if (!fetches_.empty()) serveSoon();
}

void Custodian::onFetch(CustodyPeer& peer, std::vector<custody::Record> records, WorkerId after) {
  fetches_.push_back({&peer, std::move(records), after});
  serveSoon();
}

void Custodian::onEnded(CustodyPeer& peer) {
  std::erase_if(fetches_, [&](const WaitingFetch& fetch) { return fetch.peer == &peer; });
  std::erase_if(peers_, [&](const std::shared_ptr<CustodyPeer>& each) { return each.get() == &peer; });
  if (!fetches_.empty()) serveSoon();
}

void Custodian::serveSoon() {
  if (servePosted_) return;
  servePosted_ = true;
  boost::asio::post(io_, [this] {
    servePosted_ = false;
    serveFetches();
  });
}

bool Custodian::stillTalks(const WorkerId& worker, const CustodyPeer& asker) const {
  return std::any_of(peers_.begin(), peers_.end(), [&](const std::shared_ptr<CustodyPeer>& peer) {
    return peer.get() != &asker && peer->introduced() && peer->worker() == worker;
  });
}

// The dead worker's channel may still wait to be accepted, or its Hello to be read: looked at first, so that
// after that a channel of its is known, or there is none any more.
void Custodian::serveFetches() {
  acceptPeers();
  auto peers = peers_;
  for (auto& peer : peers)
    if (!peer->introduced()) peer->receive();
  for (size_t i = 0; i < fetches_.size();) {
    WaitingFetch& fetch = fetches_[i];
    if (fetch.after.incarnation != 0 && stillTalks(fetch.after, *fetch.peer)) {
      ++i;
      continue;
    }
    WaitingFetch ready = std::move(fetch);
    fetches_.erase(fetches_.begin() + static_cast<std::ptrdiff_t>(i));
    ready.peer->answerFetch(std::move(ready.records));
  }
}

}  // namespace ppx
