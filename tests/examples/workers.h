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

// Names the tests of a suite that runs with each worker.
inline std::string languageOf(const testing::TestParamInfo<WorkerCommand>& worker) {
  return worker.param.language;
}

inline std::string workerBinary(const std::string& name) {
  return std::string(PPX_BIN_DIR) + "/paradox-example-" + name;
}

inline std::vector<WorkerCommand> allLanguages(const std::string& name) {
  const std::string examples = std::string(PPX_SOURCE_DIR) + "/examples/";
  return {
      {"Cpp", {workerBinary(name), "--quiet"}},
      {"Python",
       {"/usr/bin/env", "PPX_PYTHON_STUBS=" PPX_PYTHON_STUBS, "/usr/bin/python3",
        examples + "python/" + name + ".py"}},
      {"Node", {"/usr/bin/env", "NODE_PATH=" PPX_NODE_PATH, PPX_NODE, examples + "node/" + name + ".js"}}};
}

}  // namespace ppx::test
