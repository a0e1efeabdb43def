// The log settings of all processes of a gateway as one word: TableHeader::logging. The supervisor writes it, workers
// look at it with each heartbeat, so it holds for those that start later too, and for those whose supervisor is away.
//
//   bits  0..19   levels (spdlog's numbers), 4 bits a role: supervisor, forwarders, acceptors, prober, custodian
//   bits 20..23   the configuration's level when they were set
//   bits 24..27   LogFormat
//   bit  31       set; a word without it says nothing
#pragma once

#include <algorithm>
#include <array>
#include <optional>

#include "common/log.h"
#include "common/worker_role.h"

namespace ppx {

struct LogSettings {
  static constexpr size_t kRoles = 5;
  std::array<uint8_t, kRoles> levels{};  // by WorkerRole; kNone: the supervisor
  uint8_t configured = 0;
  LogFormat format = LogFormat::kAuto;
  bool operator==(const LogSettings&) const = default;

  static LogSettings same(uint8_t level, LogFormat format) {
    LogSettings out{{}, level, format};
    out.levels.fill(level);
    return out;
  }
  uint8_t& of(WorkerRole role) { return levels[static_cast<size_t>(role)]; }

  uint32_t word() const {
    uint32_t out = 1u << 31 | static_cast<uint32_t>(format) << 24 | static_cast<uint32_t>(configured) << 20;
    for (size_t i = 0; i < kRoles; ++i) out |= static_cast<uint32_t>(levels[i]) << (4 * i);
    return out;
  }
  static std::optional<LogSettings> from(uint32_t word) {
    if ((word & 1u << 31) == 0) return std::nullopt;
    LogSettings out{{}, static_cast<uint8_t>(word >> 20 & 0xf), static_cast<LogFormat>(word >> 24 & 0xf)};
    for (size_t i = 0; i < kRoles; ++i) out.levels[i] = static_cast<uint8_t>(word >> (4 * i) & 0xf);
    return out;
  }
};

// Takes what the word says of a role into use in this process.
inline void applyLogSettings(uint32_t word, WorkerRole role) {
  auto settings = LogSettings::from(word);
  if (!settings) return;
  setLogLevel(std::min<int>(settings->of(role), LogAt::off));
  setLogFormat(settings->format);
  spdlog::debug("logs at level {} from here on", spdlog::level::to_string_view(spdlog::get_level()));
}

}  // namespace ppx
