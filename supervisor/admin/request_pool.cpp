#include "supervisor/admin/request_pool.h"

namespace ppx {

RequestPool::RequestPool(size_t atRest, size_t most) : most_(most) {
  std::lock_guard lock(mutex_);
  while (threads_.size() < atRest) start();
}

void RequestPool::start() {
  threads_.emplace_back([this] { run(); });
}

void RequestPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    --idle_;
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    room_.notify_one();
    lock.unlock();
    job();
    lock.lock();
  }
}

void RequestPool::enqueue(std::function<void()> job) {
  std::unique_lock lock(mutex_);
  if (idle_ <= jobs_.size() && threads_.size() < most_) start();
  room_.wait(lock, [this] { return stopping_ || jobs_.size() < most_; });
  jobs_.push_back(std::move(job));
  work_.notify_one();
}

void RequestPool::shutdown() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace ppx
