#include "forwarder/prober/prober.h"

#include <fcntl.h>

#include "common/clock.h"

namespace ppx {
namespace {

constexpr std::chrono::milliseconds kLook{1000};
constexpr std::chrono::milliseconds kPatience{2000};

}  // namespace

Prober::Prober(boost::asio::io_context& io, Table& table, Doorbells& doorbells, OnChanged onChanged)
    : io_(io),
      table_(table),
      doorbells_(doorbells),
      onChanged_(std::move(onChanged)),
      gate_(std::make_shared<CallGate>(io)),
      bell_(io),
      second_(io),
      probes_(table.sizes().upstreamSlots) {}

Prober::~Prober() {
  probes_.clear();
  gate_->close(kPatience);
}

Status Prober::start() {
  // A copy: the stream_descriptor closes what it is given.
  int copy = ::fcntl(doorbells_.descriptor(kProberRow), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return systemError("duplicating the prober's doorbell");
  bell_.assign(copy);
  // A predecessor may have died between a change and its announcement.
  for (uint32_t slot = 0; slot < probes_.size(); ++slot)
    if (auto identity = readUpstream(table_, slot)) announce(*identity);
  waitForBell();
  waitForSecond();
  sync();
  return Done{};
}

void Prober::waitForBell() {
  bell_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                   [this](const boost::system::error_code& error) {
                     if (error) return;
                     doorbells_.answered(table_, kProberRow);
                     sync();
                     waitForBell();
                   });
}

void Prober::waitForSecond() {
  second_.expires_after(kLook);
  second_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sync();
    waitForSecond();
  });
}

void Prober::sync() {
  Millis now = monotonicMillis();
  for (uint32_t slot = 0; slot < probes_.size(); ++slot) syncRow(slot, now);
}

void Prober::syncRow(uint32_t slot, Millis now) {
  std::unique_ptr<UpstreamProbe>& probe = probes_[slot];
  if (probe && upstreamPresent(table_, slot, probe->generation())) return probe->checkStreams(now);
  if (probe) probe->gone();
  probe.reset();
  auto identity = readUpstream(table_, slot);
  if (!identity) return;
  probe = std::make_unique<UpstreamProbe>(io_, table_, gate_, std::move(*identity),
                                          [this](const UpstreamIdentity& who) { announce(who); });
  probe->start();
}

void Prober::announce(const UpstreamIdentity& identity) {
  table_.header().upstreamEpoch.fetch_add(1);
  doorbells_.ringAll();
  if (onChanged_) onChanged_(identity.slot, identity.generation);
}

}  // namespace ppx
