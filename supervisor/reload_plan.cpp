#include "supervisor/reload_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace ppx {
namespace {

void refuse(ReloadPlan& plan, bool differs, const char* key) {
  if (differs) plan.refused.push_back(key);
}

void note(ReloadPlan& plan, bool differs, std::string text) {
  if (differs) plan.changed.push_back(std::move(text));
}

template <typename T>
const T* named(const std::vector<T>& all, const std::string& name) {
  auto found = std::find_if(all.begin(), all.end(), [&](const T& each) { return each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

bool samePlace(const UpstreamConfig& one, const UpstreamConfig& other) {
  return one.host == other.host && one.port == other.port && one.pool == other.pool;
}

const UpstreamConfig* at(const std::vector<UpstreamConfig>& all, const UpstreamConfig& place) {
  auto found = std::find_if(all.begin(), all.end(), [&](const auto& each) { return samePlace(each, place); });
  return found == all.end() ? nullptr : &*found;
}

std::string text(const UpstreamConfig& upstream) {
  return fmt::format("upstream {}:{} ({})", upstream.host, upstream.port, upstream.pool);
}

void compareFixed(ReloadPlan& plan, const Config& running, const Config& wanted) {
  const SessionsConfig &a = running.sessions, &b = wanted.sessions;
  refuse(plan, a.max != b.max, "sessions.max");
  refuse(plan, a.journalInBytes != b.journalInBytes, "sessions.journal_in_bytes");
  refuse(plan, a.journalOutBytes != b.journalOutBytes, "sessions.journal_out_bytes");
  const ManagementConfig &m = running.management, &n = wanted.management;
  refuse(plan, m.host != n.host, "management_server.host");
  refuse(plan, m.port != n.port, "management_server.port");
  refuse(plan, m.threads != n.threads, "management_server.threads");
  refuse(plan, m.token != n.token || m.tokenFile != n.tokenFile, "management_server.token");
  refuse(plan, m.tls != n.tls, "management_server.tls");
  for (const UpstreamConfig& each : wanted.upstreams)
    if (const UpstreamConfig* before = at(running.upstreams, each); before != nullptr && *before != each)
      plan.refused.push_back(text(each) + ".alive_timeout, ready_timeout");
}

void compareListeners(ReloadPlan& plan, const Config& running, const Config& wanted) {
  for (const ListenerConfig& each : wanted.listeners) {
    const ListenerConfig* before = named(running.listeners, each.name);
    bool moved = before != nullptr && (before->host != each.host || before->port != each.port);
    if (before == nullptr || moved) plan.opened.push_back(each);
    note(plan, before == nullptr, "listener " + each.name + ": added");
    note(plan, before != nullptr && *before != each, "listener " + each.name + ": changed");
  }
  for (const ListenerConfig& each : running.listeners) {
    if (named(wanted.listeners, each.name) != nullptr) continue;
    plan.closed.push_back(each.name);
    note(plan, true, "listener " + each.name + ": removed");
  }
}

void compareUpstreams(ReloadPlan& plan, const Config& running, const Config& wanted) {
  for (const UpstreamConfig& each : wanted.upstreams) {
    if (at(running.upstreams, each) != nullptr) continue;
    plan.upstreamsAdded.push_back(each);
    note(plan, true, text(each) + ": added");
  }
  for (const UpstreamConfig& each : running.upstreams) {
    if (at(wanted.upstreams, each) != nullptr) continue;
    plan.upstreamsRemoved.push_back(each);
    note(plan, true, text(each) + ": drains");
  }
}

}  // namespace

ReloadPlan planReload(const Config& running, const Config& wanted) {
  ReloadPlan plan;
  compareFixed(plan, running, wanted);
  compareListeners(plan, running, wanted);
  compareUpstreams(plan, running, wanted);
  for (const PoolConfig& each : wanted.pools)
    note(plan, named(running.pools, each.name) == nullptr, "pool " + each.name + ": added");
  const WorkersConfig &v = running.workers, &w = wanted.workers;
  note(plan, v.forwarders != w.forwarders,
       fmt::format("workers.forwarders: {}, was {}", w.forwarders, v.forwarders));
  note(plan, v.acceptors != w.acceptors,
       fmt::format("workers.acceptors: {}, was {}", w.acceptors, v.acceptors));
  WorkersConfig others = v;
  others.forwarders = w.forwarders;
  others.acceptors = w.acceptors;
  note(plan, others != w, "workers: timeouts");
  note(plan, running.sessions != wanted.sessions, "sessions");
  note(plan, running.admission != wanted.admission, "admission");
  note(plan, running.log != wanted.log, "log");
  note(plan, running.management.shutdownTimeout != wanted.management.shutdownTimeout,
       "management_server.shutdown_timeout");
  return plan;
}

}  // namespace ppx
