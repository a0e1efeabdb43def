// A whole gateway as a child of the test: build/bin/paradoxd with a configuration and a runtime directory of its
// own, on ports that the kernel chose. Nothing of it outlives the object; when the test fails its log is printed.
#pragma once

#include <signal.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/gateway/harness/client.h"
#include "tests/gateway/harness/processes.h"

namespace ppx::test {

using Json = nlohmann::json;

struct GatewayOptions {
  int forwarders = 2;
  int acceptors = 1;
  std::vector<uint16_t> upstreams = {};  // in the configuration, pool "default"
  // TOML lines for these tables, beside what the harness writes itself.
  std::string workers = {};
  std::string sessions = {};
  Millis halfCloseTimeout = 500ms;  // of sessions; a client that closes whole looks like one that half-closes
  std::string admission = {};
  std::string listener = {};    // of the listener "default"
  std::string more = {};        // whole tables: more listeners, pools, upstreams
  std::string management = {};  // of [management_server]
  std::string logLevel = "info";
  int maxSessions = 2048;  // slots in the table
  Millis upstreamAlive = 30s;
  std::map<std::string, std::string> environment = {};  // e.g. PPX_FAILPOINTS
  bool tls = false;                                     // with a certificate made for the test
  std::string configFile = {};                          // instead of all that is above
  std::string programs = {};                            // the folder of its programs; empty: build/bin
  bool waitsForReady = true;
};

struct Response {
  int status = 0;
  std::string text;
  Json json() const { return Json::parse(text); }
};

class Gateway {
 public:
  explicit Gateway(const GatewayOptions& options = {});
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  uint16_t port(const std::string& listener = "default") const;
  uint16_t adminPort() const { return adminPort_; }
  pid_t pid() const { return pid_; }
  const std::string& runtimeDir() const { return runtimeDir_; }
  std::string log() const;

  // The admin API.
  Response get(const std::string& path) const;
  Response post(const std::string& path, const Json& body = nullptr) const;
  Json getJson(const std::string& path) const;  // throws unless 200
  Json rows(const std::string& path, const std::string& list) const { return getJson(path).at(list); }
  Json status() const { return getJson("/admin/status"); }
  std::string addUpstream(uint16_t port,
                          const Json& more = Json::object()) const;  // its UUID; throws unless 201
  std::string upstreamUuid(uint16_t port) const;
  Json upstream(uint16_t port) const;
  void waitForUpstream(uint16_t port, const std::string& state = "ready", Millis within = kPatience) const;
  // It is down, and each forwarder has let go of it: what clients send from now on goes elsewhere. (What they send
  // between the two is in doubt, and may be lost.)
  void waitForUpstreamLost(uint16_t port, Millis within = kPatience) const;
  void deleteUpstream(uint16_t port) const;
  void waitForUpstreamGone(uint16_t port, Millis within = kPatience) const;
  std::vector<Json> downstreams() const;  // all pages
  // The session of the client with this local port; throws if there is none.
  Json downstreamOf(const Client& client) const;
  void closeDownstream(const std::string& uuid) const;

  // Figures of /metrics: the sum over all series of that name that carry each of the labels (`key="value"`).
  double metric(const std::string& name, const std::vector<std::string>& labels = {}) const;
  double sessions() const;  // sessions open now
  double custody() const;   // sessions whose descriptors the custodian holds
  double closed(const std::string& reason) const;
  double journalSegments(const std::string& direction = "") const;  // in use; "in", "out" or both
  // Every session has ended and nothing stays behind: slots, custody, segments.
  void waitUntilEmpty(Millis within = kPatience) const;
  void waitForSessions(double count, Millis within = kPatience) const;

  std::vector<pid_t> workers(const std::string& role) const;
  pid_t worker(const std::string& role, int index = 0) const {
    return workers(role).at(static_cast<size_t>(index));
  }
  std::vector<pid_t> allProcesses() const;
  // Another process of that role, ready, is in the dead one's place.
  void waitForSuccessor(const std::string& role, pid_t dead, Millis within = kPatience) const;

  // kill -9 of paradoxd, and another one with the same configuration and runtime directory; returns when it serves.
  void crashSupervisor();
  void startSupervisorAgain();  // the one before is dead
  // Every worker is ready, each session is served by a forwarder, and its descriptor is in custody.
  bool isWhole() const;

  // Asks for an orderly stop, and checks that it was one: exit code 0, no process left, a clean runtime directory.
  void stop(int signal = SIGTERM, Millis within = kPatience);

 private:
  std::string writeConfig(const GatewayOptions& options) const;
  void start(const GatewayOptions& options);
  void startSupervisor();
  void waitForReady();

  TempDir dir_;
  std::string runtimeDir_;
  std::string logFile_;
  UniqueFd notify_;
  std::map<std::string, std::string> environment_;
  std::string config_;
  std::string programs_;
  pid_t pid_ = -1;
  uint16_t adminPort_ = 0;
  double custodyBase_ = 0;  // descriptors in custody before the first session: listeners, table, doorbells
  bool tls_ = false;
};

// A self-signed certificate for 127.0.0.1: cert.pem and key.pem in the directory.
void makeCertificate(const TempDir& dir);
// build/bin/NAME.
std::string programPath(const std::string& name);

}  // namespace ppx::test
