// The way from gRPC's threads to the Asio thread. It outlives both: calls that end after the prober is gone
// find it closed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace ppx {

class CallGate {
 public:
  explicit CallGate(boost::asio::io_context& io) : io_(&io) {}

  // Any thread. Runs `work` on the Asio thread, or never.
  template <typename Work>
  void post(Work&& work) {
    std::lock_guard lock(mutex_);
    if (io_ != nullptr) boost::asio::post(*io_, std::forward<Work>(work));
  }

  // Around each call: begun() before it starts, ended() as the last thing of its last callback.
  void begun() {
    std::lock_guard lock(mutex_);
    ++calls_;
  }
  void ended() {
    std::lock_guard lock(mutex_);
    if (--calls_ == 0) idle_.notify_all();
  }

  // Nothing is posted any more. Waits, at most so long, for the calls that are cancelled already.
  void close(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    io_ = nullptr;
    idle_.wait_for(lock, patience, [this] { return calls_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  boost::asio::io_context* io_;
  int calls_ = 0;
};

}  // namespace ppx
