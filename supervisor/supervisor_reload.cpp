// The part of Supervisor that takes a changed file into use: all is checked and bound first, then published.
#include <sys/socket.h>

#include <algorithm>

#include "common/log.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/config_loader.h"
#include "supervisor/reload_plan.h"
#include "supervisor/supervisor.h"
#include "supervisor/table_setup.h"

namespace ppx {
namespace {

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& each : texts) out += (out.empty() ? "" : "; ") + each;
  return out;
}

}  // namespace

// The loop, or another thread through onLoop().
OperationAnswer Supervisor::reload() {
  OperationAnswer answer = mayOperate();
  if (answer.status != 202) return answer;
  service_.reloading();
  answer = loadAgain();
  service_.ready();
  return answer;
}

OperationAnswer Supervisor::loadAgain() {
  LoadedConfig loaded = loadConfig(options_.configFile);
  std::vector<std::string> errors;
  for (const ConfigError& error : loaded.errors) errors.push_back(error.text());
  if (loaded.config) errors = beyondTheTable(*loaded.config);
  if (!errors.empty()) return refuseReload(422, "bad_config", joined(errors));
  if (options_.logLevelForced) loaded.config->log.level = config_.log.level;
  return takeIntoUse(std::move(*loaded.config));
}

OperationAnswer Supervisor::refuseReload(int status, const std::string& code, const std::string& why) {
  logError("reload_refused", {{"reason", why}}, "the configuration is not taken into use: {}", why);
  events_.append("reload_refused", {{"reason", why}});
  serviceStatus_.note("the configuration was refused");
  return {status, code, why + "; nothing has changed", operations_->status()};
}

OperationAnswer Supervisor::takeIntoUse(Config wanted) {
  ReloadPlan plan = planReload(config_, wanted);
  if (!plan.refused.empty())
    return refuseReload(422, "cannot_change",
                        "these count only from a full restart on: " + joined(plan.refused));
  SettingsPublisher publisher(*table_);
  if (!publisher.hasRoomForPools(wanted))
    return refuseReload(
        422, "cannot_change",
        "more pools have been named than the table has rows (" + std::to_string(kMaxPools) + ")");
  if (!publisher.hasRoomForListeners(wanted))
    return refuseReload(422, "cannot_change",
                        "the table has rows for " + std::to_string(kMaxListeners) +
                            " listeners, those among them that were removed and still have sessions");
  SessionCapacity capacity = sessionCapacity(wanted, table_->sizes().sessionSlots, status_.descriptorLimit);
  std::map<std::string, ListenerSocket> bound;
  for (const ListenerConfig& listener : plan.opened) {
    auto opened = ppx::openListener(listener);
    if (!opened) return refuseReload(409, "listener_unavailable", opened.error().text);
    bound.emplace(listener.name, std::move(*opened));
  }
  Config before = config_;
  // Not management as a whole: other threads read its token and its host.
  config_.listeners = std::move(wanted.listeners);
  config_.pools = std::move(wanted.pools);
  config_.upstreams = std::move(wanted.upstreams);
  config_.workers = wanted.workers;
  config_.sessions = wanted.sessions;
  config_.admission = wanted.admission;
  config_.log = wanted.log;
  config_.management.shutdownTimeout = wanted.management.shutdownTimeout;
  publisher.publishSettings(config_, capacity.sessions);
  status_.sessionCapacity = capacity.sessions;
  publishListeners(plan, bound);
  for (const UpstreamConfig& upstream : plan.upstreamsRemoved) drainUpstream(upstream);
  registerUpstreams();
  applyWorkers(before);
  OperationAnswer answer{200, "", "", operations_->status(), plan.changed};
  if (before.workers.forwarders != config_.workers.forwarders)
    answer.operation =
        operations_
            ->start({.kind = OperationRequest::Kind::kScaleForwarders, .number = config_.workers.forwarders})
            .operation;
  publishStatus();  // first: who reads that it is in use finds it so
  logInfo("reloaded", {}, "the configuration is taken into use: {}",
          plan.changed.empty() ? "nothing has changed" : joined(plan.changed));
  events_.append("reloaded", {{"changed", plan.changed}});
  serviceStatus_.note("configuration reloaded");
  return answer;
}

void Supervisor::publishListeners(const ReloadPlan& plan, std::map<std::string, ListenerSocket>& bound) {
  SettingsPublisher publisher(*table_);
  std::vector<ListenerStatus> listed;
  auto publish = [&](const ListenerConfig& listener, uint32_t row) {
    if (auto fresh = bound.find(listener.name); fresh != bound.end())
      sockets_.insert_or_assign(row, std::move(fresh->second));
    // Again, for a changed backlog; it changes nothing else.
    ::listen(sockets_.at(row).socket.get(), static_cast<int>(listener.backlog));
    uint16_t port = sockets_.at(row).port;
    publisher.publishListener(row, listener, config_, port);
    listed.push_back({listener.name, listener.host, listener.pool, row, port});
  };
  for (const ListenerConfig& listener : config_.listeners)
    publish(listener, publisher.rowForListener(listener.name).value());
  for (const ListenerStatus& listener : status_.listeners) {
    if (std::find(plan.closed.begin(), plan.closed.end(), listener.name) == plan.closed.end()) continue;
    publisher.retireListener(listener.row);
    sockets_.erase(listener.row);
  }
  status_.listeners = std::move(listed);
  if (plan.opened.empty() && plan.closed.empty()) return;
  workers_->sendListeners();
  custody_->refill();
}

void Supervisor::drainUpstream(const UpstreamConfig& upstream) {
  uint32_t pool = SettingsPublisher(*table_).poolRow(upstream.pool);
  for (const UpstreamRef& each : admin_->upstreams().list()) {
    const UpstreamSlot& slot = table_->upstream(each.slot);
    if (upstream.host == slot.host && upstream.port == slot.port && pool == slot.pool)
      admin_->upstreams().remove(each.uuid);
  }
}

void Supervisor::applyWorkers(const Config& before) {
  resetLogSettings();
  workers_->configure(config_.workers);
  operations_->configure(config_.workers);
  if (before.workers.acceptors != config_.workers.acceptors)
    workers_->resize(WorkerRole::kAcceptor, config_.workers.acceptors);
}

}  // namespace ppx
