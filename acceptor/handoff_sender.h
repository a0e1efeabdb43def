// The acceptor's channels to the forwarders: dials those that are ready, gives each session to the next in
// turn, one message per forwarder and call, and closes its copy then. A forwarder whose channel is full or
// broken is passed by.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "acceptor/pending_session.h"
#include "common/handoff_protocol.h"
#include "common/table.h"

namespace ppx {

class HandoffSender {
 public:
  // `room`: a forwarder can take sessions (again).
  HandoffSender(boost::asio::io_context& io, std::string runtimeDir, const Table& table, WorkerId self,
                std::function<void()> room);

  // Dials every ready forwarder that has no channel yet; call when the workers' rows changed.
  void dialReady();
  bool hasRoom() const;
  // Takes out of `sessions` what was handed over, or turned out to be somebody else's. What is left could not
  // go now.
  void send(std::vector<PendingSession>& sessions);

 private:
  struct Channel {
    explicit Channel(boost::asio::io_context& io) : socket(io) {}
    boost::asio::posix::stream_descriptor socket;
    uint64_t dials = 0;
    uint32_t unacknowledged = 0;
    bool full = false;       // until it is writable
    bool throttled = false;  // until the next redial: the kernel's limit of descriptors under way
  };

  bool ready(uint8_t row) const;
  uint32_t roomOf(uint8_t row) const;
  void dial(uint8_t row);
  void redialLater();
  void broken(uint8_t row);
  void waitReadable(uint8_t row);
  void waitWritable(uint8_t row);
  void receive(uint8_t row);
  void share(std::vector<PendingSession>& sessions);
  void sendTo(uint8_t row, std::vector<PendingSession*>& sessions);
  bool address(PendingSession& session, uint8_t row);

  boost::asio::io_context& io_;
  std::string runtimeDir_;
  const Table& table_;
  SessionTable sessions_;
  WorkerId self_;
  std::function<void()> room_;
  std::array<std::unique_ptr<Channel>, kMaxForwarders> channels_;
  std::array<std::vector<PendingSession*>, kMaxForwarders> shares_;
  boost::asio::steady_timer redialTimer_;
  std::chrono::milliseconds redialDelay_;
  bool redialWaiting_ = false;
  uint8_t next_ = 0;
};

}  // namespace ppx
