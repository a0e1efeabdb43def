#include "forwarder/prober/upstream_probe.h"

#include <algorithm>
#include <random>

#include "common/failpoint.h"
#include "common/log.h"
#include "forwarder/upstream_target.h"

namespace ppx {
namespace {

constexpr uint32_t kSuspiciousFailures = 3;  // in a row, on one forwarder
constexpr Millis kSuspicionSpacing = 1000;

UpstreamSlot& rowOf(const Table& table, const UpstreamIdentity& identity) {
  return table.upstream(identity.slot);
}

UpstreamHealth healthFound(const Table& table, const UpstreamIdentity& identity) {
  uint64_t word = rowOf(table, identity).health.load(std::memory_order_acquire);
  return lifeGeneration(word) == identity.generation ? lifeState<UpstreamHealth>(word)
                                                     : UpstreamHealth::kProbing;
}

bool occupied(uint64_t life) {
  UpstreamLife state = lifeState<UpstreamLife>(life);
  return state == UpstreamLife::kActive || state == UpstreamLife::kDraining;
}

}  // namespace

bool upstreamPresent(const Table& table, uint32_t slot, uint32_t generation) {
  uint64_t life = table.upstream(slot).life.load(std::memory_order_acquire);
  return occupied(life) && lifeGeneration(life) == generation;
}

std::optional<UpstreamIdentity> readUpstream(const Table& table, uint32_t slot) {
  UpstreamSlot& row = table.upstream(slot);
  uint64_t life = row.life.load(std::memory_order_acquire);
  if (!occupied(life)) return std::nullopt;
  UpstreamIdentity identity;
  identity.slot = slot;
  identity.generation = lifeGeneration(life);
  identity.host.assign(row.host, std::find(row.host, row.host + kMaxHostBytes, '\0'));
  identity.port = row.port.load(std::memory_order_relaxed);
  identity.aliveTimeout = std::max<Millis>(row.aliveTimeoutMs.load(std::memory_order_relaxed), 1);
  identity.readyTimeout = std::max<Millis>(row.readyTimeoutMs.load(std::memory_order_relaxed), 1);
  // A row that was given to somebody else meanwhile: the doorbell rings again. Adding nothing, unlike a load,
  // keeps the reads above before it.
  uint64_t after = row.life.fetch_add(0, std::memory_order_acq_rel);
  if (!occupied(after) || lifeGeneration(after) != identity.generation) return std::nullopt;
  return identity;
}

UpstreamProbe::UpstreamProbe(boost::asio::io_context& io, Table& table, std::shared_ptr<CallGate> gate,
                             UpstreamIdentity identity, std::function<void(const UpstreamIdentity&)> changed)
    : table_(table),
      identity_(std::move(identity)),
      label_(upstreamLabel(identity_.host, identity_.port)),
      changed_(std::move(changed)),
      machine_(healthFound(table, identity_), identity_.aliveTimeout, monotonicMillis(),
               std::random_device{}()),
      timer_(io),
      calls_(std::make_shared<ProbeCalls>(
          std::move(gate), upstreamTarget(identity_.host, identity_.port),
          [this](ProbeEvent event, const std::string& detail) { handle(event, detail); })) {}

UpstreamProbe::~UpstreamProbe() {
  calls_->drop();
}

void UpstreamProbe::start() {
  armTimer();
}

bool UpstreamProbe::present() const {
  return upstreamPresent(table_, identity_.slot, identity_.generation);
}

void UpstreamProbe::checkStreams(Millis now) {
  if (healthOf(machine_.state()) != UpstreamHealth::kReady) return;
  if (now - suspectedAt_ < kSuspicionSpacing) return;
  UpstreamSlot& row = rowOf(table_, identity_);
  for (uint32_t i = 0; i < kMaxForwarders; ++i) {
    if (row.streamFailures[i].load(std::memory_order_relaxed) < kSuspiciousFailures) continue;
    if (lifeGeneration(row.streams[i].load()) != identity_.generation) continue;  // of a tenant before
    suspectedAt_ = now;
    return handle(ProbeEvent::kSuspect, "");
  }
}

void UpstreamProbe::gone() {
  handle(ProbeEvent::kGone, "");
}

void UpstreamProbe::handle(ProbeEvent event, const std::string& detail) {
  recordAnswer(event);
  perform(machine_.handle(event, monotonicMillis()), detail);
  armTimer();
}

void UpstreamProbe::recordAnswer(ProbeEvent event) {
  if (!present()) return;
  UpstreamSlot& row = rowOf(table_, identity_);
  if (event == ProbeEvent::kReadyOk) {
    row.lastReadyMs.store(static_cast<uint64_t>(monotonicMillis()));
    row.readyFailures.store(0);
    row.announced.store(
        lifeWord(identity_.generation, static_cast<uint8_t>(std::min(calls_->extensions(), 255u))));
  } else if (event == ProbeEvent::kReadyRefused || event == ProbeEvent::kReadyFailed) {
    row.readyFailures.fetch_add(1);
  }
}

void UpstreamProbe::perform(uint32_t actions, const std::string& detail) {
  if ((actions & probe::kDrop) != 0) calls_->drop();
  if ((actions & probe::kClose) != 0) calls_->closeLive();
  if ((actions & probe::kAsk) != 0) calls_->askReady(identity_.readyTimeout);
  if ((actions & probe::kOpen) != 0) calls_->openLive();
  if ((actions & probe::kPing) != 0) calls_->pingLive();
  if ((actions & probe::kGood) != 0 && present())
    rowOf(table_, identity_).lastLiveMs.store(static_cast<uint64_t>(monotonicMillis()));
  if ((actions & probe::kPublish) != 0) publish(detail);
  if (machine_.state() == ProbeState::kPolled && !saidPolled_) {
    saidPolled_ = true;
    logInfo("upstream_polled", {{"upstream", label_}},
            "upstream {} has no `live` method; `ready` is asked each {} ms instead", label_,
            machine_.interval());
  }
}

void UpstreamProbe::publish(const std::string& detail) {
  UpstreamSlot& row = rowOf(table_, identity_);
  UpstreamHealth health = healthOf(machine_.state());
  // The word is read before `life`: when the row gets another tenant in between, the exchange fails or is
  // overwritten, because the supervisor writes the new health after it took the old life away.
  uint64_t before = row.health.load();
  uint64_t life = row.life.load();
  if (!occupied(life) || lifeGeneration(life) != identity_.generation) return;
  UpstreamHealth last = lifeGeneration(before) == identity_.generation ? lifeState<UpstreamHealth>(before)
                                                                       : UpstreamHealth::kProbing;
  // What is draining never comes back into rotation.
  if (health == UpstreamHealth::kReady && lifeState<UpstreamLife>(life) == UpstreamLife::kDraining) return;
  uint64_t after = lifeWord(identity_.generation, static_cast<uint8_t>(health));
  if (before == after || !row.health.compare_exchange_strong(before, after)) return;
  if (health == UpstreamHealth::kDown && last == UpstreamHealth::kReady) row.timesDown.fetch_add(1);
  failpoint("prober.published");
  logHealth(health, detail);
  changed_(identity_);
}

void UpstreamProbe::logHealth(UpstreamHealth health, const std::string& detail) const {
  if (health == UpstreamHealth::kReady)
    logInfo("upstream_ready", {{"upstream", label_}}, "upstream {} is ready", label_);
  else if (health == UpstreamHealth::kNotReady)
    logInfo("upstream_not_ready", {{"upstream", label_}, {"reason", detail}}, "upstream {} is not ready: {}",
            label_, detail);
  else
    logWarn("upstream_down", {{"upstream", label_}, {"reason", detail}}, "upstream {} is down: {}", label_,
            detail);
}

void UpstreamProbe::armTimer() {
  Millis due = machine_.due();
  if (due == armedFor_) return;
  armedFor_ = due;
  if (due == ProbeMachine::kNever) {
    timer_.cancel();
    return;
  }
  // Both are CLOCK_MONOTONIC.
  timer_.expires_at(std::chrono::steady_clock::time_point(std::chrono::milliseconds(due)));
  timer_.async_wait([this, here = std::weak_ptr<ProbeCalls>(calls_)](const boost::system::error_code& error) {
    // A timer that had fired before it was cancelled comes here too, even after this probe is gone.
    if (error || here.expired()) return;
    armedFor_ = ProbeMachine::kNever;
    perform(machine_.tick(monotonicMillis()),
            "no good answer within " + std::to_string(identity_.aliveTimeout) + " ms");
    armTimer();
  });
}

}  // namespace ppx
