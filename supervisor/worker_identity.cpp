#include "supervisor/worker_identity.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

namespace ppx {
namespace {

constexpr char kSuccessorOf[] = "--successor-of";

// Each argument ends with a zero byte. Empty: there is no such process; it may end between opening and reading, and then an
// iterator over the file would throw (WorkerIdentity.OutlivesTheEndOfAProcessThatItReads).
std::string commandLine(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::ostringstream line;
  line << file.rdbuf();
  return line.str();
}

}  // namespace

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

WorkerRole roleOfRow(uint8_t row) {
  if (row < kFirstForwarderRow + kMaxForwarders) return WorkerRole::kForwarder;
  if (row < kFirstAcceptorRow + kMaxAcceptors) return WorkerRole::kAcceptor;
  if (row == kProberRow) return WorkerRole::kProber;
  return row == kCustodianRow ? WorkerRole::kCustodian : WorkerRole::kNone;
}

std::vector<std::string> externalArguments(const std::string& runtimeDir) {
  return {"--runtime-dir", runtimeDir};
}

std::vector<std::string> workerArguments(const std::string& runtimeDir, uint8_t row, uint32_t incarnation) {
  return {"--runtime-dir",     runtimeDir,      "--row",
          std::to_string(row), "--incarnation", std::to_string(incarnation)};
}

std::vector<int> workersOf(const std::string& runtimeDir) {
  std::string expected;
  for (const char* each : {"--runtime-dir", runtimeDir.c_str(), "--row"})
    expected += std::string(each) + '\0';
  std::vector<int> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::string line = commandLine(pid);
    size_t program = line.find('\0');
    if (program != std::string::npos && std::string_view(line).substr(program + 1).starts_with(expected))
      out.push_back(pid);
  }
  return out;
}

void addPredecessor(std::vector<std::string>& arguments, uint8_t row, uint32_t incarnation) {
  arguments.push_back(kSuccessorOf);
  arguments.push_back(std::to_string(row) + ":" + std::to_string(incarnation));
}

std::optional<WorkerId> predecessorOf(int pid) {
  const std::string line = commandLine(pid), option = std::string(1, '\0') + kSuccessorOf + '\0';
  const size_t at = line.find(option);
  unsigned row = 0, incarnation = 0;
  if (at == std::string::npos ||
      std::sscanf(line.c_str() + at + option.size(), "%u:%u", &row, &incarnation) != 2 || row >= kWorkerRows)
    return std::nullopt;
  return WorkerId{static_cast<uint8_t>(row), incarnation};
}

bool runsWith(int pid, const std::vector<std::string>& arguments) {
  std::string line = commandLine(pid);
  std::string expected;
  for (const std::string& each : arguments) expected += each + '\0';
  size_t program = line.find('\0');
  if (program == std::string::npos) return false;
  std::string_view given = std::string_view(line).substr(program + 1);
  if (!given.starts_with(expected)) return false;
  given.remove_prefix(expected.size());
  return given.empty() || given.starts_with(std::string(kSuccessorOf) + '\0');
}

}  // namespace ppx
