// A test's process that guard_test.cpp kills: a gateway with a client, an upstream's process beside it, and then no end.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"

int main() {
  using namespace ppx::test;
  WorkerProcess worker({programPath("paradox-example-echo"), "--quiet"});
  Gateway gateway({.upstreams = {worker.port()}});
  gateway.waitForUpstream(worker.port());
  Client client(gateway.port());
  client.send("held");
  if (client.receive(4) != "held") return 1;
  std::printf("%s %s %d\n", std::getenv("TMPDIR"), gateway.runtimeDir().c_str(), worker.pid());
  std::fflush(stdout);
  for (;;) ::pause();
}
