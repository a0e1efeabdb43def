#include "supervisor/small_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ppx {
namespace {

std::string errnoText(std::string_view what) {
  return fmt::format("{}: {}", what, std::strerror(errno));
}

void readOpen(int descriptor, std::size_t maxBytes, SmallFile& file) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    file.error = errnoText("cannot be examined");
    return;
  }
  file.mode = status.st_mode & 07777;
  file.owner = status.st_uid;
  file.group = status.st_gid;
  if (S_ISDIR(status.st_mode)) {
    file.error = "is a directory, not a file";
    return;
  }
  if (!S_ISREG(status.st_mode)) {
    file.error = "is not a regular file";
    return;
  }
  // One byte more than allowed tells a file that is too long, even if it grew after fstat.
  file.text.resize(maxBytes + 1);
  std::size_t length = 0;
  while (length < file.text.size()) {
    const ssize_t got = ::read(descriptor, file.text.data() + length, file.text.size() - length);
    if (got == 0) break;
    if (got > 0) {
      length += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      file.error = errnoText("cannot be read");
      file.text.clear();
      return;
    }
  }
  file.text.resize(length);
  if (length <= maxBytes) return;
  file.error = fmt::format("is larger than {} bytes", maxBytes);
  file.text.clear();
}

}  // namespace

SmallFile readSmallFile(const std::filesystem::path& path, std::size_t maxBytes) {
  SmallFile file;
  // O_NONBLOCK: opening a pipe without a writer would wait for ever.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    file.error = errno == ENOENT ? "no such file" : errnoText("cannot be opened");
    return file;
  }
  readOpen(descriptor, maxBytes, file);
  ::close(descriptor);
  return file;
}

}  // namespace ppx
