// A bundled worker as a child process, started on a free port and waited for by its listening line.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ppx::test {

class WorkerProcess {
 public:
  // Starts argv with `--port PORT` (0: a free one) and waits for `listening on HOST:PORT`. A test failure and an
  // empty address if it does not come.
  explicit WorkerProcess(std::vector<std::string> argv, uint16_t port = 0);
  ~WorkerProcess();  // kills what still runs
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  const std::string& address() const { return address_; }  // HOST:PORT
  uint16_t port() const { return static_cast<uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1))); }
  pid_t pid() const { return pid_; }

  // Sends the signal and waits for the end: the exit code, or -1 if it was killed or still runs at the
  // deadline.
  int stop(int signal, std::chrono::milliseconds within = std::chrono::seconds(20));

 private:
  void start(const std::vector<std::string>& argv);

  pid_t pid_ = -1;
  std::string address_;
};

// Runs a command to its end and gives its exit code and all of stderr.
struct Outcome {
  int exitCode = -1;
  std::string errorText;
};
Outcome runToEnd(const std::vector<std::string>& argv,
                 std::chrono::milliseconds within = std::chrono::seconds(20));

}  // namespace ppx::test
