#include "supervisor/operations.h"

#include "common/log.h"
#include "supervisor/custodian_renewal.h"
#include "supervisor/forwarder_restart.h"
#include "supervisor/forwarder_scale.h"
#include "supervisor/operation_sequence.h"
#include "supervisor/worker_identity.h"
#include "supervisor/worker_restart.h"

namespace ppx {

Operations::Operations(OperationTools tools, std::function<void()> changed)
    : tools_(std::move(tools)), changed_(std::move(changed)) {}

OperationAnswer Operations::start(const OperationRequest& request) {
  if (OperationAnswer may = mayStart(); may.status != 202) return may;
  switch (request.kind) {
    case OperationRequest::Kind::kRestartForwarders:
    case OperationRequest::Kind::kRestartForwarder:
      return restartForwarders(request);
    case OperationRequest::Kind::kScaleForwarders:
      return begin<ForwarderScale>(request, request.number);
    case OperationRequest::Kind::kRestartAcceptors:
      return begin<WorkerRestart>(request, WorkerRole::kAcceptor);
    case OperationRequest::Kind::kRestartProber:
      return begin<WorkerRestart>(request, WorkerRole::kProber);
    case OperationRequest::Kind::kRestartCustodian:
      return begin<CustodianRenewal>(request);
    case OperationRequest::Kind::kUpgrade:
    case OperationRequest::Kind::kReload:
      break;
  }
  return {404, "not_found", "no such operation", status_};
}

OperationAnswer Operations::restartForwarders(const OperationRequest& request) {
  std::vector<uint8_t> rows;
  for (uint8_t row : tools_.workers.readyRows(WorkerRole::kForwarder))
    if (request.kind == OperationRequest::Kind::kRestartForwarders ||
        row == firstRowOf(WorkerRole::kForwarder) + request.number)
      rows.push_back(row);
  if (rows.empty())
    return {404, "not_found",
            request.kind == OperationRequest::Kind::kRestartForwarders
                ? "no forwarder is ready"
                : "forwarder-" + std::to_string(request.number) + " is not there, or not ready",
            status_};
  return begin<ForwarderRestart>(request, std::move(rows));
}

OperationAnswer Operations::mayStart() const {
  if (!underWay()) return {202, "", "", status_};
  return {409, "operation_under_way", "under way: " + status_.name + " (" + status_.progress + ")", status_};
}

OperationAnswer Operations::announce(const std::string& name, const std::string& progress) {
  status_ = {status_.id + 1, name, OperationStatus::State::kRunning, progress, "", realtimeMillis(), 0};
  logInfo("operation_started", {{"operation", status_.id}, {"name", status_.name}}, "operation {}: {}",
          status_.id, status_.name);
  tools_.events.append("operation_started", {{"operation", status_.id}, {"name", status_.name}});
  changed_();
  return {202, "", "", status_};
}

void Operations::announceOver(bool done, const std::string& text) {
  over(done, text);
}

template <typename T, typename... Arguments>
OperationAnswer Operations::begin(const OperationRequest& request, Arguments&&... arguments) {
  announce(request.name(), "");
  run(std::make_unique<T>(tools_, std::forward<Arguments>(arguments)..., finisher()));
  return {202, "", "", status_};
}

Operation::Finish Operations::finisher() {
  return [this](bool done, const std::string& text) { over(done, text); };
}

void Operations::run(std::unique_ptr<Operation> operation) {
  operation_ = std::move(operation);
  operation_->begin();
  showProgress();
}

void Operations::resume(uint64_t id, const std::string& name) {
  status_ = {id, name, OperationStatus::State::kRunning, "adopting the workers", "", realtimeMillis(), 0};
}

void Operations::roll(std::function<void()> over) {
  logInfo("operation_rolls", {{"operation", status_.id}, {"name", status_.name}},
          "operation {}: {}: the workers change over", status_.id, status_.name);
  rolled_ = std::move(over);
  std::deque<OperationSequence::Make> parts;
  parts.push_back([](const OperationTools& tools, Operation::Finish finish) {
    return std::make_unique<CustodianRenewal>(tools, std::move(finish));
  });
  for (WorkerRole role : {WorkerRole::kAcceptor, WorkerRole::kProber})
    parts.push_back([role](const OperationTools& tools, Operation::Finish finish) {
      return std::make_unique<WorkerRestart>(tools, role, std::move(finish));
    });
  parts.push_back([](const OperationTools& tools, Operation::Finish finish) {
    return std::make_unique<ForwarderRestart>(tools, tools.workers.readyRows(WorkerRole::kForwarder),
                                              std::move(finish));
  });
  run(std::make_unique<OperationSequence>(tools_, std::move(parts), finisher()));
}

void Operations::over(bool done, const std::string& text) {
  status_.state = done ? OperationStatus::State::kDone : OperationStatus::State::kFailed;
  status_.text = text;
  status_.endedRealtimeMs = realtimeMillis();
  logEvent(done ? LogAt::info : LogAt::err, done ? "operation_done" : "operation_failed",
           {{"operation", status_.id}, {"name", status_.name}}, "operation {}: {} {}: {}", status_.id,
           status_.name, done ? "is done" : "has failed", text);
  tools_.events.append(done ? "operation_done" : "operation_failed",
                       {{"operation", status_.id}, {"name", status_.name}, {"text", text}});
  finished_ = std::move(operation_);
  if (rolled_) std::exchange(rolled_, {})();
  changed_();
}

void Operations::stop() {
  if (underWay()) over(false, "the gateway is being stopped");
}

void Operations::showProgress() {
  if (!operation_) return;
  status_.progress = operation_->progress();
  changed_();
}

void Operations::advance() {
  if (operation_) operation_->advance();
}

void Operations::handedOver(uint8_t row, const control::HandedOver& report) {
  if (operation_) operation_->handedOver(row, report);
  showProgress();
}

void Operations::renewed(const control::Renewed& report) {
  if (operation_) operation_->renewed(report);
}

void Operations::tookOver(uint8_t row, const control::TookOver& report) {
  if (operation_) operation_->tookOver(row, report);
  showProgress();
}

}  // namespace ppx
