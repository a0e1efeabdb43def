// The part of Supervisor that says how much, and how, every process logs.
#include "common/log_settings.h"
#include "supervisor/supervisor.h"

namespace ppx {
namespace {

LogSettings asConfigured(const LogConfig& config) {
  auto level = config.level == LogLevel::kOff ? LogAt::off : static_cast<LogAt>(config.level);
  return LogSettings::same(static_cast<uint8_t>(level), config.format);
}

}  // namespace

// Before there is a table.
void Supervisor::applyConfiguredLog() {
  applyLogSettings(asConfigured(config_.log).word(), WorkerRole::kNone);
}

// With the table. What was set at run time outlives the supervisor, unless the file has another level than its
// predecessor's had.
void Supervisor::startLogSettings() {
  LogSettings settings = asConfigured(config_.log);
  auto before = LogSettings::from(table_->header().logging.load());
  if (before && before->configured == settings.configured) settings.levels = before->levels;
  setLogSettings(settings);
}

// As the file says: what was set at run time is over.
void Supervisor::resetLogSettings() {
  setLogSettings(asConfigured(config_.log));
}

void Supervisor::setLogSettings(const LogSettings& settings) {
  table_->header().logging.store(settings.word());
  applyLogSettings(settings.word(), WorkerRole::kNone);
}

OperationAnswer Supervisor::changeLog(const LogChange& change) {
  LogSettings settings =
      LogSettings::from(table_->header().logging.load()).value_or(asConfigured(config_.log));
  uint8_t level = change.level.value_or(settings.configured);
  if (change.role)
    settings.of(*change.role) = level;
  else
    settings.levels.fill(level);
  setLogSettings(settings);
  return {200, "", "", operations_->status()};
}

}  // namespace ppx
