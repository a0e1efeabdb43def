// The log of a process: one line an event, to stderr. Set up once in main().
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace ppx {

// `process` stands in each line, e.g. "forwarder-1". Level: 0 trace .. 6 off (spdlog's numbers).
void startLog(const std::string& process, int level = SPDLOG_LEVEL_INFO);
void setLogLevel(int level);

}  // namespace ppx
