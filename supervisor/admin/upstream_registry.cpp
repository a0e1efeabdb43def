#include "supervisor/admin/upstream_registry.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "common/clock.h"
#include "common/log.h"

namespace ppx {
namespace {

// After drain_max every forwarder has cancelled its stream; this much later nobody will answer any more.
constexpr uint64_t kDrainMarginMs = 5000;

UpstreamLife lifeOf(const UpstreamSlot& slot) {
  return lifeState<UpstreamLife>(slot.life.load());
}

void logUpstream(std::string_view event, const UpstreamSlot& slot, std::string_view what) {
  std::string place = std::string(slot.host) + ":" + std::to_string(slot.port.load());
  logInfo(event, {{"upstream", place}, {"upstream_uuid", Uuid{slot.uuidHigh.load(), slot.uuidLow.load()}}},
          "upstream {}{}", place, what);
}

}  // namespace

UpstreamState upstreamState(const UpstreamSlot& slot) {
  if (lifeOf(slot) == UpstreamLife::kDraining) return UpstreamState::kDraining;
  switch (lifeState<UpstreamHealth>(slot.health.load())) {
    case UpstreamHealth::kReady:
      return UpstreamState::kReady;
    case UpstreamHealth::kDown:
      return UpstreamState::kDown;
    case UpstreamHealth::kNotReady:
      return UpstreamState::kNotReady;
    case UpstreamHealth::kProbing:
      break;
  }
  return UpstreamState::kProbing;
}

const char* upstreamStateName(UpstreamState state) {
  switch (state) {
    case UpstreamState::kProbing:
      return "probing";
    case UpstreamState::kReady:
      return "ready";
    case UpstreamState::kNotReady:
      return "not_ready";
    case UpstreamState::kDown:
      return "down";
    case UpstreamState::kDraining:
      return "draining";
  }
  return "unknown";
}

bool UpstreamRegistry::occupied(uint32_t slot) const {
  return lifeOf(table_->upstream(slot)) != UpstreamLife::kFree;
}

void UpstreamRegistry::announce() {
  table_->header().upstreamEpoch.fetch_add(1);
  doorbells_->ringAll();
}

AddOutcome UpstreamRegistry::add(const UpstreamRequest& request) {
  std::lock_guard lock(mutex_);
  std::optional<uint32_t> free;
  for (uint32_t i = 0; i < table_->sizes().upstreamSlots; ++i) {
    const UpstreamSlot& slot = table_->upstream(i);
    if (!occupied(i)) {
      if (!free) free = i;
      continue;
    }
    if (slot.port.load() == request.port && slot.pool.load() == request.pool && request.host == slot.host)
      return {AddOutcome::Kind::kAlreadyThere,
              {i, lifeGeneration(slot.life.load()), {slot.uuidHigh.load(), slot.uuidLow.load()}}};
  }
  if (!free || request.host.size() > kMaxHostBytes) return {AddOutcome::Kind::kFull, {}};

  UpstreamSlot& slot = table_->upstream(*free);
  uint32_t generation = lifeGeneration(slot.life.load());
  RandomSource random;
  Uuid uuid = randomUuid(random);
  slot.uuidHigh.store(uuid.high);
  slot.uuidLow.store(uuid.low);
  slot.pool.store(request.pool);
  slot.port.store(request.port);
  slot.aliveTimeoutMs.store(request.aliveTimeoutMs);
  slot.readyTimeoutMs.store(request.readyTimeoutMs);
  slot.registeredRealtimeMs.store(static_cast<uint64_t>(realtimeMillis()));
  slot.drainSinceMs.store(0);
  std::memcpy(slot.host, request.host.c_str(), request.host.size() + 1);
  slot.lastReadyMs.store(0);
  slot.lastLiveMs.store(0);
  slot.readyFailures.store(0);
  slot.timesDown.store(0);
  for (Atomic<uint32_t>& failures : slot.streamFailures) failures.store(0);
  for (Atomic<uint64_t>* figure : {&slot.sessionsAssigned, &slot.messagesIn, &slot.messagesOut, &slot.bytesIn,
                                   &slot.bytesOut, &slot.broadcasts})
    figure->store(0);
  slot.health.store(lifeWord(generation, static_cast<uint8_t>(UpstreamHealth::kProbing)));
  slot.life.store(lifeWord(generation, static_cast<uint8_t>(UpstreamLife::kActive)));
  announce();
  logUpstream("upstream_registered", table_->upstream(*free), " is registered");
  return {AddOutcome::Kind::kAdded, {*free, generation, uuid}};
}

bool UpstreamRegistry::waitReady(const UpstreamRef& upstream) {
  const UpstreamSlot& slot = table_->upstream(upstream.slot);
  auto ready = [&] {
    uint64_t health = slot.health.load();
    return lifeGeneration(health) == upstream.generation &&
           lifeState<UpstreamHealth>(health) == UpstreamHealth::kReady;
  };
  auto over = [&] {
    return slot.life.load() != lifeWord(upstream.generation, static_cast<uint8_t>(UpstreamLife::kActive));
  };
  std::chrono::milliseconds patience(std::min(slot.readyTimeoutMs.load(), kMaxWaitMs));
  std::unique_lock lock(mutex_);
  if (waiters_ < kMaxWaiters) {
    ++waiters_;
    news_.wait_for(lock, patience, [&] { return stopped_ || over() || ready(); });
    --waiters_;
  }
  return !over() && ready();
}

void UpstreamRegistry::stopWaiting() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  news_.notify_all();
}

std::optional<UpstreamRef> UpstreamRegistry::find(const Uuid& uuid) const {
  for (const UpstreamRef& upstream : list())
    if (upstream.uuid == uuid) return upstream;
  return std::nullopt;
}

std::vector<UpstreamRef> UpstreamRegistry::list() const {
  std::lock_guard lock(mutex_);
  std::vector<UpstreamRef> out;
  for (uint32_t i = 0; i < table_->sizes().upstreamSlots; ++i) {
    const UpstreamSlot& slot = table_->upstream(i);
    if (occupied(i))
      out.push_back({i, lifeGeneration(slot.life.load()), {slot.uuidHigh.load(), slot.uuidLow.load()}});
  }
  return out;
}

bool UpstreamRegistry::remove(const Uuid& uuid) {
  std::optional<UpstreamRef> found = find(uuid);
  if (!found) return false;
  std::lock_guard lock(mutex_);
  UpstreamSlot& slot = table_->upstream(found->slot);
  uint64_t life = slot.life.load();
  if (life == lifeWord(found->generation, static_cast<uint8_t>(UpstreamLife::kActive))) {
    slot.drainSinceMs.store(static_cast<uint64_t>(monotonicMillis()));
    slot.life.store(lifeWord(found->generation, static_cast<uint8_t>(UpstreamLife::kDraining)));
    logUpstream("upstream_drains", slot, " is drained");
    announce();
    news_.notify_all();
    // Where no forwarder serves, nobody will answer.
    freeIfDrained(found->slot);
  }
  return lifeGeneration(life) == found->generation;
}

void UpstreamRegistry::changed(uint32_t slot, uint32_t generation) {
  if (slot >= table_->sizes().upstreamSlots) return;
  std::lock_guard lock(mutex_);
  if (lifeGeneration(table_->upstream(slot).life.load()) == generation) freeIfDrained(slot);
  news_.notify_all();
}

void UpstreamRegistry::sweep() {
  std::lock_guard lock(mutex_);
  for (uint32_t i = 0; i < table_->sizes().upstreamSlots; ++i) freeIfDrained(i);
}

bool UpstreamRegistry::streamsEnded(const UpstreamSlot& slot, uint32_t generation) const {
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    if (table_->worker(row).ready.load() == 0) continue;  // a forwarder that starts now opens none to it
    uint64_t stream = slot.streams[row].load();
    bool ended = lifeGeneration(stream) == generation && lifeState<StreamState>(stream) == StreamState::kNone;
    if (!ended) return false;
  }
  return true;
}

void UpstreamRegistry::freeIfDrained(uint32_t index) {
  UpstreamSlot& slot = table_->upstream(index);
  uint64_t life = slot.life.load();
  if (lifeState<UpstreamLife>(life) != UpstreamLife::kDraining) return;
  uint64_t since = slot.drainSinceMs.load();
  uint64_t patience = table_->header().drainMaxMs.load() + kDrainMarginMs;
  bool overdue = static_cast<uint64_t>(monotonicMillis()) - since > patience;
  uint32_t generation = lifeGeneration(life);
  if (!overdue && !streamsEnded(slot, generation)) return;
  logUpstream("upstream_removed", slot, overdue ? " is removed without an answer" : " is removed");
  slot.life.store(lifeWord(generation + 1, static_cast<uint8_t>(UpstreamLife::kFree)));
  announce();
}

}  // namespace ppx
