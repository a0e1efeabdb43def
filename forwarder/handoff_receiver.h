// The forwarder's end of the handoff channels (handoff_protocol.h): acceptors dial it and send sessions. Asio
// thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/slot_word.h"
#include "common/unique_fd.h"

namespace ppx {

class HandoffReceiver {
 public:
  // `arrived`: a session and its socket; without a socket when the kernel dropped it at our descriptor limit.
  HandoffReceiver(boost::asio::io_context& io, std::function<void(SlotRef, UniqueFd)> arrived);
  Status listen(const std::string& path);
  void close();

 private:
  struct Channel {
    explicit Channel(boost::asio::io_context& io) : socket(io) {}
    boost::asio::posix::stream_descriptor socket;
  };

  void waitForDial();
  void waitForMessage(std::list<Channel>::iterator channel);
  bool receiveAll(Channel& channel);
  bool take(Channel& channel, std::span<const std::byte> bytes, std::vector<UniqueFd> descriptors);

  boost::asio::io_context& io_;
  std::function<void(SlotRef, UniqueFd)> arrived_;
  boost::asio::posix::stream_descriptor listener_;
  std::list<Channel> channels_;
};

}  // namespace ppx
