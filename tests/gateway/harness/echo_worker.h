// The bundled echo worker as a process, for what happens to processes.
#pragma once

#include <signal.h>
#include <sys/wait.h>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {

class EchoWorker {
 public:
  EchoWorker() : process_({programPath("paradox-example-echo"), "--quiet"}) {}
  uint16_t port() const { return process_.port(); }
  pid_t pid() const { return process_.pid(); }
  void kill(int signal) const { ::kill(process_.pid(), signal); }

 private:
  WorkerProcess process_;
};

}  // namespace ppx::test
