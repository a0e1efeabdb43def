// A paradoxd of its own in a temporary directory, with fake forwarders, acceptors and prober beside the real
// custodian. Everything that it and its workers say comes through one pipe: its end is the proof that no
// process is left.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/table.h"
#include "common/unique_fd.h"
#include "supervisor/listener_sockets.h"

namespace ppx::test {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Of a paradoxd that has ended: exit code, and all that it said.
struct Outcome {
  int code = 0;
  std::string said;
};

class Daemon {
 public:
  // `settings`: TOML. Further environment: "NAME=value".
  explicit Daemon(const std::string& settings, std::vector<std::string> environment = {});
  ~Daemon();  // kills whatever is left

  void start(std::vector<std::string> arguments = {});
  // Again after it was killed, on the pipe that its workers still have.
  void startBeside();
  // The next line that contains `text`, or "" at the deadline. Lines before it are gone.
  std::string waitFor(const std::string& text, int deadlineMs = 20'000);
  // For each text a line that contains it, in whatever order; "" for those that did not come by the deadline.
  std::vector<std::string> waitForAll(const std::vector<std::string>& texts, int deadlineMs = 20'000);
  // The line after which clients are served.
  bool serves() { return !waitFor("listening on").empty(); }
  // The exit code of paradoxd; -signal.
  int join();
  int stop(int signal = 15);
  // True once nobody has the pipe any more.
  bool everybodyGone(int deadlineMs = 20'000);

  // Another paradoxd in the same directory with the same file, to its end.
  Outcome second() const;

  int pid() const { return pid_; }
  std::string runtimeDir() const { return folder_.path() + "/run"; }
  std::string program() const { return folder_.path() + "/bin/paradoxd"; }
  std::string configFile() const { return folder_.path() + "/paradox.toml"; }
  const std::string& said() const { return said_; }
  // The live table, from the custodian.
  Table table() const;

 private:
  void launch(std::vector<std::string> arguments, UniqueFd write);
  bool readMore(int deadlineMs);

  TemporaryFolder folder_;
  std::vector<std::string> environment_;
  UniqueFd output_;
  int pid_ = -1;
  std::string said_;
  size_t searched_ = 0;
};

// Runs paradoxd to its end.
Outcome runDaemon(Daemon& daemon, std::vector<std::string> arguments = {});

// A port of 127.0.0.1 at which somebody else listens, and a configuration that wants it for its clients.
struct TakenPort {
  TakenPort();
  std::string name() const { return std::to_string(listener.port); }
  std::string config() const { return "[server]\nport = " + name() + "\n[management_server]\nport = 0\n"; }
  ListenerSocket listener;
};

int pidIn(const std::string& line);  // the number behind "pid "

}  // namespace ppx::test
