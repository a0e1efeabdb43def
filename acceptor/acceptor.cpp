#include "acceptor/acceptor.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/witness.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kFirstResourcePause{10};
constexpr milliseconds kLastResourcePause{1000};
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

Acceptor::Acceptor(boost::asio::io_context& io, const std::string& runtimeDir, WorkerId self, Table& table,
                   Doorbells& doorbells)
    : io_(io),
      self_(self),
      table_(table),
      doorbells_(doorbells),
      figures_(table.worker(self.row)),
      sessions_(table),
      admission_(table, doorbells, self),
      custody_(io, runtimeDir, self,
               {.connected =
                    [this](bool up) {
                      if (up) putAgain();
                      progress();
                    },
                .drained = [this] { progress(); },
                .putDone = [this](std::span<const custody::Record> records) { onPutDone(records); },
                .dropDone = {},
                .give = {},
                .missing = {},
                .listed = {}}),
      handoff_(io, runtimeDir, table, self, [this] { progress(); }),
      doorbell_(io, ::dup(doorbells.descriptor(self.row))),
      resourceTimer_(io),
      resourceDelay_(kFirstResourcePause),
      stopTimer_(io) {
  custody_.start();
  handoff_.dialReady();
  waitForDoorbell();
}

Acceptor::~Acceptor() = default;

void Acceptor::setListeners(std::vector<UniqueFd> sockets, const std::vector<uint8_t>& rows) {
  closeListeners();
  if ((paused_ & kStopping) != 0) return;
  for (size_t i = 0; i < sockets.size(); ++i) {
    if (rows[i] >= kMaxListeners || !isPlainTcp(sockets[i].get())) {
      spdlog::error("the listener of row {} is not plain TCP and is not served", rows[i]);
      continue;
    }
    listeners_.push_back(std::make_shared<Listener>(io_, sockets[i].release(), rows[i]));
    if (paused_ == 0) arm(listeners_.back());
  }
}

// What waits on one holds it: closed by name.
void Acceptor::closeListeners() {
  boost::system::error_code ignored;
  for (auto& listener : listeners_) listener->descriptor.close(ignored);
  listeners_.clear();
}

void Acceptor::peersChanged() {
  custody_.start();
  handoff_.dialReady();
}

void Acceptor::stop(milliseconds deadline, std::function<void()> left) {
  pause(kStopping);
  closeListeners();
  left_ = std::move(left);
  stopTimer_.expires_after(deadline);
  stopTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) left_();
  });
  progress();
}

void Acceptor::resume(uint32_t reasons) {
  paused_ &= ~reasons;
  if (paused_ != 0) return;
  for (auto& listener : listeners_) arm(listener);
}

void Acceptor::arm(const std::shared_ptr<Listener>& listener) {
  if (listener->waiting || !listener->descriptor.is_open()) return;
  listener->waiting = true;
  listener->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                  [this, listener](const boost::system::error_code& error) {
                                    listener->waiting = false;
                                    if (!error && listener->descriptor.is_open()) onReadable(listener);
                                  });
}

bool Acceptor::mayAccept() {
  if (!custody_.canPut(kAcceptsATurn)) pause(kCustody);
  if (!handoff_.hasRoom()) pause(kForwarders);
  return paused_ == 0;
}

void Acceptor::onReadable(const std::shared_ptr<Listener>& listener) {
  if (!mayAccept()) return;  // resume() arms it again
  Turn turn = Turn::kGoOn;
  for (int i = 0; i < kAcceptsATurn && turn == Turn::kGoOn; ++i) turn = acceptOne(*listener);
  progress();
  if (paused_ == 0) arm(listener);
}

// The slot is claimed first: whom we could not let in stays in the backlog.
Acceptor::Turn Acceptor::acceptOne(Listener& listener) {
  auto ref = admission_.claim();
  if (!ref) return onFull(listener);
  failpoint("acceptor.claimed");
  auto client = acceptClient(listener.descriptor.native_handle());
  if (!client) {
    admission_.giveBack(*ref);
    return onAcceptError(listener, client.error());
  }
  resourceDelay_ = kFirstResourcePause;
  failpoint("acceptor.accepted");
  figures_.accepted.fetch_add(1, kRelaxed);
  admit(listener, *ref, std::move(*client));
  return Turn::kGoOn;
}

Acceptor::Turn Acceptor::onFull(Listener& listener) {
  if (!admission_.refusesWhenFull()) {
    admission_.askForSlot();
    auto ref = admission_.claim();  // one released before we asked would wake nobody
    if (ref) {
      admission_.giveBack(*ref);
      return Turn::kGoOn;
    }
    pause(kFull);
    return Turn::kOver;
  }
  auto client = acceptClient(listener.descriptor.native_handle());
  if (!client) return onAcceptError(listener, client.error());
  figures_.accepted.fetch_add(1, kRelaxed);
  countRefused();  // first: who sees the reset finds it counted
  resetClient(std::move(client->socket));
  if (auto count = refusedLog_.due()) spdlog::warn("{} clients refused: no session slot is free", count);
  return Turn::kGoOn;
}

Acceptor::Turn Acceptor::onAcceptError(Listener& listener, const Error& error) {
  switch (acceptTrouble(error.code)) {
    case AcceptTrouble::kEmpty:
      return Turn::kOver;
    case AcceptTrouble::kPassing:
      return Turn::kGoOn;
    case AcceptTrouble::kBroken: {
      spdlog::error("the listener of row {} cannot be used: {}", listener.row, error.text);
      boost::system::error_code ignored;
      listener.descriptor.close(ignored);
      return Turn::kOver;
    }
    case AcceptTrouble::kResources:
      break;
  }
  figures_.acceptPauses.fetch_add(1, kRelaxed);
  if (auto count = resourceLog_.due()) spdlog::warn("accepting pauses ({} times): {}", count, error.text);
  // Not until the doorbell: acceptors that all fail would wake each other with the slots that they give back.
  pause(kResources);
  resourceTimer_.expires_after(resourceDelay_);
  resourceDelay_ = std::min(resourceDelay_ * 2, kLastResourcePause);
  resourceTimer_.async_wait([this](const boost::system::error_code& stopped) {
    if (!stopped) resume(kResources);
  });
  return Turn::kOver;
}

void Acceptor::admit(Listener& listener, SlotRef ref, AcceptedClient client) {
  const ListenerRow& settings = table_.listener(listener.row);
  auto witness = setClientOptions(client.socket.get(), settings)
                     ? readWitness(client.socket.get())
                     : Result<Witness>(Error{ENOTCONN, "the client is gone"});
  if (!witness || !witness->usable()) {  // it was reset before we came to it
    resetClient(std::move(client.socket));
    admission_.giveBack(ref);
    figures_.closed[static_cast<size_t>(CloseReason::kClientReset)].fetch_add(1, kRelaxed);
    return;
  }
  NewSession session;
  session.listener = listener.row;
  session.pool = static_cast<uint16_t>(settings.pool.load(kRelaxed));
  session.cookie = socketCookie(client.socket.get());
  session.peerHigh = client.peer.high;
  session.peerLow = client.peer.low;
  session.peerPort = client.peer.port;
  session.addressTag = admission_.addressTag(client.peer);
  session.baselineReceived = witness->consumed;
  session.baselineSent = witness->sent;
  PendingSession pending;
  pending.uuid = sessions_.fill(ref, session, random_);
  failpoint("acceptor.filled");
  if (admission_.tooManyFrom(session.addressTag))
    return refuse(std::move(client.socket), ref, "too many sessions of one address");
  pending.ref = ref;
  pending.socket = std::move(client.socket);
  pending_.push_back(std::move(pending));
}

void Acceptor::refuse(UniqueFd socket, SlotRef ref, const char* why) {
  admission_.giveBack(ref);
  countRefused();  // first: who sees the reset finds it counted
  resetClient(std::move(socket));
  if (auto count = refusedLog_.due()) spdlog::warn("{} clients refused: {}", count, why);
}

void Acceptor::countRefused() {
  figures_.refused.fetch_add(1, kRelaxed);
  figures_.closed[static_cast<size_t>(CloseReason::kRefused)].fetch_add(1, kRelaxed);
}

void Acceptor::waitForDoorbell() {
  doorbell_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         doorbells_.answered(table_, self_.row);
                         resume(kFull);
                         waitForDoorbell();
                       });
}

void Acceptor::leaveIfDone() {
  if ((paused_ & kStopping) == 0 || !pending_.empty() || !left_) return;
  stopTimer_.cancel();
  auto left = std::move(left_);
  left();
}

}  // namespace ppx
