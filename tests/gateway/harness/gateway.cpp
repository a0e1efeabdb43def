#include "tests/gateway/harness/gateway.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

namespace ppx::test {
namespace fs = std::filesystem;

std::string programPath(const std::string& name) {
  return std::string(PPX_BIN_DIR) + "/" + name;
}

Gateway::Gateway(const GatewayOptions& options)
    : runtimeDir_(dir_.path() + "/run"), logFile_(dir_.path() + "/log"), tls_(options.tls) {
  becomeSubreaper();
  try {
    start(options);
    if (!options.waitsForReady) return;
    waitForReady();
    custodyBase_ = metric("paradox_custody_descriptors");
  } catch (...) {
    killAllWith(runtimeDir_);
    std::fprintf(stderr, "--- log of the gateway that did not start\n%s---\n", log().c_str());
    throw;
  }
}

Gateway::~Gateway() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);  // first, so that it respawns nobody
  killAllWith(runtimeDir_);
  if (!::testing::Test::HasFailure() && std::uncaught_exceptions() == 0) return;
  std::string text = log();
  constexpr size_t kMost = 20000;
  if (text.size() > kMost) text = "...\n" + text.substr(text.size() - kMost);
  std::fprintf(stderr, "--- log of the gateway\n%s---\n", text.c_str());
}

std::string Gateway::log() const {
  return readAll(logFile_);
}

std::string Gateway::writeConfig(const GatewayOptions& o) const {
  std::ostringstream toml;
  toml << "[[listener]]\nname = \"default\"\nport = 0\n" << o.listener << "\n";
  toml << "[workers]\nforwarders = " << o.forwarders << "\nacceptors = " << o.acceptors << "\n"
       << o.workers << "\n";
  toml << "[sessions]\nmax = " << o.maxSessions << "\nhalf_close_timeout = \"" << o.halfCloseTimeout.count()
       << "ms\"\n"
       << o.sessions << "\n";
  toml << "[admission]\n" << o.admission << "\n";
  toml << "[management_server]\nport = 0\nlog_level = \"" << o.logLevel << "\"\n" << o.management << "\n";
  if (o.tls) {
    makeCertificate(dir_);
    toml << "[management_server.tls]\ncert_path = \"cert.pem\"\nkey_path = \"key.pem\"\n";
  }
  for (uint16_t upstream : o.upstreams)
    toml << "[[upstream]]\nport = " << upstream << "\nready_timeout = 5\nalive_timeout = \""
         << o.upstreamAlive.count() << "ms\"\n";
  toml << o.more << "\n";
  return dir_.file("gateway.toml", toml.str());
}

void Gateway::start(const GatewayOptions& options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string notify = dir_.path() + "/notify";
  notify.copy(address.sun_path, sizeof(address.sun_path) - 1);
  notify_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::bind(notify_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    throw std::runtime_error("cannot bind the notify socket");
  environment_ = options.environment;
  environment_["NOTIFY_SOCKET"] = notify;
  config_ = options.configFile.empty() ? writeConfig(options) : options.configFile;
  programs_ = options.programs.empty() ? PPX_BIN_DIR : options.programs;
  startSupervisor();
}

void Gateway::startSupervisor() {
  pid_ = startProcess({programs_ + "/paradoxd", "--config", config_, "--runtime-dir", runtimeDir_},
                      environment_, logFile_);
}

void Gateway::crashSupervisor() {
  ::kill(pid_, SIGKILL);
  waitForEnd(pid_);
  startSupervisorAgain();
}

void Gateway::startSupervisorAgain() {
  char text[4096];
  while (::recv(notify_.get(), text, sizeof(text), MSG_DONTWAIT) > 0) {
  }
  startSupervisor();
  waitForReady();
}

bool Gateway::isWhole() const {
  Response answer = get("/admin/status");
  if (answer.status != 200) return false;
  const Json status = answer.json();
  for (const Json& row : status.at("workers"))
    if (row.at("state") != "ready") return false;
  if (status.at("sessions").at("unserved") != 0 || status.at("custody").at("complete") != true) return false;
  const double before = sessions();  // they come and go while these are asked for
  return custody() == before && sessions() == before;
}

void Gateway::waitForReady() {
  Deadline deadline(kPatience);
  for (;;) {
    pollfd waiting{notify_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, std::min(deadline.left(), 100)) > 0) {
      char text[4096];
      ssize_t got = ::recv(notify_.get(), text, sizeof(text), 0);
      if (got > 0 &&
          std::string_view(text, static_cast<size_t>(got)).find("READY=1") != std::string_view::npos)
        break;
    }
    if (!isAlive(pid_)) throw std::runtime_error("paradoxd ended at its start");
    if (deadline.passed()) throw std::runtime_error("paradoxd does not say that it is ready");
  }
  adminPort_ = static_cast<uint16_t>(std::stoi(readAll(runtimeDir_ + "/admin.port")));
  waitUntil("/health/ready", [this] { return get("/health/ready").status == 200; });
}

namespace {

template <typename Http>
Response ask(Http& http, const std::string& path, const Json* body) {
  http.set_connection_timeout(10);
  http.set_read_timeout(30);
  httplib::Result result = body == nullptr   ? http.Get(path)
                           : body->is_null() ? http.Post(path)
                                             : http.Post(path, body->dump(), "application/json");
  if (!result) return {0, httplib::to_string(result.error())};
  return {result->status, result->body};
}

}  // namespace

Response Gateway::get(const std::string& path) const {
  if (tls_) {
    httplib::SSLClient http("127.0.0.1", adminPort_);
    http.enable_server_certificate_verification(false);
    return ask(http, path, nullptr);
  }
  httplib::Client http("127.0.0.1", adminPort_);
  return ask(http, path, nullptr);
}

Response Gateway::post(const std::string& path, const Json& body) const {
  httplib::Client http("127.0.0.1", adminPort_);
  return ask(http, path, &body);
}

Json Gateway::getJson(const std::string& path) const {
  Response response = get(path);
  if (response.status != 200)
    throw std::runtime_error(path + ": " + std::to_string(response.status) + " " + response.text);
  return response.json();
}

uint16_t Gateway::port(const std::string& listener) const {
  for (const Json& row : rows("/admin/status", "listeners"))
    if (row.at("name") == listener) return row.at("port").get<uint16_t>();
  throw std::runtime_error("no listener " + listener);
}

std::string Gateway::addUpstream(uint16_t port, const Json& more) const {
  Json body = {{"host", "127.0.0.1"}, {"port", port}, {"alive_timeout", 30}, {"ready_timeout", 5}};
  body.update(more);
  Response response = post("/upstream/add", body);
  if (response.status != 201)
    throw std::runtime_error("/upstream/add: " + std::to_string(response.status) + " " + response.text);
  return response.json().at("uuid").get<std::string>();
}

Json Gateway::upstream(uint16_t port) const {
  for (const Json& row : rows("/upstream", "upstreams"))
    if (row.at("port") == port) return row;
  return nullptr;
}

std::string Gateway::upstreamUuid(uint16_t port) const {
  Json row = upstream(port);
  if (row.is_null()) throw std::runtime_error("no upstream at port " + std::to_string(port));
  return row.at("uuid").get<std::string>();
}

void Gateway::waitForUpstream(uint16_t port, const std::string& state, Millis within) const {
  waitUntil(
      "upstream " + std::to_string(port) + " " + state,
      [&] {
        Json row = upstream(port);
        return !row.is_null() && row.at("state") == state;
      },
      within);
}

void Gateway::waitForUpstreamLost(uint16_t port, Millis within) const {
  waitUntil(
      "upstream " + std::to_string(port) + " lost to all forwarders",
      [&] {
        Json row = upstream(port);
        if (row.is_null() || row.at("state") != "down") return false;
        const Json& streams = row.at("streams");
        return std::all_of(streams.begin(), streams.end(),
                           [](const Json& stream) { return stream.at("state") == "none"; });
      },
      within);
}

void Gateway::deleteUpstream(uint16_t port) const {
  Response response = post("/upstream/delete/" + upstreamUuid(port));
  if (response.status / 100 != 2)
    throw std::runtime_error("/upstream/delete: " + std::to_string(response.status) + " " + response.text);
}

void Gateway::waitForUpstreamGone(uint16_t port, Millis within) const {
  waitUntil(
      "the end of upstream " + std::to_string(port), [&] { return upstream(port).is_null(); }, within);
}

void Gateway::waitForSuccessor(const std::string& role, pid_t dead, Millis within) const {
  size_t before = 0;
  waitUntil(
      "a successor of the " + role,
      [&] {
        size_t ready = 0;
        for (const Json& row : rows("/admin/status", "workers"))
          if (row.at("role") == role && row.at("state") == "ready" && row.at("pid") != dead)
            ++ready;
          else if (row.at("role") == role)
            before = 1;
        size_t all = 0;
        for (const Json& row : rows("/admin/status", "workers"))
          if (row.at("role") == role) ++all;
        return ready > 0 && ready == all;
      },
      within);
  (void)before;
}

double Gateway::metric(const std::string& name, const std::vector<std::string>& labels) const {
  Response response = get("/metrics");
  if (response.status != 200) throw std::runtime_error("/metrics: " + std::to_string(response.status));
  std::istringstream in(response.text);
  double sum = 0;
  bool found = false;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(name, 0) != 0 || (line[name.size()] != ' ' && line[name.size()] != '{')) continue;
    bool fits = true;
    for (const std::string& label : labels) fits = fits && line.find(label) != std::string::npos;
    if (!fits) continue;
    found = true;
    sum += std::stod(line.substr(line.rfind(' ') + 1));
  }
  if (!found && labels.empty()) throw std::runtime_error("no metric " + name);
  return sum;
}

void Gateway::stop(int signal, Millis within) {
  ::kill(pid_, signal);
  int end = waitForEnd(pid_, within);
  pid_ = -1;
  EXPECT_TRUE(WIFEXITED(end) && WEXITSTATUS(end) == 0) << "wait status " << end;
  EXPECT_TRUE(processesWith(runtimeDir_).empty()) << "a process outlived the gateway";
  if (!fs::exists(runtimeDir_)) return;
  for (const auto& entry : fs::directory_iterator(runtimeDir_))
    ADD_FAILURE() << "left in the runtime directory: " << entry.path();
}

std::vector<pid_t> Gateway::workers(const std::string& role) const {
  std::vector<pid_t> pids;
  for (const Json& row : rows("/admin/status", "workers"))
    if (row.at("role") == role && !row.at("pid").is_null()) pids.push_back(row.at("pid").get<pid_t>());
  return pids;
}

std::vector<pid_t> Gateway::allProcesses() const {
  return processesWith(runtimeDir_);
}

void makeCertificate(const TempDir& dir) {
  std::string command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout " +
                        dir.path() + "/key.pem -out " + dir.path() + "/cert.pem 2>/dev/null";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("openssl makes no certificate");
}

}  // namespace ppx::test
