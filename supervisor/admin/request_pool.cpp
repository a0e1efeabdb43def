#include "supervisor/admin/request_pool.h"

namespace ppx {

RequestPool::RequestPool(size_t atRest, size_t most) : most_(most) {
  std::lock_guard lock(mutex_);
  while (threads_.size() < atRest) start();
}

void RequestPool::start() {
  ++idle_;
  threads_.emplace_back([this] { run(); });
}

void RequestPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    --idle_;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    ++idle_;
  }
}

bool RequestPool::enqueue(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_ || jobs_.size() >= most_) return false;
  jobs_.push_back(std::move(job));
  if (idle_ < jobs_.size() && threads_.size() < most_) start();
  work_.notify_one();
  return true;
}

void RequestPool::shutdown() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace ppx
