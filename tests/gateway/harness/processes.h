// Processes of the system as a test sees them: children, orphans that came to us, their memory and time.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "tests/gateway/harness/deadline.h"

namespace ppx::test {

// A directory in $TMPDIR that goes with all its files.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  // Writes a file into it, gives its path.
  std::string file(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

std::string readAll(const std::string& path);

// Orphans of our descendants become our children, so that none is overlooked.
void becomeSubreaper();
// Starts argv in a process group of its own, with stderr and stdout appended to `logFile`; kills it when this
// test process dies.
pid_t startProcess(const std::vector<std::string>& argv,
                   const std::map<std::string, std::string>& environment, const std::string& logFile);
// Living processes (no zombies) that have `word` among the words of their command line.
std::vector<pid_t> processesWith(const std::string& word);
bool isAlive(pid_t pid);
// Waits for its end: the wait status. For children and adopted orphans. Throws after the time.
int waitForEnd(pid_t pid, Millis within = kPatience);
void waitForDeath(pid_t pid, Millis within = kPatience);  // of anybody's child
// SIGKILL to each, until none that has the word lives; reaps what is ours.
void killAllWith(const std::string& word);

// User-space memory in bytes that is this process's alone. What the table's memfd holds is not in it: that is allocated
// whole at start. (A proportional set size would share it out, but is only an estimate where the kernel uses large
// folios for shared memory.)
uint64_t anonymousBytes(pid_t pid);
uint64_t residentBytes(pid_t pid);
Millis cpuTime(pid_t pid);
size_t descriptorsOf(pid_t pid);
// The soft limit of open files of a running process.
void limitDescriptors(pid_t pid, unsigned limit);

}  // namespace ppx::test
