#include "supervisor/service_status.h"

#include <fmt/format.h>
#include <time.h>

namespace ppx {
namespace {

struct UpstreamCount {
  uint32_t ready = 0;
  uint32_t all = 0;
};

UpstreamCount countUpstreams(const Table& table) {
  UpstreamCount out;
  for (uint32_t i = 0; i < table.sizes().upstreamSlots; ++i) {
    const UpstreamSlot& slot = table.upstream(i);
    uint64_t life = slot.life.load(), health = slot.health.load();
    if (lifeState<UpstreamLife>(life) != UpstreamLife::kActive) continue;
    ++out.all;
    out.ready += health == lifeWord(lifeGeneration(life), static_cast<uint8_t>(UpstreamHealth::kReady));
  }
  return out;
}

// Of the forwarders that live; those of a dead one are counted by who takes them.
uint64_t countSessions(const Table& table) {
  uint64_t sessions = 0;
  for (uint8_t row = kFirstForwarderRow; row < kFirstForwarderRow + kMaxForwarders; ++row)
    if (table.worker(row).incarnation.load() != 0) sessions += table.worker(row).sessions.load();
  return sessions;
}

const char* healthText(UpstreamHealth health) {
  switch (health) {
    case UpstreamHealth::kProbing:
      return "is asked";
    case UpstreamHealth::kReady:
      return "ready";
    case UpstreamHealth::kDown:
      return "down";
    case UpstreamHealth::kNotReady:
      return "not ready";
  }
  return "";
}

// As the clock of the person who reads it.
std::string clockTime() {
  time_t now = ::time(nullptr);
  tm local{};
  ::localtime_r(&now, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

}  // namespace

void ServiceStatus::note(const std::string& what) {
  last_ = what + " " + clockTime();
}

void ServiceStatus::noteOperation(const OperationStatus& operation) {
  if (operation.state == OperationStatus::State::kRunning) {
    operationSeen_ = operation.id;
  } else if (operationSeen_ != 0) {
    operationSeen_ = 0;
    note(operation.name + (operation.state == OperationStatus::State::kDone ? " done" : " failed"));
  }
}

void ServiceStatus::noteUpstream(const UpstreamSlot& upstream) {
  uint64_t now = upstream.health.load();
  uint64_t& seen = healthSeen_[&upstream];
  if (std::exchange(seen, now) == now || lifeGeneration(now) != lifeGeneration(upstream.life.load())) return;
  note(fmt::format("upstream {}:{} {}", upstream.host, upstream.port.load(),
                   healthText(lifeState<UpstreamHealth>(now))));
}

std::string ServiceStatus::line(const std::string& phase, const Table& table,
                                const OperationStatus& operation) const {
  auto [ready, all] = countUpstreams(table);
  uint64_t sessions = countSessions(table);
  std::string out = fmt::format("{}: {} session{}, {} of {} upstream{} ready", phase, sessions,
                                sessions == 1 ? "" : "s", ready, all, all == 1 ? "" : "s");
  if (operation.state == OperationStatus::State::kRunning)
    return out + "; under way: " + operation.name +
           (operation.progress.empty() ? "" : " (" + operation.progress + ")");
  return last_.empty() ? out : out + "; " + last_;
}

}  // namespace ppx
