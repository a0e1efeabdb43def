// What the tests of this folder share: a runtime folder, a child process, a loop that runs until something is
// so.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/custody_client.h"
#include "common/unique_fd.h"
#include "tests/custody/custodian_peer.h"

namespace ppx::test {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Killed and reaped at the end of its life.
class Child {
 public:
  Child() = default;
  explicit Child(int pid) : pid_(pid) {}
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Child& operator=(Child&& other) noexcept;
  ~Child();
  // A program of build/bin. `descriptorLimit`: 0 leaves it.
  static Child start(const std::string& program, const std::vector<std::string>& arguments,
                     const std::string& failpoints = "", unsigned descriptorLimit = 0);
  static Child startFile(std::string path, const std::vector<std::string>& arguments,
                         const std::string& failpoints = "", unsigned descriptorLimit = 0);
  int pid() const { return pid_; }
  void signal(int number) const;
  void kill();  // SIGKILL, and waits for its end
  // Waits for its own end; its wait status, -1 after the time.
  int wait(std::chrono::milliseconds limit);

 private:
  int pid_ = 0;
};

// Runs the loop until `done`; false after the time.
bool runUntil(boost::asio::io_context& io, const std::function<bool()>& done,
              std::chrono::milliseconds limit = std::chrono::seconds(20));

// A line of /proc/<pid>/status in KiB, e.g. "RssAnon".
long statusKiB(int pid, const std::string& key);
// User and system time of a process so far.
std::chrono::milliseconds cpuTime(int pid);
size_t openDescriptors(int pid);

custody::Record sessionRecord(uint32_t slot, uint32_t generation);
// A descriptor that can be told from others: the read end of a pipe in which `mark` lies.
UniqueFd marked(uint32_t mark);
uint32_t readMark(int descriptor);
// `waiting` has asked for the record once the worker is at its end. The worker puts its socket and ends: it is given.
void expectGivenAtTheEnd(std::unique_ptr<CustodianPeer> worker, const custody::Record& record,
                         CustodianPeer& waiting);

}  // namespace ppx::test
