#include "acceptor/handoff_sender.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kFirstRedial{10};
constexpr milliseconds kLastRedial{500};

struct HandoffMessage {
  handoff::Head head{.type = handoff::Type::kHandoff};
  handoff::Record records[handoff::kMaxRecords];
};

}  // namespace

HandoffSender::HandoffSender(boost::asio::io_context& io, std::string runtimeDir, const Table& table,
                             WorkerId self, std::function<void()> room)
    : io_(io),
      runtimeDir_(std::move(runtimeDir)),
      table_(table),
      sessions_(table),
      self_(self),
      room_(std::move(room)),
      redialTimer_(io),
      redialDelay_(kFirstRedial) {
  for (auto& channel : channels_) channel = std::make_unique<Channel>(io);
}

bool HandoffSender::ready(uint8_t row) const {
  return table_.worker(row).ready.load(std::memory_order_relaxed) == 1;
}

uint32_t HandoffSender::roomOf(uint8_t row) const {
  const Channel& channel = *channels_[row];
  if (!channel.socket.is_open() || channel.full || channel.throttled || !ready(row)) return 0;
  return handoff::kMaxUnacknowledged - channel.unacknowledged;
}

bool HandoffSender::hasRoom() const {
  for (uint8_t row = 0; row < kMaxForwarders; ++row)
    if (roomOf(row) != 0) return true;
  return false;
}

void HandoffSender::dialReady() {
  bool missed = false;
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    channels_[row]->throttled = false;
    if (!ready(row) || channels_[row]->socket.is_open()) continue;
    dial(row);
    missed = missed || !channels_[row]->socket.is_open();
  }
  if (missed)
    redialLater();
  else
    redialDelay_ = kFirstRedial;
  if (hasRoom()) room_();
}

void HandoffSender::dial(uint8_t row) {
  auto socket = dialSeqpacket(runtimeDir_ + "/" + handoff::socketName(row));
  if (!socket) return;
  Channel& channel = *channels_[row];
  channel.socket.assign(socket->release());
  ++channel.dials;
  channel.unacknowledged = 0;
  channel.full = false;
  waitReadable(row);
}

void HandoffSender::redialLater() {
  if (redialWaiting_) return;
  redialWaiting_ = true;
  redialTimer_.expires_after(redialDelay_);
  redialDelay_ = std::min(redialDelay_ * 2, kLastRedial);
  redialTimer_.async_wait([this](const boost::system::error_code& error) {
    redialWaiting_ = false;
    if (!error) dialReady();
  });
}

void HandoffSender::broken(uint8_t row) {
  boost::system::error_code ignored;
  channels_[row]->socket.close(ignored);
  redialLater();
}

void HandoffSender::waitReadable(uint8_t row) {
  channels_[row]->socket.async_wait(
      boost::asio::posix::stream_descriptor::wait_read,
      [this, row, dial = channels_[row]->dials](const boost::system::error_code& error) {
        if (!error && dial == channels_[row]->dials && channels_[row]->socket.is_open()) receive(row);
      });
}

void HandoffSender::waitWritable(uint8_t row) {
  channels_[row]->full = true;
  channels_[row]->socket.async_wait(
      boost::asio::posix::stream_descriptor::wait_write,
      [this, row, dial = channels_[row]->dials](const boost::system::error_code& error) {
        if (error || dial != channels_[row]->dials) return;
        channels_[row]->full = false;
        room_();
      });
}

void HandoffSender::receive(uint8_t row) {
  Channel& channel = *channels_[row];
  for (;;) {
    handoff::Head head{.type = handoff::Type::kHandoff};
    auto message =
        receiveMessage(channel.socket.native_handle(), std::as_writable_bytes(std::span(&head, 1)));
    if (!message && message.error().code == EAGAIN) break;
    if (!message || message->bytes == 0) return broken(row);
    if (message->bytes != sizeof(head) || message->bytesLost || head.magic != handoff::kMagic ||
        head.version != handoff::kVersion || head.type != handoff::Type::kHandoffDone ||
        head.count > channel.unacknowledged) {
      spdlog::warn("forwarder {} does not keep to the handoff protocol; dialling again", row);
      return broken(row);
    }
    channel.unacknowledged -= head.count;
  }
  waitReadable(row);
  if (hasRoom()) room_();
}

void HandoffSender::send(std::vector<PendingSession>& sessions) {
  while (!sessions.empty() && hasRoom()) {
    share(sessions);
    for (uint8_t row = 0; row < kMaxForwarders; ++row)
      if (!shares_[row].empty()) sendTo(row, shares_[row]);
    std::erase_if(sessions, [](const PendingSession& session) { return !session.socket; });
  }
}

// The next in turn among those that have room; a session for which there is none is not shared out.
void HandoffSender::share(std::vector<PendingSession>& sessions) {
  std::array<uint32_t, kMaxForwarders> room;
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    room[row] = std::min(roomOf(row), handoff::kMaxRecords);
    shares_[row].clear();
  }
  for (PendingSession& session : sessions) {
    uint8_t tried = 0;
    while (tried < kMaxForwarders && room[next_] == 0) next_ = (next_ + 1) % kMaxForwarders, ++tried;
    if (tried == kMaxForwarders) return;
    shares_[next_].push_back(&session);
    --room[next_];
    next_ = (next_ + 1) % kMaxForwarders;
  }
}

// The slot's word names the forwarder before the socket is sent to it. False: the slot is somebody else's by
// now.
bool HandoffSender::address(PendingSession& session, uint8_t row) {
  if (session.row == row)
    return sessions_.word(session.ref.slot) == SlotWord{SlotState::kHandoff, row, 0, session.ref.generation};
  bool ours = session.row == kWorkerRows ? sessions_.handoff(session.ref, self_, row)
                                         : sessions_.redirect(session.ref, session.row, row);
  session.row = row;
  return ours;
}

void HandoffSender::sendTo(uint8_t row, std::vector<PendingSession*>& sessions) {
  HandoffMessage message;
  std::array<int, handoff::kMaxRecords> sockets;
  std::erase_if(sessions, [&](PendingSession* session) {
    if (address(*session, row)) return false;
    session->socket.reset();
    return true;
  });
  failpoint("acceptor.handoff_word");
  for (PendingSession* session : sessions) {
    sockets[message.head.count] = session->socket.get();
    message.records[message.head.count++] = {session->ref.slot, session->ref.generation};
  }
  if (sessions.empty()) return;
  auto bytes = std::as_bytes(std::span(&message, 1))
                   .first(sizeof(message.head) + sessions.size() * sizeof(handoff::Record));
  Status sent =
      sendMessage(channels_[row]->socket.native_handle(), bytes, std::span(sockets.data(), sessions.size()));
  if (sent) {
    failpoint("acceptor.handoff_sent");
    channels_[row]->unacknowledged += message.head.count;
    for (PendingSession* session : sessions) session->socket.reset();
    auto& handedOff = table_.worker(self_.row).handedOff;
    handedOff.fetch_add(sessions.size(), std::memory_order_relaxed);
    return;
  }
  switch (sent.error().code) {
    case EAGAIN:
      return waitWritable(row);
    case ETOOMANYREFS:
    case ENOMEM:
    case ENOBUFS:
      channels_[row]->throttled = true;
      return redialLater();
    default:
      return broken(row);
  }
}

}  // namespace ppx
