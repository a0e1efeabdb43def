// The runtime directory of one gateway, and the lock that keeps a second supervisor out of it.
//
// The lock is a classic record lock (F_SETLK) on the file `lock`: the kernel tells who holds it, it survives
// exec of a new supervisor in the same process as long as the descriptor does, children don't inherit it, and
// it goes with the process however that ends. Such a lock is lost when the process closes any descriptor of
// the file, so nothing else may open it.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx {

inline constexpr char kPidFileName[] = "paradoxd.pid";
inline constexpr char kAdminPortFileName[] = "admin.port";
inline constexpr char kObituariesFileName[] = "obituaries.json";

// $RUNTIME_DIRECTORY, else /run/paradoxplex for root, else $XDG_RUNTIME_DIR/paradoxplex, else
// /tmp/paradoxplex-<uid>.
std::string defaultRuntimeDir();

class RuntimeDir {
 public:
  // Makes the directory (0700, parents too), or takes one that is there: of our user, written to by nobody else, and empty or
  // a gateway's; its mode stays. Locks it and writes the pid file. Errors: EAGAIN with the pid of the supervisor that has it;
  // EPERM, EEXIST: it is not fit; others as the system has them.
  static Result<RuntimeDir> open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // A small text file, replaced as a whole.
  Status write(const std::string& name, const std::string& text) const;
  // The lock's descriptor for the next program in this process (exec), and back. open() there takes it.
  void handOn() const;
  void keep() const;
  // At an orderly stop: the gateway's files, the lock last, and the directory if open() made it. A custodian that others
  // started may live on, or be started again: its socket is its own.
  void removeFiles(bool custodysToo);
  // At a start that failed: the pid file and the lock. Sockets may be those of workers that live on.
  void abandon();

 private:
  RuntimeDir(std::string path, UniqueFd lock, bool made)
      : path_(std::move(path)), lock_(std::move(lock)), made_(made) {}

  std::string path_;
  UniqueFd lock_;
  bool made_ = false;
};

}  // namespace ppx
