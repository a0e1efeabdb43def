// The HTTP API as paradoxctl calls it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/result.h"

namespace ppx::ctl {

using Json = nlohmann::ordered_json;

struct Target {
  std::string url;        // http://HOST:PORT or https://HOST:PORT
  std::string token;      // empty: the one in tokenFile
  std::string tokenFile;  // empty: none
  std::string caFile;     // empty: the system's
  bool insecure = false;  // any certificate
};

// The URL of the gateway that lives in a runtime directory; an error when none does.
Result<std::string> urlOfRuntimeDir(const std::string& dir);

struct Answer {
  int status = 0;
  std::string text;
  Json body;  // null when it is not JSON
  bool ok() const { return status >= 200 && status < 300; }
};

// One thread. An Error says that the gateway is not reachable or does not speak HTTP.
class GatewayClient {
 public:
  static Result<GatewayClient> open(const Target& target);

  Result<Answer> get(const std::string& path) const;
  Result<Answer> put(const std::string& path, const std::string& body) const;
  Result<Answer> post(const std::string& path, const std::string& body = {}) const;

 private:
  GatewayClient(Target target, std::string token) : target_(std::move(target)), token_(std::move(token)) {}
  Target target_;
  std::string token_;
};

}  // namespace ppx::ctl
