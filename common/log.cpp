#include "common/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace ppx {

void startLog(const std::string& process, int level) {
  auto logger = std::make_shared<spdlog::logger>(process, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %n[%P] %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  setLogLevel(level);
}

void setLogLevel(int level) {
  spdlog::set_level(static_cast<spdlog::level::level_enum>(level));
}

}  // namespace ppx
