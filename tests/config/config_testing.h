// What the configuration's tests share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/config_loader.h"

namespace ppx {

inline std::vector<std::string> errorTexts(const LoadedConfig& loaded) {
  std::vector<std::string> texts;
  for (const ConfigError& error : loaded.errors) texts.push_back(error.text());
  return texts;
}

// The errors of a text in the file "paradox.toml"; none if it is good.
inline std::vector<std::string> errorsOf(std::string_view text) {
  const LoadedConfig loaded = parseConfig(text, "paradox.toml");
  EXPECT_NE(loaded.config.has_value(), !loaded.errors.empty());
  return errorTexts(loaded);
}

inline Config goodConfig(std::string_view text) {
  const LoadedConfig loaded = parseConfig(text, "paradox.toml");
  EXPECT_THAT(errorTexts(loaded), testing::IsEmpty());
  return loaded.config.value_or(Config{});
}

class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "ppx-config-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::filesystem::path path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view text, mode_t mode = 0644) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file) << text;
    EXPECT_EQ(::chmod(file.c_str(), mode), 0);
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace ppx
