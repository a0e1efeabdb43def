// Command line of the bundled workers: --host, --port, --quiet and what a worker adds.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace ppx::examples {

struct WorkerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 45888;  // 0: any free one; the line on stdout says which
  bool quiet = false;          // no log lines on stderr
};

// One more option of a worker, `--name VALUE`; the target's value is the default.
struct ExtraOption {
  std::string name;
  std::variant<std::string*, std::int64_t*, bool*> target;
  std::string help;
  bool required = false;
  std::int64_t least = 1;  // bounds of a number
  std::int64_t most = INT64_MAX;
};

// Ends the process for --help (0) and for a wrong command line (2, the reason on stderr).
WorkerOptions parseOptions(int argc, char** argv, const std::string& purpose,
                           const std::vector<ExtraOption>& extras = {});

}  // namespace ppx::examples
