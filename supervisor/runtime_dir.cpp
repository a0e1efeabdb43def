#include "supervisor/runtime_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "common/control_protocol.h"
#include "common/custody_protocol.h"
#include "common/handoff_protocol.h"
#include "common/last_words.h"
#include "supervisor/upgrade.h"

namespace ppx {
namespace {

namespace fs = std::filesystem;

constexpr char kLockName[] = "lock";
constexpr int kLockTries = 100;
constexpr char kHandedOn[] = "PPX_RUNTIME_LOCK";  // DESCRIPTOR:MADE

// What a gateway leaves there, whole or while it is replaced.
bool isGatewayFile(std::string_view name) {
  if (name.ends_with(".new")) name.remove_suffix(4);
  constexpr std::string_view kNames[] = {kLockName,           kPidFileName,         kAdminPortFileName,
                                         kObituariesFileName, control::kSocketName, custody::kSocketName,
                                         kRollNoteName};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
         name.starts_with(kLastWordsPrefix) || (name.starts_with("forwarder-") && name.ends_with(".sock"));
}

// At the end the gateway's files are removed by their names: a directory of somebody else's is none of its business. One with
// its sockets or its pid file is its own, whatever was put there besides.
Status checkContents(const std::string& path) {
  std::error_code error;
  std::string strange;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name == kPidFileName || name == control::kSocketName || name == custody::kSocketName) return Done{};
    if (!isGatewayFile(name)) strange = name;
  }
  if (error) return systemError("reading " + path, error.value());
  if (strange.empty()) return Done{};
  return Error{EEXIST, "the runtime directory " + path + " holds other things than a gateway's (" + strange +
                           "): name an empty or a new one"};
}

Status makeFolder(const std::string& path, bool& made) {
  std::error_code error;
  if (fs::path parent = fs::path(path).parent_path(); !parent.empty()) fs::create_directories(parent, error);
  made = ::mkdir(path.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return systemError("making the runtime directory " + path);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return systemError("looking at " + path);
  if (!S_ISDIR(info.st_mode)) return Error{ENOTDIR, path + " is not a directory"};
  if (info.st_uid != ::geteuid())
    return Error{EPERM, "the runtime directory " + path + " belongs to another user"};
  if ((info.st_mode & 022) != 0)
    return Error{EPERM,
                 "others may write to the runtime directory " + path + ": it has to be the gateway's alone"};
  return made ? Status(Done{}) : checkContents(path);
}

Error heldBy(const std::string& path, int lock) {
  struct flock holder {};
  holder.l_type = F_WRLCK;
  holder.l_whence = SEEK_SET;
  std::string who = "another paradoxd";
  if (::fcntl(lock, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK)
    who += " (pid " + std::to_string(holder.l_pid) + ")";
  return Error{EAGAIN, who + " has the runtime directory " + path};
}

bool isFile(int descriptor, const std::string& name) {
  struct stat ours {
  }, named{};
  return ::fstat(descriptor, &ours) == 0 && ::stat(name.c_str(), &named) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

// The holder before us may remove the file between our open and our lock: then the lock is on a file that
// nobody else will ever see, and the next one counts.
Result<UniqueFd> lockFile(const std::string& path) {
  std::string name = path + "/" + kLockName;
  for (int i = 0; i < kLockTries; ++i) {
    UniqueFd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return systemError("opening " + name);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (::fcntl(file.get(), F_SETLK, &whole) != 0) {
      if (errno == EAGAIN || errno == EACCES) return heldBy(path, file.get());
      return systemError("locking " + name);
    }
    if (isFile(file.get(), name)) return file;
  }
  return Error{EAGAIN, name + " is replaced all the time"};
}

// What the program before this one in the process handed on: opening the file again and closing either
// descriptor would give up the lock.
std::optional<UniqueFd> handedOnLock(const std::string& path, bool& made) {
  const char* given = std::getenv(kHandedOn);
  if (given == nullptr) return std::nullopt;
  int descriptor = -1, wasMade = 0;
  bool read = std::sscanf(given, "%d:%d", &descriptor, &wasMade) == 2;
  ::unsetenv(kHandedOn);
  if (!read || descriptor < 3 || !isFile(descriptor, path + "/" + kLockName)) return std::nullopt;
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  made = wasMade != 0;
  return UniqueFd(descriptor);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string defaultRuntimeDir() {
  // systemd separates several with a colon; the first is ours.
  if (std::string given = environment("RUNTIME_DIRECTORY"); !given.empty())
    return given.substr(0, given.find(':'));
  if (::geteuid() == 0) return "/run/paradoxplex";
  if (std::string session = environment("XDG_RUNTIME_DIR"); !session.empty()) return session + "/paradoxplex";
  return "/tmp/paradoxplex-" + std::to_string(::geteuid());
}

Result<RuntimeDir> RuntimeDir::open(const std::string& path) {
  std::error_code error;
  std::string whole = fs::absolute(path, error).lexically_normal().string();
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  bool made = false;
  if (Status folder = makeFolder(whole, made); !folder) return folder.error();
  std::optional<UniqueFd> handedOn = handedOnLock(whole, made);
  auto lock = handedOn ? Result<UniqueFd>(std::move(*handedOn)) : lockFile(whole);
  if (!lock) return lock.error();
  RuntimeDir dir(std::move(whole), std::move(*lock), made);
  if (Status pid = dir.write(kPidFileName, std::to_string(::getpid()) + "\n"); !pid) return pid.error();
  return dir;
}

Status RuntimeDir::write(const std::string& name, const std::string& text) const {
  std::string target = file(name), fresh = target + ".new";
  UniqueFd out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!out) return systemError("opening " + fresh);
  if (::write(out.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return systemError("writing " + fresh);
  if (::rename(fresh.c_str(), target.c_str()) != 0) return systemError("renaming " + fresh);
  return Done{};
}

void RuntimeDir::handOn() const {
  ::fcntl(lock_.get(), F_SETFD, 0);
  ::setenv(kHandedOn, (std::to_string(lock_.get()) + (made_ ? ":1" : ":0")).c_str(), 1);
}

void RuntimeDir::keep() const {
  ::fcntl(lock_.get(), F_SETFD, FD_CLOEXEC);
  ::unsetenv(kHandedOn);
}

void RuntimeDir::removeFiles(bool custodysToo) {
  auto remove = [this](const std::string& name) { ::unlink(file(name).c_str()); };
  remove(control::kSocketName);
  if (custodysToo) remove(custody::kSocketName);
  for (uint8_t row = 0; row < kMaxForwarders; ++row) remove(handoff::socketName(row));
  remove(kAdminPortFileName);
  remove(kRollNoteName);
  remove(kObituariesFileName);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_, ignored))
    if (const std::string name = entry.path().filename().string(); name.starts_with(kLastWordsPrefix))
      remove(name);
  abandon();
}

void RuntimeDir::abandon() {
  ::unlink(file(kPidFileName).c_str());
  ::unlink(file(kLockName).c_str());
  if (made_) ::rmdir(path_.c_str());
  lock_.reset();
}

}  // namespace ppx
