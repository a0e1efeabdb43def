#include "supervisor/operations.h"

#include "common/log.h"
#include "supervisor/forwarder_restart.h"
#include "supervisor/worker_identity.h"

namespace ppx {

Operations::Operations(OperationTools tools, std::function<void()> changed)
    : tools_(std::move(tools)), changed_(std::move(changed)) {}

OperationAnswer Operations::start(const OperationRequest& request) {
  if (operation_)
    return {409, "operation_under_way", "under way: " + status_.name + " (" + status_.progress + ")",
            status_};
  switch (request.kind) {
    case OperationRequest::Kind::kRestartForwarders:
    case OperationRequest::Kind::kRestartForwarder:
      return restartForwarders(request);
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

template <typename T, typename... Arguments>
OperationAnswer Operations::begin(const OperationRequest& request, Arguments&&... arguments) {
  status_ = {status_.id + 1, request.name(), OperationStatus::State::kRunning, "", "", realtimeMillis(), 0};
  spdlog::info("operation {}: {}", status_.id, status_.name);
  tools_.events.append("operation_started", {{"operation", status_.id}, {"name", status_.name}});
  operation_ = std::make_unique<T>(tools_, std::forward<Arguments>(arguments)...,
                                   [this](bool done, const std::string& text) { over(done, text); });
  operation_->begin();
  showProgress();
  return {202, "", "", status_};
}

void Operations::over(bool done, const std::string& text) {
  status_.state = done ? OperationStatus::State::kDone : OperationStatus::State::kFailed;
  status_.text = text;
  status_.endedRealtimeMs = realtimeMillis();
  spdlog::log(done ? spdlog::level::info : spdlog::level::err, "operation {}: {} {}: {}", status_.id,
              status_.name, done ? "is done" : "has failed", text);
  tools_.events.append(done ? "operation_done" : "operation_failed",
                       {{"operation", status_.id}, {"name", status_.name}, {"text", text}});
  finished_ = std::move(operation_);
  changed_();
}

void Operations::stop() {
  if (operation_) over(false, "the gateway is being stopped");
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

void Operations::tookOver(uint8_t row, const control::TookOver& report) {
  if (operation_) operation_->tookOver(row, report);
  showProgress();
}

}  // namespace ppx
