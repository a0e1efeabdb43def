// Threads for HTTP requests: a few at rest, more while all are busy, up to a bound; beyond it the server accepts no
// further connection, and they wait in the kernel's backlog.
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace ppx {

class RequestPool : public httplib::TaskQueue {
 public:
  RequestPool(size_t atRest, size_t most);

  void enqueue(std::function<void()> job) override;  // waits while too much is queued
  void shutdown() override;

 private:
  void start();
  void run();

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace ppx
