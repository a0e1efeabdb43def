// The line that `systemctl status` shows, and what happened last in it. The supervisor's loop only.
#pragma once

#include <map>
#include <string>

#include "common/table.h"
#include "supervisor/operation_status.h"

namespace ppx {

class ServiceStatus {
 public:
  // `what`: for a person, without a time; it is of now.
  void note(const std::string& what);
  // As note() when the operation has ended since it was last seen.
  void noteOperation(const OperationStatus& operation);
  // As note() when its health is another than when it was last seen.
  void noteUpstream(const UpstreamSlot& upstream);

  // "serving 12 sessions, 2 of 3 upstreams ready; forwarder-1 restarted 14:03:11". `phase`: "serving", or what
  // is waited for. An operation under way stands in the place of the last event.
  std::string line(const std::string& phase, const Table& table, const OperationStatus& operation) const;

 private:
  std::string last_;            // empty: nothing has happened yet
  uint64_t operationSeen_ = 0;  // while it ran; 0: none
  std::map<const UpstreamSlot*, uint64_t> healthSeen_;
};

}  // namespace ppx
