#include "examples/common/worker_server.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

namespace ppx::examples {
namespace {

constexpr int kMaxReceiveBytes = 4 << 20;  // the contract's payloads are at most 64 KiB

sigset_t stopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

std::string address(const std::string& host, int port) {
  const bool isV6 = host.find(':') != std::string::npos && host.front() != '[';
  return isV6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace

void blockStopSignals() {
  const sigset_t set = stopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int serve(const WorkerOptions& options, grpc::Service& service) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address(options.host, options.port), grpc::InsecureServerCredentials(), &port);
  // Two workers on one port would share its connections without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A gateway's keepalive pings are no offence, however many.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    fmt::print(stderr, "cannot listen on {}\n", address(options.host, options.port));
    return 1;
  }
  fmt::print("listening on {}\n", address(options.host, port));
  std::fflush(stdout);

  const sigset_t set = stopSignals();
  int signal = 0;
  sigwait(&set, &signal);
  _exit(0);
}

}  // namespace ppx::examples
