#include "supervisor/operation_status.h"

namespace ppx {

std::string OperationRequest::name() const {
  switch (kind) {
    case Kind::kRestartForwarders:
      return "restart of the forwarders";
    case Kind::kRestartForwarder:
      return "restart of forwarder-" + std::to_string(number);
    case Kind::kScaleForwarders:
      return "scaling to " + std::to_string(number) + " forwarders";
    case Kind::kRestartAcceptors:
      return "restart of the acceptors";
    case Kind::kRestartProber:
      return "restart of the prober";
    case Kind::kRestartCustodian:
      return "restart of the custodian";
    case Kind::kUpgrade:
      return "upgrade";
    case Kind::kReload:
      return "reload";
  }
  return "unknown";
}

const char* operationStateName(OperationStatus::State state) {
  switch (state) {
    case OperationStatus::State::kNone:
      return "none";
    case OperationStatus::State::kRunning:
      return "running";
    case OperationStatus::State::kDone:
      return "done";
    case OperationStatus::State::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace ppx
