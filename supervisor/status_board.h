// The supervisor's state as other threads may see it: written by the loop, copied by HTTP threads.
#pragma once

#include <mutex>

#include "supervisor/admin_context.h"

namespace ppx {

class StatusBoard {
 public:
  void write(SupervisorStatus status) {
    std::lock_guard hold(mutex_);
    status_ = std::move(status);
  }
  SupervisorStatus read() const {
    std::lock_guard hold(mutex_);
    return status_;
  }

 private:
  mutable std::mutex mutex_;
  SupervisorStatus status_;
};

}  // namespace ppx
