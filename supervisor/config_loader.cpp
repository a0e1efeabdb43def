#include "supervisor/config_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "supervisor/config_checks.h"
#include "supervisor/config_files.h"
#include "supervisor/config_reader.h"
#include "supervisor/small_file.h"

namespace ppx {
namespace {

LoadedConfig failed(ConfigError error) {
  LoadedConfig result;
  result.errors.push_back(std::move(error));
  return result;
}

LoadedConfig finish(ReadConfig read) {
  LoadedConfig result;
  if (read.errors.empty()) {
    result.config = std::move(read.config);
    return result;
  }
  result.errors = std::move(read.errors);
  std::stable_sort(result.errors.begin(), result.errors.end(),
                   [](const ConfigError& a, const ConfigError& b) {
                     return std::tie(a.line, a.column) < std::tie(b.line, b.column);
                   });
  if (result.errors.size() > kMaxConfigErrors) {
    const std::size_t more = result.errors.size() - kMaxConfigErrors;
    result.errors.resize(kMaxConfigErrors);
    result.errors.push_back(
        {read.file, 0, 0, "",
         fmt::format("{} more {} not shown", more, more == 1 ? "error is" : "errors are")});
  }
  return result;
}

ReadConfig readAndCheck(std::string_view text, std::string fileName) {
  ReadConfig read = readConfig(text, std::move(fileName));
  if (read.syntaxError) return read;
  completeConfig(read);
  checkConfig(read);
  return read;
}

}  // namespace

std::string ConfigError::text() const {
  std::string place = line > 0 ? fmt::format("{}:{}:{}: ", file, line, column) : file + ": ";
  return key.empty() ? place + message : fmt::format("{}{}: {}", place, key, message);
}

LoadedConfig parseConfig(std::string_view text, std::string fileName) {
  if (text.size() > kMaxConfigFileBytes) {
    return failed(
        {std::move(fileName), 0, 0, "", fmt::format("is larger than {} bytes", kMaxConfigFileBytes)});
  }
  return finish(readAndCheck(text, std::move(fileName)));
}

LoadedConfig loadConfig(const std::filesystem::path& file) {
  const SmallFile content = readSmallFile(file, kMaxConfigFileBytes);
  if (!content.error.empty()) return failed({file.string(), 0, 0, "", content.error});
  ReadConfig read = readAndCheck(content.text, file.string());
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(file, error);
  if (error) return failed({file.string(), 0, 0, "", "its directory cannot be found: " + error.message()});
  if (!read.syntaxError) loadNamedFiles(read, absolute.parent_path());
  return finish(std::move(read));
}

}  // namespace ppx
