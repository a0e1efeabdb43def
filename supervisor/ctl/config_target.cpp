#include "supervisor/ctl/config_target.h"

#include <filesystem>

#include "supervisor/config_loader.h"
#include "supervisor/small_file.h"

namespace ppx::ctl {
namespace {

namespace fs = std::filesystem;

std::string reachableHost(const std::string& host) {
  if (host == "0.0.0.0") return "127.0.0.1";
  if (host == "::") return "[::1]";
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

bool isLoopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

}  // namespace

Result<Target> targetOfConfig(const std::string& file, const std::string& runtimeDir) {
  const SmallFile text = readSmallFile(file, kMaxConfigFileBytes);
  if (!text.error.empty()) return Error{0, file + ": " + text.error};
  // Not loadConfig: that holds the named files to what the gateway's own user must find.
  const LoadedConfig loaded = parseConfig(text.text, file);
  if (!loaded.config) return Error{0, loaded.errors.front().text()};
  const ManagementConfig& management = loaded.config->management;

  Target target;
  std::string port = std::to_string(management.port);
  if (management.port == 0) {
    auto url = urlOfRuntimeDir(runtimeDir);
    if (!url) return url.error();
    port = url->substr(url->rfind(':') + 1);
  }
  const std::string host = reachableHost(management.host);
  target.url = (management.tls.enabled() ? "https://" : "http://") + host + ":" + port;
  target.insecure = management.tls.enabled() && isLoopback(host);
  target.token = management.token;
  if (!management.tokenFile.empty())
    target.tokenFile = (fs::path(file).parent_path() / management.tokenFile).string();
  return target;
}

}  // namespace ppx::ctl
