// The commands of the bundled workers, by language; the paths come from CMake.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace ppx::test {

struct WorkerCommand {
  std::string language;
  std::vector<std::string> argv;
};

inline void PrintTo(const WorkerCommand& command, std::ostream* out) {
  *out << command.language;
}

inline std::string languageOf(const testing::TestParamInfo<WorkerCommand>& worker) {
  return worker.param.language;
}

inline std::string workerBinary(const std::string& name) {
  return std::string(PPX_BIN_DIR) + "/paradox-example-" + name;
}

inline std::vector<WorkerCommand> allLanguages(const std::string& name) {
  return {{"Cpp", {workerBinary(name), "--quiet"}}};
}

}  // namespace ppx::test
