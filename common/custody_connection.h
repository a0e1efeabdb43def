// The channel below a CustodyClient: dials for ever, sends and receives single messages. Only for custody_client.cpp.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/custody_message.h"
#include "common/unique_fd.h"

namespace ppx {

// What waits in the loop holds it, so it may outlive its user, who calls stop() first.
class CustodyConnection : public std::enable_shared_from_this<CustodyConnection> {
 public:
  // kEnough: others have their turn before the next message.
  enum class Verdict { kNext, kEnough, kUnreadable };
  struct Handlers {
    std::function<void()> up;    // the hello is said, the user's first message may follow
    std::function<void()> down;  // it broke, and is dialled again
    std::function<Verdict(const custody::Message&, std::vector<UniqueFd>)> message;
    std::function<void()> room;  // after a send that could not be done
  };
  CustodyConnection(boost::asio::io_context& io, std::string path, WorkerId self, Handlers handlers);

  void dial();  // at once, unless it is up
  void stop();  // calls no handler any more
  bool up() const { return up_; }
  uint64_t dials() const { return dials_; }  // grows with each channel
  bool takesMore() const { return up_ && !waitingWritable_ && !retrying_; }
  // False: nothing was sent; `room` or `up` tells when to try again.
  bool send(const custody::Message& message, std::span<const int> descriptors = {});
  // One of the limits of descriptors was reached: `room` in a moment.
  void retryLater();

 private:
  void redialLater();
  void broken();
  void breakSoon();
  void waitReadable();
  void waitWritable();
  void receive();

  boost::asio::io_context& io_;
  std::string path_;
  WorkerId self_;
  Handlers handlers_;
  boost::asio::posix::stream_descriptor channel_;
  boost::asio::steady_timer redialTimer_;
  boost::asio::steady_timer retryTimer_;
  std::chrono::milliseconds redialDelay_;
  uint64_t dials_ = 0;  // names the channel: what was waiting on an earlier one is stale
  bool up_ = false;
  bool stopped_ = false;
  bool waitingWritable_ = false;
  bool retrying_ = false;
  custody::Message incoming_;
};

}  // namespace ppx
