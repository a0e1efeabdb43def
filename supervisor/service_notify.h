// What paradoxd tells the service manager that started it and wants to be told (NOTIFY_SOCKET, sd_notify(3)); nobody
// hears it otherwise, and no timer runs. The supervisor's loop only. No call waits for the manager, which sd_notify()
// would: while it does not read, a change of state is kept for later and the rest is left out.
//
//   READY=1        clients can be served; again after each RELOADING=1
//   STATUS=        one line for a person, sent when it has changed, at most once a second
//   RELOADING=1    a changed configuration or a changed program is being taken into use
//   STOPPING=1     and EXTEND_TIMEOUT_USEC= each second for as long as the step under way may take
//   WATCHDOG=1     twice in each WATCHDOG_USEC, by a timer on the loop: a loop that does not turn feeds nothing
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/datagram_sender.h"

namespace ppx {

class ServiceNotify {
 public:
  using StatusLine = std::function<std::string()>;

  ServiceNotify(boost::asio::io_context& io, StatusLine status);

  // Watchdog and status from here on.
  void start();
  void ready();
  // ready() follows; of this program, or of the one that takes its place.
  void reloading();
  void stopping();
  // What is under way while it stops may take so long; a later one replaces it.
  void mayTake(std::chrono::milliseconds most);

 private:
  void feed();
  void tick();
  void tell(const std::string& state);  // and until it is heard
  bool send(const std::string& text);   // once
  bool sendUntold();
  std::string statusNow();

  StatusLine status_;
  boost::asio::steady_timer watchdog_;
  boost::asio::steady_timer second_;
  std::chrono::microseconds feedEvery_{0};  // 0: nobody watches
  std::optional<DatagramSender> manager_;   // none: nobody is to be told
  std::deque<std::string> untold_;
  std::string told_;
  bool stopping_ = false;
  Millis stepEnds_ = 0;  // monotonic
};

}  // namespace ppx
