// Threads for HTTP requests: a few at rest, more while all are busy, up to a bound, and a bounded queue.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ppx {

class RequestPool {
 public:
  RequestPool(size_t atRest, size_t most);
  ~RequestPool() { shutdown(); }

  // False: as many are queued as threads could be working; the job is not taken.
  bool enqueue(std::function<void()> job);
  // Finishes what is queued.
  void shutdown();

 private:
  void start();
  void run();

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace ppx
