// Planned operations of the gateway: one at a time, told of through the event log. The supervisor's loop only.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "supervisor/admin_context.h"
#include "supervisor/operation.h"

namespace ppx {

class Operations {
 public:
  // `changed`: the status is another.
  Operations(OperationTools tools, std::function<void()> changed);

  // Answered as HTTP answers: 202 with what has begun, 404, 409 with what is under way.
  OperationAnswer start(const OperationRequest& request);
  // One that Supervisor does itself, up to its own end or announceOver().
  OperationAnswer announce(const std::string& name, const std::string& progress);
  void announceOver(bool done, const std::string& text);
  // An upgrade, or restart, that began in the program before; then its rest: all workers, in turn.
  void resume(uint64_t id, const std::string& name);
  void roll(std::function<void()> over);
  // Empty: one may be started.
  OperationAnswer mayStart() const;
  bool underWay() const { return status_.state == OperationStatus::State::kRunning; }
  const OperationStatus& status() const { return status_; }
  // For those that begin from here on.
  void configure(const WorkersConfig& workers) { tools_.config = workers; }
  // At the gateway's stop: it is given up where it stands.
  void stop();

  void advance();  // a worker's state has changed
  void handedOver(uint8_t row, const control::HandedOver& report);
  void tookOver(uint8_t row, const control::TookOver& report);
  void renewed(const control::Renewed& report);

 private:
  OperationAnswer restartForwarders(const OperationRequest& request);
  template <typename T, typename... Arguments>
  OperationAnswer begin(const OperationRequest& request, Arguments&&... arguments);
  void run(std::unique_ptr<Operation> operation);
  Operation::Finish finisher();
  void over(bool done, const std::string& text);
  void showProgress();

  OperationTools tools_;
  std::function<void()> changed_;
  std::unique_ptr<Operation> operation_;
  std::unique_ptr<Operation> finished_;  // the last one: it may still be on the stack
  OperationStatus status_;
  std::function<void()> rolled_;  // at the end of an upgrade's rest
};

}  // namespace ppx
