// Reads a small regular file whole, for configuration: never waits on a pipe or a device, never reads without
// a bound.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace ppx {

struct SmallFile {
  std::string error;  // empty: it was read; else why not, to follow the file's name: "is a directory"
  std::string text;
  mode_t mode = 0;  // permission bits only
  uid_t owner = 0;
  gid_t group = 0;
};

SmallFile readSmallFile(const std::filesystem::path& path, std::size_t maxBytes);

}  // namespace ppx
