#include "supervisor/config_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include "supervisor/config_schema.h"
#include "supervisor/small_file.h"

namespace ppx {
namespace {

constexpr std::size_t kMaxPemBytes = 1 << 20;
constexpr std::size_t kMaxTokenFileBytes = 4096;

// Whole, unlike other values: a long path is of no use without its end.
std::string fileText(const std::string& name) {
  return fmt::format("\"{}\"", printableText(name, name.size() * 4));
}

std::string absoluteName(const std::filesystem::path& directory, const std::string& name) {
  return name.empty() ? name : (directory / name).lexically_normal().string();
}

// The group may read what root gave to it, or what is the gateway's own: how files in /etc are for a service.
bool isOpenToOthers(const SmallFile& file) {
  if ((file.mode & 037) != 0) return true;
  return (file.mode & 040) != 0 && file.owner != 0 && ::group_member(file.group) == 0;
}

void loadToken(ReadConfig& read) {
  ManagementConfig& management = read.config.management;
  const SectionPlace& place = read.place("management_server");
  const auto report = [&](std::string_view problem) {
    read.report(place, "token_file", fmt::format("{} {}", fileText(management.tokenFile), problem));
  };
  const SmallFile file = readSmallFile(management.tokenFile, kMaxTokenFileBytes);
  if (!file.error.empty()) return report(file.error);
  if (isOpenToOthers(file)) {
    return report(fmt::format(
        "is open to others (mode {:04o}); expected mode 0600, or 0640 and the gateway's group", file.mode));
  }
  if (file.owner != ::geteuid() && file.owner != 0) {
    return report(
        fmt::format("belongs to user {}; expected the gateway's own ({}) or root", file.owner, ::geteuid()));
  }
  std::string_view token = file.text;
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.remove_suffix(1);
  const KeySpec& key = *findKey(*findSection("management_server"), "token");
  const auto value = valueFromText(key.rule, token);
  // Never show what was found: it is a secret.
  if (token.empty() || !value)
    return report("does not hold one line of 1 to 256 visible ASCII characters without blanks");
  management.token = std::get<std::string>(*value);
}

void checkPem(ReadConfig& read, std::string_view key, const std::string& name) {
  const SectionPlace& place = read.place("management_server.tls");
  const SmallFile file = readSmallFile(name, kMaxPemBytes);
  if (!file.error.empty()) return read.report(place, key, fmt::format("{} {}", fileText(name), file.error));
  if (file.text.find("-----BEGIN ") == std::string::npos) {
    read.report(place, key, fmt::format("{} is not a PEM file", fileText(name)));
  }
}

}  // namespace

void loadNamedFiles(ReadConfig& read, const std::filesystem::path& directory) {
  ManagementConfig& management = read.config.management;
  management.tokenFile = absoluteName(directory, management.tokenFile);
  management.tls.certPath = absoluteName(directory, management.tls.certPath);
  management.tls.keyPath = absoluteName(directory, management.tls.keyPath);
  if (!management.tokenFile.empty() && management.token.empty()) loadToken(read);
  if (!management.tls.certPath.empty()) checkPem(read, "cert_path", management.tls.certPath);
  if (!management.tls.keyPath.empty()) checkPem(read, "key_path", management.tls.keyPath);
}

}  // namespace ppx
