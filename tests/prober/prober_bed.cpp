#include "tests/prober/prober_bed.h"

#include <cstring>
#include <stdexcept>

namespace ppx::test {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text);
  return std::move(*result);
}

TableSizes sizesFor(uint32_t upstreamSlots) {
  TableSizes sizes;
  sizes.sessionSlots = 16;
  sizes.inSegments = sizes.outSegments = 16;
  sizes.upstreamSlots = upstreamSlots;
  return sizes;
}

}  // namespace

ProberBed::ProberBed(uint32_t upstreamSlots)
    : table_(must(Table::create(sizesFor(upstreamSlots)))), doorbells_(must(Doorbells::create())) {}

ProberBed::~ProberBed() {
  stopProber();
}

void ProberBed::startProber() {
  io_ = std::make_unique<boost::asio::io_context>(1);
  prober_ = std::make_unique<Prober>(*io_, table_, doorbells_, [this](uint32_t, uint32_t) {
    std::lock_guard lock(mutex_);
    ++changes_;
    changed_.notify_all();
  });
  must(prober_->start());
  thread_ = std::thread([this] {
    auto work = boost::asio::make_work_guard(*io_);
    io_->run();
  });
}

void ProberBed::stopProber() {
  if (!prober_) return;
  io_->stop();
  thread_.join();
  prober_.reset();
  io_.reset();
}

uint32_t ProberBed::add(uint32_t slot, const std::string& host, uint32_t port, UpstreamTimes times) {
  UpstreamSlot& row = table_.upstream(slot);
  uint32_t generation = lifeGeneration(row.life.load());
  std::memset(row.host, 0, sizeof(row.host));
  std::memcpy(row.host, host.data(), std::min(host.size(), kMaxHostBytes));
  row.port = port;
  row.aliveTimeoutMs = times.aliveMs;
  row.readyTimeoutMs = times.readyMs;
  row.lastReadyMs = row.lastLiveMs = 0;
  row.readyFailures = row.timesDown = 0;
  row.health = lifeWord(generation, static_cast<uint8_t>(UpstreamHealth::kProbing));
  row.life = lifeWord(generation, static_cast<uint8_t>(UpstreamLife::kActive));
  table_.header().upstreamEpoch.fetch_add(1);
  doorbells_.ringAll();
  return generation;
}

void ProberBed::drain(uint32_t slot) {
  UpstreamSlot& row = table_.upstream(slot);
  row.life = lifeWord(lifeGeneration(row.life.load()), static_cast<uint8_t>(UpstreamLife::kDraining));
  table_.header().upstreamEpoch.fetch_add(1);
  doorbells_.ringAll();
}

void ProberBed::remove(uint32_t slot) {
  UpstreamSlot& row = table_.upstream(slot);
  row.life = lifeWord(lifeGeneration(row.life.load()) + 1, static_cast<uint8_t>(UpstreamLife::kFree));
  table_.header().upstreamEpoch.fetch_add(1);
  doorbells_.ringAll();
}

UpstreamHealth ProberBed::health(uint32_t slot) {
  return lifeState<UpstreamHealth>(table_.upstream(slot).health.load());
}

bool ProberBed::waitFor(const std::function<bool()>& holds, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, holds);
}

bool ProberBed::waitHealth(uint32_t slot, UpstreamHealth expected, std::chrono::milliseconds patience) {
  return waitFor([&] { return health(slot) == expected; }, patience);
}

bool ProberBed::waitProof(uint32_t slot, std::chrono::milliseconds patience) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  while (table_.upstream(slot).lastLiveMs.load() == 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

int ProberBed::changes() {
  std::lock_guard lock(mutex_);
  return changes_;
}

}  // namespace ppx::test

#ifdef __SANITIZE_ADDRESS__
// Debian's c-ares leaks ten bytes when it reads the host's name; gRPC resolves names with it.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libcares";
}
#endif
