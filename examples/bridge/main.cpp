// paradox-example-bridge: the gateway in front of a TCP server that nobody has touched yet.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "examples/bridge/bridge.h"
#include "examples/common/log.h"
#include "examples/common/options.h"
#include "examples/common/worker_server.h"

namespace ppx::examples {
namespace {

constexpr const char* kPurpose =
    "An upstream that gives each client of the gateway one TCP connection to an existing server.\n"
    "The two live and die together, and a server that is slow to one client costs nobody else anything. A "
    "gateway\n"
    "with the plain contract tells neither when a client leaves nor lets an upstream close one: then a "
    "client's\n"
    "connection ends after --idle-timeout, what a client sends after its server has closed is dropped, and "
    "at\n"
    "--client-buffer bytes that wait for servers all clients of a forwarder wait, for at most "
    "--stall-timeout.";

bool parseTarget(const std::string& text, ServerTarget& target) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) {
    return false;
  }
  target.host = text.substr(0, colon);
  target.port = text.substr(colon + 1);
  if (target.host.front() == '[' && target.host.back() == ']') {
    target.host = target.host.substr(1, target.host.size() - 2);
  }
  return true;
}

// Each client costs a descriptor.
void raiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace
}  // namespace ppx::examples

int main(int argc, char** argv) {
  using namespace ppx::examples;
  using std::chrono::seconds;
  blockStopSignals();
  std::string server;
  std::int64_t idle = 3600;
  std::int64_t stall = 10;
  std::int64_t halfClose = 60;
  std::int64_t clientBuffer = 1 << 20;
  std::int64_t maxClients = 10'000;
  const WorkerOptions options = parseOptions(
      argc, argv, kPurpose,
      {{"server", &server, "HOST:PORT of the existing server", true},
       {"idle-timeout", &idle, "plain contract: seconds without a byte after which a client is forgotten"},
       {"stall-timeout", &stall, "seconds that bytes may wait for the server without one being taken"},
       {"half-close-timeout", &halfClose, "seconds without a byte after the server has ended its side"},
       {"client-buffer", &clientBuffer,
        "plain contract: bytes that may wait for servers, for each forwarder"},
       {"max-clients", &maxClients, "more than these are turned away"}});
  setQuiet(options.quiet);
  BridgeOptions bridgeOptions;
  if (!parseTarget(server, bridgeOptions.server)) {
    std::fprintf(stderr, "--server: HOST:PORT expected, not '%s'\n", server.c_str());
    return 2;
  }
  bridgeOptions.idleTimeout = seconds(idle);
  bridgeOptions.connection.stallTimeout = seconds(stall);
  bridgeOptions.connection.halfCloseTimeout = seconds(halfClose);
  bridgeOptions.clientBuffer = static_cast<std::size_t>(clientBuffer);
  bridgeOptions.maxClients = static_cast<std::size_t>(maxClients);

  raiseFileLimit();
  Bridge bridge(bridgeOptions);
  std::thread worker([&bridge] { bridge.run(); });
  const int code = serve(options, bridge.service());
  bridge.stop();
  worker.join();
  return code;
}
