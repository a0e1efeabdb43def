// paradoxctl: the command line for people. Exit codes: 0 done, 1 the gateway refuses or it failed, 2 wrong
// usage, 3 not reachable, 4 another operation is under way.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <functional>

#include "supervisor/ctl/commands.h"
#include "supervisor/ctl/config_target.h"
#include "supervisor/ctl/operation_commands.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/wrong_usage.h"

namespace {

using namespace ppx;
using namespace ppx::ctl;

constexpr char kUsualUrl[] = "http://localhost:8000";  // of the configuration's defaults

struct CommandLine {
  Target target;
  std::string config;
  std::string runtimeDir;
  Output output;
  UpstreamToAdd upstream;
  SessionFilter filter;
  std::string uuid;
  std::string what;
  int count = 0;
  std::string role;
  bool follow = false;
  std::function<int(const GatewayClient&)> command;
};

void describeTarget(CLI::App& app, CommandLine& line) {
  auto* url =
      app.add_option("--url", line.target.url, "of the admin API: http://HOST:PORT or https://HOST:PORT");
  app.add_option("--runtime-dir", line.runtimeDir, "of the gateway: its admin.port tells where")
      ->type_name("DIR")
      ->excludes(url);
  app.add_option("--config", line.config, "of the gateway: tells where its admin API is, and its token")
      ->type_name("FILE")
      ->excludes(url);
  app.add_option("--token-file", line.target.tokenFile, "holds management_server's token")->type_name("FILE");
  app.add_option("--ca-file", line.target.caFile, "certificates to trust with https")->type_name("FILE");
  app.add_flag("--insecure", line.target.insecure, "trust any certificate with https");
  app.add_flag("--json", line.output.json, "print what the gateway says as it says it");
}

void describeUpstream(CLI::App& app, CommandLine& line) {
  CLI::App* upstream = app.add_subcommand("upstream", "add or delete an upstream");
  upstream->require_subcommand(1);
  CLI::App* add = upstream->add_subcommand("add", "register an upstream and wait until it is ready");
  add->add_option("address", line.upstream.address, "HOST:PORT")->required();
  add->add_option("--pool", line.upstream.pool, "whose sessions it serves");
  add->add_option("--alive-timeout", line.upstream.aliveTimeout, "seconds")->check(CLI::Range(0.1, 86'400.0));
  add->add_option("--ready-timeout", line.upstream.readyTimeout, "seconds")->check(CLI::Range(0.1, 3'600.0));
  add->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return addUpstream(g, line.output, line.upstream); };
  });
  CLI::App* remove = upstream->add_subcommand("delete", "drain an upstream, then forget it");
  remove->add_option("uuid", line.uuid, "of the upstream")->required();
  remove->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return deleteUpstream(g, line.output, line.uuid); };
  });
}

void describeOperations(CLI::App& app, CommandLine& line) {
  CLI::App* restarts = app.add_subcommand("restart", "restart processes; no client notices");
  restarts->add_option("what", line.what, "forwarders, acceptors, prober, custodian, or one as forwarder-N")
      ->required();
  restarts->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return restart(g, line.output, line.what); };
  });
  CLI::App* scales = app.add_subcommand("scale", "another number of forwarders; no client notices");
  scales->add_option("count", line.count, "of forwarders")->required()->check(CLI::Range(1, 31));
  scales->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return scale(g, line.output, line.count); };
  });
  app.add_subcommand("upgrade", "change over to the programs that are on disk now")->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return upgrade(g, line.output); };
  });
  app.add_subcommand("reload", "take the changed configuration file into use")->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return reload(g, line.output); };
  });
  CLI::App* events = app.add_subcommand("events", "what operations did");
  events->add_flag("--follow", line.follow, "and what comes");
  events->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return showEvents(g, line.output, line.follow); };
  });
}

void describeCommands(CLI::App& app, CommandLine& line) {
  app.add_subcommand("status", "the gateway and its processes")->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return showStatus(g, line.output); };
  });
  app.add_subcommand("upstreams", "all upstreams")->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return showUpstreams(g, line.output); };
  });
  CLI::App* sessions = app.add_subcommand("sessions", "all sessions");
  sessions->add_option("--pool", line.filter.pool, "only those of a pool");
  sessions->add_option("--upstream", line.filter.upstream, "only those of an upstream (UUID)");
  sessions->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return showSessions(g, line.output, line.filter); };
  });
  CLI::App* close = app.add_subcommand("close", "end a session; what is committed is still sent");
  close->add_option("uuid", line.uuid, "of the session")->required();
  close->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return closeSession(g, line.output, line.uuid); };
  });
  CLI::App* log = app.add_subcommand("log", "how much its processes log; with LEVEL: from here on");
  log->add_option("level", line.what,
                  "trace, debug, info, warn, error, off, or configured: as the file says");
  log->add_option("--role", line.role, "only supervisor, forwarder, acceptor, prober or custodian");
  log->callback([&line] {
    line.command = [&line](const GatewayClient& g) {
      return logLevels(g, line.output, line.what, line.role);
    };
  });
  app.add_subcommand("deaths", "how its processes died, and what became of their sessions")
      ->callback(
          [&line] { line.command = [&line](const GatewayClient& g) { return showDeaths(g, line.output); }; });
  app.add_subcommand("check", "is it ready for clients?")->callback([&line] {
    line.command = [&line](const GatewayClient& g) { return checkReady(g, line.output); };
  });
  describeUpstream(app, line);
  describeOperations(app, line);
  app.require_subcommand(1);
}

// Without --url, --config and --runtime-dir: the default directory's gateway, else the default port. What the
// command line says of token and certificates counts more than a configuration.
Result<Target> findTarget(const CommandLine& line) {
  Target target = line.target;
  const std::string dir = line.runtimeDir.empty() ? defaultRuntimeDir() : line.runtimeDir;
  if (!line.config.empty()) {
    auto described = targetOfConfig(line.config, dir);
    if (!described) return described.error();
    target.url = described->url;
    target.insecure = target.insecure || (described->insecure && target.caFile.empty());
    if (target.tokenFile.empty()) {
      target.token = described->token;
      target.tokenFile = described->tokenFile;
    }
  } else if (target.url.empty()) {
    auto url = urlOfRuntimeDir(dir);
    if (!url && !line.runtimeDir.empty()) return url.error();
    target.url = url ? *url : kUsualUrl;
  }
  return target;
}

int run(CommandLine& line) {
  auto target = findTarget(line);
  if (!target) {
    std::fprintf(stderr, "paradoxctl: %s\n", target.error().text.c_str());
    // What a configuration lacks has no code of the system; a gateway that is not there has.
    const bool badConfig = !line.config.empty() && target.error().code == 0;
    return badConfig ? kUsage : kUnreachable;
  }
  auto gateway = GatewayClient::open(*target);
  if (!gateway) {
    std::fprintf(stderr, "paradoxctl: %s\n", gateway.error().text.c_str());
    return kUsage;
  }
  return line.command(*gateway);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Administers a ParadoxPlex gateway through its HTTP API.", "paradoxctl");
  CommandLine line;
  line.output.terminal = ::isatty(STDOUT_FILENO) != 0;
  app.fallthrough();  // options that all commands have may stand behind the command too
  describeTarget(app, line);
  describeCommands(app, line);
  app.set_version_flag("--version", std::string("paradoxctl ") + PPX_VERSION);
  app.footer(
      "Exit codes: 0 done, 1 the gateway refuses or it failed, 2 wrong usage, 3 not reachable, "
      "4 another operation is under way.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return tellWrongUsage(app, error) ? kUsage : kOk;
  }
  return run(line);
}
