#include "forwarder/handoff_receiver.h"

#include <array>
#include <cstring>

#include "common/handoff_protocol.h"
#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

constexpr size_t kMaxMessage = sizeof(handoff::Head) + handoff::kMaxRecords * sizeof(handoff::Record);
constexpr auto kReadable = boost::asio::posix::stream_descriptor::wait_read;

}  // namespace

HandoffReceiver::HandoffReceiver(boost::asio::io_context& io, std::function<void(SlotRef, UniqueFd)> arrived)
    : io_(io), arrived_(std::move(arrived)), listener_(io) {}

Status HandoffReceiver::listen(const std::string& path) {
  auto socket = listenSeqpacket(path);
  if (!socket) return socket.error();
  listener_.assign(socket->release());
  waitForDial();
  return Done{};
}

void HandoffReceiver::close() {
  boost::system::error_code ignored;
  listener_.close(ignored);
}

void HandoffReceiver::waitForDial() {
  listener_.async_wait(kReadable, [this](const boost::system::error_code& error) {
    if (error) return;
    for (;;) {
      auto socket = acceptSeqpacket(listener_.native_handle());
      if (!socket) break;  // nobody waits, or no descriptor is free: the next dial wakes again
      auto channel = channels_.emplace(channels_.end(), io_);
      channel->socket.assign(socket->release());
      waitForMessage(channel);
    }
    waitForDial();
  });
}

void HandoffReceiver::waitForMessage(std::list<Channel>::iterator channel) {
  channel->socket.async_wait(kReadable, [this, channel](const boost::system::error_code& error) {
    if (!error && receiveAll(*channel)) return waitForMessage(channel);
    channels_.erase(channel);
  });
}

// False: the channel is at its end.
bool HandoffReceiver::receiveAll(Channel& channel) {
  alignas(8) std::array<std::byte, kMaxMessage> buffer;
  for (;;) {
    auto message = receiveMessage(channel.socket.native_handle(), buffer);
    if (!message) return message.error().code == EAGAIN;
    if (message->bytes == 0) return false;
    std::span<const std::byte> bytes(buffer.data(), message->bytes);
    if (message->bytesLost || !take(channel, bytes, std::move(message->descriptors))) {
      spdlog::error("a handoff channel carried something else; it is closed");
      return false;
    }
  }
}

bool HandoffReceiver::take(Channel& channel, std::span<const std::byte> bytes,
                           std::vector<UniqueFd> descriptors) {
  handoff::Head head{};
  if (bytes.size() < sizeof(head)) return false;
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (head.magic != handoff::kMagic || head.version != handoff::kVersion ||
      head.type != handoff::Type::kHandoff || head.count > handoff::kMaxRecords ||
      bytes.size() != sizeof(head) + head.count * sizeof(handoff::Record))
    return false;
  for (uint32_t i = 0; i < head.count; ++i) {
    handoff::Record record;
    std::memcpy(&record, bytes.data() + sizeof(head) + i * sizeof(record), sizeof(record));
    // Descriptors come in order; at our limit the kernel drops the last ones.
    UniqueFd socket = i < descriptors.size() ? std::move(descriptors[i]) : UniqueFd();
    arrived_({record.slot, record.generation}, std::move(socket));
  }
  handoff::Head done;
  done.type = handoff::Type::kHandoffDone;
  done.count = head.count;
  (void)sendMessage(channel.socket.native_handle(), bytesOf(done));
  return true;
}

}  // namespace ppx
