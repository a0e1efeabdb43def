#include "supervisor/leftovers.h"

#include <signal.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "common/log.h"
#include "supervisor/custody_keeper.h"
#include "supervisor/exit_codes.h"
#include "supervisor/service_job.h"
#include "supervisor/spawner.h"

namespace ppx {
namespace {

namespace fs = std::filesystem;

// A process of ExecStopPost= may be in a group of its own below the unit's.
constexpr std::string_view kOwnGroup = "/.control";
constexpr int kRounds = 100;  // of those that were being started meanwhile

std::optional<fs::path> groupOfUnit() {
  char* path = nullptr;
  if (::sd_pid_get_cgroup(0, &path) < 0) return std::nullopt;
  std::string group = path;
  std::free(path);
  if (group.ends_with(kOwnGroup)) group.resize(group.size() - kOwnGroup.size());
  for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"})
    if (fs::path whole = root + group; fs::exists(whole / "cgroup.procs")) return whole;
  return std::nullopt;
}

std::vector<int> processesIn(const fs::path& group) {
  std::ifstream in(group / "cgroup.procs");
  std::vector<int> out;
  for (int pid = 0; in >> pid;)
    if (pid > 0 && pid != ::getpid()) out.push_back(pid);
  return out;
}

// 0: none is left.
size_t killGroup(const fs::path& group) {
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int> left = processesIn(group);
    if (left.empty()) return 0;
    if (round == 0) spdlog::warn("the stop has left {} processes: killing them", left.size());
    for (int pid : left)
      if (auto process = openProcess(pid); process && !isDead(*process)) killNow(*process);
    ::usleep(10'000);
  }
  return processesIn(group).size();
}

// To whoever started it that is no crash.
void endCustodian(const std::string& runtimeDir) {
  auto pid = externalCustodianIn(runtimeDir);
  if (!pid) return;
  spdlog::warn("the stop has left the custodian (pid {}): it is told to end", *pid);
  if (auto process = openProcess(*pid); process) terminate(*process);
}

}  // namespace

int endLeftovers(const std::string& runtimeDir) {
  auto job = serviceJob(ServiceRole::kAfterStop);
  if (!job) {
    spdlog::warn("{}: what is left of the service stays", job.error().text);
    return kExitTryAgain;
  }
  if (job.value() != ServiceJob::kStop) return kExitOrderly;
  auto group = groupOfUnit();
  size_t left = group ? killGroup(*group) : 0;
  endCustodian(runtimeDir);
  return left == 0 ? kExitOrderly : kExitTryAgain;
}

}  // namespace ppx
