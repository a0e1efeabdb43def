#include "supervisor/worker_identity.h"

#include <fstream>
#include <iterator>

namespace ppx {

uint8_t firstRowOf(WorkerRole role) {
  switch (role) {
    case WorkerRole::kForwarder:
      return kFirstForwarderRow;
    case WorkerRole::kAcceptor:
      return kFirstAcceptorRow;
    case WorkerRole::kProber:
      return kProberRow;
    case WorkerRole::kCustodian:
      return kCustodianRow;
    case WorkerRole::kNone:
      break;
  }
  return kWorkerRows - 1;
}

std::vector<std::string> workerArguments(const std::string& runtimeDir, uint8_t row, uint32_t incarnation) {
  return {"--runtime-dir",     runtimeDir,      "--row",
          std::to_string(row), "--incarnation", std::to_string(incarnation)};
}

bool runsWith(int pid, const std::vector<std::string>& arguments) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::string line((std::istreambuf_iterator<char>(file)), {});
  std::string expected;
  for (const std::string& each : arguments) expected += each + '\0';
  size_t program = line.find('\0');
  return program != std::string::npos && line.substr(program + 1) == expected;
}

}  // namespace ppx
