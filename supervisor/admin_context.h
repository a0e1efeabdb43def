// What the admin API sees of the supervisor. The supervisor fills it in before it starts the AdminServer and
// keeps everything in it alive until AdminServer::stop() has returned.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/doorbells.h"
#include "common/table.h"
#include "supervisor/config.h"
#include "supervisor/operation_status.h"

namespace ppx {

class EventLog;
class ObituaryBook;

struct ListenerStatus {
  std::string name;
  std::string host;  // as configured
  std::string pool;
  uint32_t row = 0;   // in the table
  uint16_t port = 0;  // the one in use, also where the configuration says 0
};

struct WorkerStatus {
  std::string name;  // as events and commands have it: forwarder-1
  WorkerRole role = WorkerRole::kNone;
  uint8_t row = 0;           // in the table: its figures are there
  int pid = 0;               // 0: no process now
  uint64_t incarnation = 0;  // 0: no process now
  std::string state;         // absent, starting, greeted, ready, stopping, dead
  uint32_t restarts = 0;
};

// supervisor/custody_watch.h
struct CustodyStatus {
  Millis incompleteSinceMs = 0;  // monotonic; 0: every descriptor is held
  Millis incompleteMs = 0;       // in all, before that
  bool complete() const { return incompleteSinceMs == 0; }
  double incompleteSeconds() const {
    return static_cast<double>(incompleteMs + (complete() ? 0 : monotonicMillis() - incompleteSinceMs)) /
           1000;
  }
};

struct SupervisorStatus {
  int pid = 0;
  Millis startedRealtimeMs = 0;
  std::string version;
  std::vector<ListenerStatus> listeners;
  std::vector<WorkerStatus> workers;
  uint32_t sessionCapacity = 0;
  uint64_t descriptorLimit = 0;  // of each process
  bool ready = false;            // an acceptor serves
  bool draining = false;         // the gateway is being stopped
  OperationStatus operation;
  CustodyStatus custody;
};

struct AdminContext {
  using UpstreamChangedHandler = std::function<void(uint32_t upstream, uint32_t generation)>;

  Table& table;
  Doorbells& doorbells;
  const Config& config;
  std::string configFile;
  std::string runtimeDir;
  // A copy of what is the case now. Any thread.
  std::function<SupervisorStatus()> status;
  // Runs a function on the supervisor's loop, soon; never at once. Any thread.
  std::function<void(std::function<void()>)> post;
  // Who hears control::UpstreamChanged of the prober and the forwarders; called on the supervisor's loop. One
  // handler: a later one replaces it, an empty one removes it. Before the loop runs, or on it.
  std::function<void(UpstreamChangedHandler)> onUpstreamChanged;
  // What operations did; null: there are none (tests).
  EventLog* events = nullptr;
  // Starts an operation and says what came of that; waits for the supervisor's loop. Any other thread.
  std::function<OperationAnswer(const OperationRequest&)> operate = {};
  // As above; the levels are in the table's header.
  std::function<OperationAnswer(const LogChange&)> changeLog = {};
  // How its workers died; null: nobody keeps that (tests).
  const ObituaryBook* obituaries = nullptr;
};

}  // namespace ppx
