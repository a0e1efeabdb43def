#include "forwarder/upstream_rotation.h"

namespace ppx {

void UpstreamRotation::refresh() {
  uint64_t epoch = table_->header().upstreamEpoch.load();
  if (epoch == epoch_) return;
  epoch_ = epoch;
  ready_.assign(kMaxPools, {});
  for (uint32_t i = 0; i < table_->sizes().upstreamSlots; ++i) {
    const UpstreamSlot& slot = table_->upstream(i);
    uint64_t life = slot.life.load(), health = slot.health.load();
    if (lifeState<UpstreamLife>(life) != UpstreamLife::kActive ||
        lifeGeneration(life) != lifeGeneration(health) ||
        lifeState<UpstreamHealth>(health) != UpstreamHealth::kReady)
      continue;
    uint32_t pool = slot.pool.load();
    if (pool < kMaxPools) ready_[pool].push_back(i);
  }
}

std::optional<uint32_t> UpstreamRotation::next(uint32_t pool, const std::function<bool(uint32_t)>& usable) {
  refresh();
  const std::vector<uint32_t>& ready = ready_.at(pool);
  if (ready.empty()) return std::nullopt;
  uint64_t turn = table_->pool(pool).roundRobin.fetch_add(1);
  for (size_t i = 0; i < ready.size(); ++i) {
    uint32_t upstream = ready[(turn + i) % ready.size()];
    if (usable(upstream)) return upstream;
  }
  return std::nullopt;
}

bool UpstreamRotation::any(uint32_t pool) {
  refresh();
  return !ready_.at(pool).empty();
}

}  // namespace ppx
