// Writes the configuration into the table, where the workers read it live: listener rows, pool rows, header.
// The supervisor's loop only; may run again over a table in use (a changed file, an adoption): rows go by
// name.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "common/table.h"
#include "supervisor/config.h"

namespace ppx {

// How many sessions the limits allow, and which of them is the narrowest.
struct SessionCapacity {
  uint32_t sessions = 0;
  uint64_t byDescriptors = 0;  // what the descriptor limits alone allow
  std::string text() const;    // one line for the log
  uint32_t slots = 0;
  uint32_t admission = 0;  // max_sessions; 0: not set
  uint64_t descriptorLimit = 0;
};

// The custodian holds a descriptor of each session, and the forwarders share them; some descriptors of each
// process are set aside for its own.
SessionCapacity sessionCapacity(const Config& config, uint32_t slots, uint64_t descriptorLimit);

class SettingsPublisher {
 public:
  explicit SettingsPublisher(Table& table) : table_(table) {}

  // Pools, then the header's settings; one step of settingsEpoch. A pool's row stays its own for the life of
  // the table, and "default" has row 0. False: more pools have been named than the table has rows.
  bool publishSettings(const Config& config, uint32_t capacity);
  // For all that publishSettings would name.
  bool hasRoomForPools(const Config& config) const;
  // Sessions go by their listener's row as long as they live: the row of one that was removed is another's only when they
  // are gone, and its own again at any time.
  bool hasRoomForListeners(const Config& config) const;
  // None: all are taken.
  std::optional<uint32_t> rowForListener(const std::string& name) const;
  void publishListener(uint32_t row, const ListenerConfig& listener, const Config& config, uint16_t port);
  void retireListener(uint32_t row);
  // The pool's row, which publishSettings has made.
  uint32_t poolRow(const std::string& name) const;

 private:
  std::optional<uint32_t> findPool(const std::string& name) const;
  std::optional<uint32_t> findListener(const std::string& name) const;
  std::array<bool, kMaxListeners> listenersWithSessions() const;
  bool makePool(const std::string& name);

  Table& table_;
};

}  // namespace ppx
