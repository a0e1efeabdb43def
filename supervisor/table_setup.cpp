#include "supervisor/table_setup.h"

#include <fmt/format.h>

#include <algorithm>

namespace ppx {
namespace {

constexpr uint32_t kMinUpstreamSlots = 1024;

uint64_t segmentsFor(uint64_t bytes) {
  return (bytes + kSegmentBytes - 1) / kSegmentBytes;
}

}  // namespace

TableSizes tableSizes(const Config& config) {
  TableSizes sizes;
  sizes.sessionSlots = config.sessions.max;
  sizes.inSegments = static_cast<uint32_t>(segmentsFor(config.sessions.journalInBytes));
  sizes.outSegments = static_cast<uint32_t>(segmentsFor(config.sessions.journalOutBytes));
  // Twice the configured ones: slots of upstreams that drain are not free yet.
  sizes.upstreamSlots = std::max(kMinUpstreamSlots, 2 * static_cast<uint32_t>(config.upstreams.size()));
  return sizes;
}

std::vector<std::string> beyondTheTable(const Config& config) {
  std::vector<std::string> errors;
  auto most = [&errors](const char* what, uint64_t found, uint64_t limit) {
    if (found > limit) errors.push_back(fmt::format("{}: at most {}, found {}", what, limit, found));
  };
  most("listener", config.listeners.size(), kMaxListeners);
  most("pool", config.pools.size(), kMaxPools);
  most("workers.forwarders", config.workers.forwarders, kMaxForwarders);
  most("workers.acceptors", config.workers.acceptors, kMaxAcceptors);
  most("sessions.max", config.sessions.max, kMaxSlots);
  uint64_t largest = static_cast<uint64_t>(kNoSegment - 1) * kSegmentBytes;
  most("sessions.journal_in_bytes + sessions.journal_out_bytes",
       config.sessions.journalInBytes + config.sessions.journalOutBytes, largest);
  return errors;
}

Result<Table> createTable(const Config& config) {
  return Table::create(tableSizes(config));
}

}  // namespace ppx
