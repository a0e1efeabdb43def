// Planned operations as those who ask for them see them: what is asked, what is answered, how it stands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/worker_role.h"

namespace ppx {

struct OperationRequest {
  enum class Kind {
    kRestartForwarders,
    kRestartForwarder,
    kScaleForwarders,
    kRestartAcceptors,
    kRestartProber,
    kRestartCustodian,
    kUpgrade,
    kReload,
  };
  Kind kind = Kind::kRestartForwarders;
  uint32_t number = 0;  // of one forwarder: the number in its name; of scaling: how many

  std::string name() const;
};

// Of PUT /admin/log.
struct LogChange {
  std::optional<WorkerRole> role;  // none: all; kNone: the supervisor
  std::optional<uint8_t> level;    // spdlog's numbers; none: the configuration's
};

// Of the operation under way, or the last one.
struct OperationStatus {
  enum class State { kNone, kRunning, kDone, kFailed };
  uint64_t id = 0;
  std::string name;
  State state = State::kNone;
  std::string progress;
  std::string text;  // how it ended
  Millis startedRealtimeMs = 0;
  Millis endedRealtimeMs = 0;  // 0: it has not
};

const char* operationStateName(OperationStatus::State state);

// As HTTP answers.
struct OperationAnswer {
  int status = 202;
  std::string code;  // of an error
  std::string text;
  OperationStatus operation;
  std::vector<std::string> changed = {};  // by a reload, for people
};

}  // namespace ppx
