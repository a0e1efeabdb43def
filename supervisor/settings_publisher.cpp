#include "supervisor/settings_publisher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "common/session_table.h"

namespace ppx {
namespace {

constexpr uint64_t kCustodianReserve = 256;
constexpr uint64_t kForwarderReserve = 1024;

uint32_t millis(std::chrono::milliseconds time) {
  return static_cast<uint32_t>(std::clamp<int64_t>(time.count(), 0, UINT32_MAX));
}

uint32_t seconds(std::chrono::milliseconds time) {
  return millis(time) / 1000;
}

uint32_t bytes(uint64_t size) {
  return static_cast<uint32_t>(std::min<uint64_t>(size, UINT32_MAX));
}

template <size_t N>
void writeName(char (&out)[N], const std::string& name) {
  std::memset(out, 0, N);
  std::memcpy(out, name.data(), std::min(name.size(), N - 1));
}

uint64_t lessReserve(uint64_t limit, uint64_t reserve) {
  return limit > reserve ? limit - reserve : 0;
}

}  // namespace

SessionCapacity sessionCapacity(const Config& config, uint32_t slots, uint64_t descriptorLimit) {
  SessionCapacity out;
  out.slots = slots;
  out.admission = config.admission.maxSessions;
  out.descriptorLimit = descriptorLimit;
  out.byDescriptors = std::min(lessReserve(descriptorLimit, kCustodianReserve),
                               config.workers.forwarders * lessReserve(descriptorLimit, kForwarderReserve));
  uint64_t asked = out.admission != 0 ? std::min(out.admission, slots) : slots;
  out.sessions = static_cast<uint32_t>(std::min<uint64_t>(asked, out.byDescriptors));
  return out;
}

std::string SessionCapacity::text() const {
  std::string why = byDescriptors == sessions ? "the descriptor limit"
                    : admission == sessions   ? "admission.max_sessions"
                                              : "sessions.max";
  return fmt::format(
      "the limit of {} open files a process allows {} sessions; {} are admitted at a time (by {})",
      descriptorLimit, byDescriptors, sessions, why);
}

bool SettingsPublisher::publishSettings(const Config& config, uint32_t capacity) {
  // Row 0 first, whatever the file's order.
  if (!makePool("default")) return false;
  for (const PoolConfig& pool : config.pools)
    if (!makePool(pool.name)) return false;
  TableHeader& header = table_.header();
  const SessionsConfig& sessions = config.sessions;
  header.sessionCapacity.store(capacity);
  header.maxPerAddress.store(config.admission.maxPerAddress);
  header.refuseAtLimit.store(config.admission.atLimit == AtLimit::kRefuse ? 1 : 0);
  header.activeWindowMs.store(millis(sessions.activeWindow));
  header.barrierTimeoutMs.store(millis(config.workers.barrierTimeout));
  header.drainMaxMs.store(millis(config.workers.drainMax));
  header.doubtWindowMs.store(millis(sessions.doubtWindow));
  header.maxReplyBytes.store(bytes(sessions.maxReplyBytes));
  header.heartbeatTimeoutMs.store(millis(config.workers.heartbeatTimeout));
  header.settingsEpoch.fetch_add(1);
  return true;
}

bool SettingsPublisher::hasRoomForPools(const Config& config) const {
  auto taken = static_cast<uint32_t>(findPool("default") ? 0 : 1);
  for (uint32_t i = 0; i < kMaxPools; ++i) taken += table_.pool(i).used.load() != 0 ? 1 : 0;
  for (const PoolConfig& pool : config.pools) taken += findPool(pool.name) ? 0 : 1;
  return taken <= kMaxPools;
}

bool SettingsPublisher::hasRoomForListeners(const Config& config) const {
  size_t wanted = 0, free = 0;
  for (const ListenerConfig& listener : config.listeners) wanted += findListener(listener.name) ? 0 : 1;
  if (wanted == 0) return true;
  const auto served = listenersWithSessions();
  for (uint32_t i = 0; i < kMaxListeners; ++i) {
    const ListenerRow& row = table_.listener(i);
    const bool named = std::any_of(config.listeners.begin(), config.listeners.end(),
                                   [&](const ListenerConfig& each) { return each.name == row.name; });
    free += row.used.load() == 0 && !named && !served[i] ? 1 : 0;
  }
  return wanted <= free;
}

std::optional<uint32_t> SettingsPublisher::rowForListener(const std::string& name) const {
  if (auto own = findListener(name)) return own;
  std::optional<uint32_t> retired;
  const auto served = listenersWithSessions();
  for (uint32_t i = 0; i < kMaxListeners; ++i) {
    const ListenerRow& row = table_.listener(i);
    if (row.used.load() != 0 || served[i]) continue;
    if (row.name[0] == 0) return i;
    if (!retired) retired = i;
  }
  return retired;
}

// The row of that name, also one that was retired: its sessions may still be there.
std::optional<uint32_t> SettingsPublisher::findListener(const std::string& name) const {
  for (uint32_t i = 0; i < kMaxListeners; ++i)
    if (name == table_.listener(i).name) return i;
  return std::nullopt;
}

std::array<bool, kMaxListeners> SettingsPublisher::listenersWithSessions() const {
  std::array<bool, kMaxListeners> served{};
  SessionTable sessions(table_);
  for (uint32_t slot = 0; slot < table_.header().sessionHighWater.load(); ++slot) {
    const uint32_t listener = table_.session(slot).listener.load();
    if (listener < kMaxListeners && sessions.word(slot).state != SlotState::kFree) served[listener] = true;
  }
  return served;
}

void SettingsPublisher::publishListener(uint32_t index, const ListenerConfig& listener, const Config& config,
                                        uint16_t port) {
  ListenerRow& row = table_.listener(index);
  const SessionsConfig& sessions = config.sessions;
  if (listener.name != row.name) writeName(row.name, listener.name);
  row.pool.store(poolRow(listener.pool));
  row.port.store(port);
  row.closeInDoubt.store(listener.crashPolicy == CrashPolicy::kClose ? 1 : 0);
  row.closeOnUpstreamLoss.store(listener.upstreamLoss == UpstreamLoss::kClose ? 1 : 0);
  row.routeByMessage.store(listener.routing == Routing::kMessage ? 1 : 0);
  row.idleTimeoutMs.store(millis(listener.idleTimeout));
  row.halfCloseTimeoutMs.store(millis(listener.halfCloseTimeout));
  row.lingerTimeoutMs.store(millis(sessions.lingerTimeout));
  row.lingerGraceMs.store(millis(sessions.lingerGrace));
  row.noUpstreamTimeoutMs.store(millis(sessions.noUpstreamTimeout));
  row.slowClientGraceMs.store(millis(sessions.slowClientGrace));
  row.outputSoftBytes.store(bytes(sessions.outputSoftBytes));
  row.outputHardBytes.store(bytes(sessions.outputHardBytes));
  row.inputWindowBytes.store(bytes(sessions.inputWindowBytes));
  row.keepaliveIdleS.store(seconds(sessions.keepaliveIdle));
  row.keepaliveIntervalS.store(seconds(sessions.keepaliveInterval));
  row.keepaliveCount.store(sessions.keepaliveCount);
  row.userTimeoutMs.store(millis(sessions.userTimeout));
  row.used.store(1);
  table_.header().settingsEpoch.fetch_add(1);
}

void SettingsPublisher::retireListener(uint32_t index) {
  table_.listener(index).used.store(0);
  table_.header().settingsEpoch.fetch_add(1);
}

uint32_t SettingsPublisher::poolRow(const std::string& name) const {
  auto row = findPool(name);
  PPX_INVARIANT(row.has_value());
  return *row;
}

std::optional<uint32_t> SettingsPublisher::findPool(const std::string& name) const {
  for (uint32_t i = 0; i < kMaxPools; ++i)
    if (table_.pool(i).used.load() != 0 && name == table_.pool(i).name) return i;
  return std::nullopt;
}

bool SettingsPublisher::makePool(const std::string& name) {
  if (findPool(name)) return true;
  for (uint32_t i = 0; i < kMaxPools; ++i) {
    PoolRow& row = table_.pool(i);
    if (row.used.load() != 0) continue;
    writeName(row.name, name);
    row.used.store(1);
    return true;
  }
  return false;
}

}  // namespace ppx
