#include "common/log.h"

#include <spdlog/sinks/base_sink.h>

#include <chrono>
#include <memory>
#include <mutex>

#include "common/log_output.h"

namespace ppx {
namespace {

// Made once and never destroyed: threads may log until the process ends.
LogOutput* output = nullptr;

Millis millisOf(spdlog::log_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

class Sink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    output->write(
        {millisOf(message.time), message.level, "", {}, {message.payload.data(), message.payload.size()}});
  }
  void flush_() override {}
};

}  // namespace

void startLog(const std::string& process, std::optional<LogOrigin> worker) {
  if (output == nullptr) output = new LogOutput({process, worker});
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(process, std::make_shared<Sink>()));
  setLogLevel(LogAt::info);
}

void setLogLevel(int level) {
  spdlog::set_level(static_cast<LogAt>(level));
}

void setLogFormat(LogFormat format) {
  if (output != nullptr) output->setFormat(format);
}

void setLogIncarnation(uint32_t incarnation) {
  if (output != nullptr) output->setIncarnation(incarnation);
}

// Without startLog(), as in unit tests: spdlog's own way.
void writeEvent(LogAt level, std::string_view event, LogFields fields, std::string_view text) {
  if (output == nullptr) return spdlog::log(level, "{}", text);
  output->write({realtimeMillis(), level, event, fields, text});
}

}  // namespace ppx
