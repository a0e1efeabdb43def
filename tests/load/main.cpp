// paradox-load: the benchmark's load generator. Each run prints one line of JSON on stdout; the exit code is not 0 if
// it could not be measured.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/load/grpc_echo_load.h"
#include "tests/load/loads.h"
#include "tests/load/tcp_echo_server.h"

namespace ppx::load {
namespace {

using nlohmann::json;

struct Arguments {
  LoadOptions load;
  double seconds = 5;
  std::size_t inFlight = 1;
  std::size_t streams = 2;
  std::size_t threads = 1;
  std::size_t rounds = 20;
  double rate = 2000;
};

int tell(const char* mode, const json& figures) {
  json line{{"mode", mode}};
  line.update(figures);
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
  return 0;
}

int refuse(const char* mode, const Error& error) {
  std::fprintf(stderr, "paradox-load %s: %s\n", mode, error.text.c_str());
  return 1;
}

json basics(const LoadResult& result) {
  json figures{{"done", result.done},
               {"seconds", static_cast<double>(result.elapsed) / kSecond},
               {"per_second", result.perSecond()},
               {"failed", result.failed}};
  if (!result.firstProblem.empty()) {
    figures["first_problem"] = result.firstProblem;
  }
  return figures;
}

double micros(Nanos value) {
  return static_cast<double>(value) / kMicrosecond;
}

json latencies(const Histogram& histogram) {
  return {{"p50_us", micros(histogram.percentile(50))},
          {"p99_us", micros(histogram.percentile(99))},
          {"max_us", micros(histogram.max())}};
}

// The same mode in several threads, the connections dealt out among them; the figures are added up.
template <typename Mode>
Result<LoadResult> onThreads(const Arguments& arguments, const Mode& mode) {
  std::vector<std::thread> threads;
  std::vector<Result<LoadResult>> parts(arguments.threads, Result<LoadResult>(LoadResult{}));
  for (std::size_t i = 0; i < arguments.threads; ++i) {
    LoadOptions share = arguments.load;
    share.connections = (arguments.load.connections + i) / arguments.threads;
    share.seed += i << 32;
    threads.emplace_back([&, share, i] { parts[i] = mode(share); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  LoadResult sum;
  for (auto& part : parts) {
    if (!part) {
      return part.error();
    }
    sum.done += part->done;
    sum.elapsed = std::max(sum.elapsed, part->elapsed);
    sum.failed += part->failed;
    if (sum.firstProblem.empty()) {
      sum.firstProblem = part->firstProblem;
    }
  }
  return sum;
}

int tellBasics(const char* mode, const Result<LoadResult>& result) {
  return result ? tell(mode, basics(result.value())) : refuse(mode, result.error());
}

int paced(const Arguments& arguments) {
  const auto result = runPaced(arguments.load, arguments.rate);
  if (!result) {
    return refuse("paced", result.error());
  }
  json figures = basics(result.value());
  figures.update(latencies(result.value().latency));
  return tell("paced", figures);
}

int broadcast(const Arguments& arguments) {
  const auto result = runBroadcast(arguments.load, arguments.rounds);
  if (!result) {
    return refuse("broadcast", result.error());
  }
  json figures = basics(result.value());
  figures.update(latencies(result.value().untilAll));
  figures["missing"] = result.value().missing;
  figures["doubled"] = result.value().doubled;
  return tell("broadcast", figures);
}

// Readable at SIGTERM or SIGINT. Call it before there are threads: they inherit the mask.
UniqueFd stopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

// /dev/null and files have no end to wait for, and epoll refuses them.
bool canEnd(int input) {
  struct stat kind {};
  return ::fstat(input, &kind) == 0 &&
         (S_ISFIFO(kind.st_mode) || S_ISSOCK(kind.st_mode) || ::isatty(input) == 1);
}

int idle(const Arguments& arguments) {
  // Standard input's end or a signal: an epoll is readable when one that it watches is.
  const UniqueFd signals = stopSignals();
  EpollLoop either;
  either.watchInput(signals.get(), 0);
  if (canEnd(STDIN_FILENO)) {
    either.watchInput(STDIN_FILENO, 1);
  }
  const auto result = runIdle(arguments.load, either.fd(), [](std::size_t open) {
    tell("idle", {{"open", open}});
  });
  return tellBasics("idle_end", result);
}

int echoServer(const Endpoint& at) {
  const UniqueFd signals = stopSignals();
  auto server = TcpEchoServer::listen(at);
  if (!server) {
    return refuse("tcp-echo-server", server.error());
  }
  std::printf("listening on %s:%u\n", at.host.c_str(), unsigned{(*server)->port()});
  std::fflush(stdout);
  (*server)->run(signals.get());
  return 0;
}

}  // namespace
}  // namespace ppx::load

int main(int argc, char** argv) {
  using namespace ppx::load;
  CLI::App app{"Load for benchmarks, and a bare TCP echo server."};
  app.require_subcommand(1);
  Arguments a;
  int code = 0;

  const auto mode = [&](const char* name, const char* help, std::function<int()> run) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("--host", a.load.target.host, "numeric IPv4 address")->capture_default_str();
    sub->add_option("--port", a.load.target.port)->capture_default_str();
    sub->final_callback([&code, run = std::move(run)] { code = run(); });
    return sub;
  };
  const auto common = [&](CLI::App* sub) {
    sub->add_option("--connections", a.load.connections)
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000));
    sub->add_option("--bytes", a.load.messageBytes, "of a message")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20));
    sub->add_option("--seconds", a.seconds)->capture_default_str()->check(CLI::Range(0.01, 86400.0));
    sub->add_option("--seed", a.load.seed)->capture_default_str();
    sub->add_option("--sources", a.load.sources, "client addresses 127.0.1.x to spread over; 0: none")
        ->check(CLI::Range(0, 254));
    return sub;
  };
  const auto inFlight = [&](CLI::App* sub) {
    sub->add_option("--in-flight", a.inFlight, "messages under way, each connection")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000));
    return sub;
  };
  const auto threads = [&](CLI::App* sub) {
    sub->add_option("--threads", a.threads)->capture_default_str()->check(CLI::Range(1, 64));
  };

  threads(inFlight(common(mode("echo", "as many messages as go", [&] {
    return tellBasics("echo", onThreads(a, [&](const LoadOptions& o) { return runEcho(o, a.inFlight); }));
  }))));
  threads(common(mode("connect", "connect, echo one message, close",
                      [&] { return tellBasics("connect", onThreads(a, runConnect)); })));
  common(mode("paced", "messages at a fixed rate; latency from the instant each was due",
              [&] { return paced(a); }))
      ->add_option("--rate", a.rate, "messages a second, in all")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1e7));
  common(mode("idle", "open and hold connections until standard input ends or SIGTERM",
              [&] { return idle(a); }));
  common(mode("broadcast", "what one client sends, all get: needs paradox-load-broadcaster",
              [&] { return broadcast(a); }))
      ->add_option("--rounds", a.rounds)
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  inFlight(common(mode("grpc-echo", "to an upstream directly, over the plain contract",
                       [&] { return tellBasics("grpc-echo", runGrpcEcho(a.load, a.inFlight, a.streams)); })))
      ->add_option("--streams", a.streams)
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  mode("tcp-echo-server", "a bare epoll echo server, until SIGTERM",
       [&] { return echoServer(a.load.target); });

  app.parse_complete_callback([&] {
    a.load.duration = static_cast<Nanos>(a.seconds * kSecond);
    raiseFileLimit();
  });
  CLI11_PARSE(app, argc, argv);
  return code;
}
