// Reads the gateway's TOML file into a Config, or says everything that is wrong with it.
//
// Called by the supervisor at start and reload, by `paradoxd --check`, and by tests. Nothing here throws,
// logs or keeps state; a bad file is a value. Not for the hot path: one call parses the whole file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/config.h"

namespace ppx {

// One thing that is wrong. Lines and columns count from 1 and are 0 where there is none (a file that can't be
// read); the key is empty for errors of syntax.
struct ConfigError {
  std::string file;
  int line = 0;
  int column = 0;
  std::string key;
  std::string message;

  // "paradox.toml:12:8: server.port: expected an integer from 0 to 65535, found "80a""
  std::string text() const;
};

// Either a Config or at least one error, in the order of the file.
struct LoadedConfig {
  std::optional<Config> config;
  std::vector<ConfigError> errors;
};

// The most errors that one call reports; one more says that there are others.
inline constexpr std::size_t kMaxConfigErrors = 20;
// A larger file is refused unread.
inline constexpr std::size_t kMaxConfigFileBytes = 1 << 20;

// Reads the file, and the files that it names: the token is read, the certificate and the key are checked to
// be readable. Relative names in it are relative to its own directory, and absolute in the result.
LoadedConfig loadConfig(const std::filesystem::path& file);

// The same for text in memory; touches no file. fileName is only for the errors.
LoadedConfig parseConfig(std::string_view text, std::string fileName);

}  // namespace ppx
