// A worker's end of a channel to the custodian, spoken without a loop.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <optional>
#include <string>

#include "common/custody_message.h"
#include "common/seqpacket.h"

namespace ppx::test {

struct Received {
  custody::Message message;
  std::vector<UniqueFd> descriptors;
};

class CustodianPeer {
 public:
  CustodianPeer(const std::string& runtimeDir, WorkerId self) {
    for (int i = 0; i < 2000 && !socket_; ++i) {
      if (auto dialled = dialSeqpacket(runtimeDir + "/" + custody::kSocketName))
        socket_ = std::move(*dialled);
      else
        ::poll(nullptr, 0, 10);  // the process is starting
    }
    send(custody::Message(custody::Type::kHello, {}, self));
  }

  bool sendBytes(std::span<const std::byte> bytes, std::span<const int> descriptors = {}) {
    for (;;) {
      Status sent = sendMessage(socket_.get(), bytes, descriptors);
      if (sent) return true;
      if (sent.error().code != EAGAIN || !await(POLLOUT)) return false;
    }
  }
  bool send(const custody::Message& message, std::span<const int> descriptors = {}) {
    return sendBytes(message.wire(), descriptors);
  }
  bool put(std::span<const custody::Record> records, std::span<const int> descriptors) {
    return send(custody::Message(custody::Type::kPut, records), descriptors);
  }
  bool await(short events, int milliseconds = 10000) {
    pollfd poll{socket_.get(), events, 0};
    return ::poll(&poll, 1, milliseconds) == 1 && (poll.revents & events) != 0;
  }
  // None: the channel ended, or nothing came in time.
  std::optional<Received> receive() {
    Received received;
    while (await(POLLIN)) {
      auto message = receiveMessage(socket_.get(), received.message.buffer());
      if (!message && message.error().code == EAGAIN) continue;
      if (!message || message->bytes == 0) return std::nullopt;
      EXPECT_TRUE(received.message.wellFormed(message->bytes));
      received.descriptors = std::move(message->descriptors);
      return received;
    }
    return std::nullopt;
  }
  std::optional<Received> ask(const custody::Message& message, std::span<const int> descriptors = {}) {
    return send(message, descriptors) ? receive() : std::nullopt;
  }
  int descriptor() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

}  // namespace ppx::test
