// A planned operation, as supervisor/operations.h runs it: one at a time, only on the supervisor's loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>

#include "common/control_protocol.h"
#include "supervisor/admin/event_log.h"
#include "supervisor/worker_manager.h"

namespace ppx {

// What an operation works with; outlives it.
struct OperationTools {
  boost::asio::io_context& io;
  WorkerManager& workers;
  EventLog& events;
  WorkersConfig config;
};

class Operation {
 public:
  // At its end, once; the operation may be gone when it returns.
  using Finish = std::function<void(bool done, const std::string& text)>;

  Operation(OperationTools tools, Finish finish) : tools_(tools), finish_(std::move(finish)) {}
  virtual ~Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  virtual void begin() = 0;
  // A worker's state has changed.
  virtual void advance() = 0;
  virtual void handedOver(uint8_t /*row*/, const control::HandedOver&) {}
  virtual void tookOver(uint8_t /*row*/, const control::TookOver&) {}
  virtual void renewed(const control::Renewed&) {}
  // Where it is, for a progress line.
  virtual std::string progress() const = 0;

 protected:
  void over(bool done, const std::string& text) {
    if (finish_) std::exchange(finish_, {})(done, text);
  }
  bool isOver() const { return !finish_; }
  OperationTools tools_;

 private:
  Finish finish_;
};

}  // namespace ppx
