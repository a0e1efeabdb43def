// paradoxd: the command line. Exit codes are in exit_codes.h.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "common/log.h"
#include "supervisor/config_loader.h"
#include "supervisor/handed_sockets.h"
#include "supervisor/leftovers.h"
#include "supervisor/program_dir.h"
#include "supervisor/service_job.h"
#include "supervisor/supervisor.h"
#include "supervisor/table_setup.h"
#include "supervisor/wrong_usage.h"

namespace {

using namespace ppx;

struct CommandLine {
  std::string config;
  std::string runtimeDir = defaultRuntimeDir();
  std::string logLevel;
  bool check = false;
  bool externalCustodian = false;
  bool endLeftovers = false;
  int checkTable = -1;
  ProgramImage image;
};

const std::map<std::string, LogLevel> kLevels{{"trace", LogLevel::kTrace}, {"debug", LogLevel::kDebug},
                                              {"info", LogLevel::kInfo},   {"warn", LogLevel::kWarn},
                                              {"error", LogLevel::kError}, {"off", LogLevel::kOff}};

void describe(CLI::App& app, CommandLine& line) {
  app.add_option("--config", line.config, "the configuration file (docs/CONFIGURATION.md)")
      ->required()
      ->type_name("FILE");
  app.add_option("--runtime-dir", line.runtimeDir, "where its sockets, lock and pid live")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_flag("--check", line.check, "only say whether the configuration is good");
  app.add_option("--check-table", line.checkTable,
                 "with --check: and whether it can go on with the table in this descriptor (upgrade)")
      ->type_name("FD")
      ->needs("--check");
  app.add_flag("--external-custodian", line.externalCustodian,
               "wait for a paradox-custodian that somebody else starts (a service of its own)");
  app.add_flag("--end-leftovers", line.endLeftovers,
               "for ExecStopPost=: if systemd stops the service, kill what its stop has left");
  app.add_option("--log-level", line.logLevel, "instead of log.level")
      ->type_name("LEVEL")
      ->check(CLI::IsMember(kLevels));
  app.set_version_flag("--version", std::string("paradoxd ") + PPX_VERSION);
}

using Say = void (*)(const std::string&);

void sayToPerson(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
}
void sayToLog(const std::string& what) {
  logError("config_refused", {}, "{}", what);
}

std::optional<Config> load(const std::string& file, Say say) {
  LoadedConfig loaded = loadConfig(file);
  for (const ConfigError& error : loaded.errors) say(error.text());
  if (!loaded.config) return std::nullopt;
  std::vector<std::string> beyond = beyondTheTable(*loaded.config);
  for (const std::string& error : beyond) say(file + ": " + error);
  if (!beyond.empty()) return std::nullopt;
  return std::move(loaded.config);
}

// With the running supervisor's table: whether an upgrade to this program can work.
int check(const std::string& file, int tableDescriptor) {
  if (!load(file, sayToPerson)) return kExitConfiguration;
  if (tableDescriptor >= 0) {
    if (auto table = Table::map(UniqueFd(tableDescriptor)); !table) {
      std::fprintf(stderr, "the running table cannot be used: %s\n", table.error().text.c_str());
      return kExitConfiguration;
    }
  }
  std::printf("%s: ok\n", file.c_str());
  return kExitOrderly;
}

// systemd starts it again at once, which is meant for those who were killed. A signal ends the wait.
int tellFailure(const StartFailure& failure) {
  spdlog::critical("{}", failure.text);
  if (failure.exitCode == kExitTryAgain && underServiceManager()) ::sleep(1);
  return failure.exitCode;
}

// Another start may find it otherwise.
bool passes(const Error& error) {
  constexpr int kPassing[] = {EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT, EIO};
  return std::find(std::begin(kPassing), std::end(kPassing), error.code) != std::end(kPassing);
}

// The lock comes before all else: two supervisors in one directory must not even look at the same table.
int serve(const CommandLine& line) {
  startLog("paradoxd");
  std::vector<HandedSocket> handed = takeHandedSockets();
  auto dir = RuntimeDir::open(line.runtimeDir);
  if (!dir) return tellFailure({passes(dir.error()) ? kExitTryAgain : kExitConfiguration, dir.error().text});
  RuntimeDir spare = std::move(*dir);
  auto config = load(line.config, ::isatty(STDERR_FILENO) != 0 ? sayToPerson : sayToLog);
  if (!config) {
    spare.abandon();
    return kExitConfiguration;
  }
  if (!line.logLevel.empty()) config->log.level = kLevels.at(line.logLevel);
  Supervisor supervisor(std::move(*config), std::move(spare),
                        {std::filesystem::absolute(line.config).string(), workerProgramDir(),
                         !line.logLevel.empty(), line.image, line.externalCustodian, std::move(handed)});
  if (auto failure = supervisor.prepare()) return tellFailure(*failure);
  return supervisor.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The supervisor of a ParadoxPlex gateway.", "paradoxd");
  CommandLine line;
  describe(app, line);
  line.image = thisProgram(argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return tellWrongUsage(app, error) ? kExitUsage : kExitOrderly;
  }
  if (line.endLeftovers) return startLog("paradoxd"), endLeftovers(line.runtimeDir);
  return line.check ? check(line.config, line.checkTable) : serve(line);
}
