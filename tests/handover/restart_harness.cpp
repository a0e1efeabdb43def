#include "tests/handover/restart_harness.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace ppx::test {

namespace fs = std::filesystem;

unsigned fromEnvironment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::stoul(text));
}

std::unique_ptr<load::DuplexSwarm> talkers(const Gateway& gateway, load::SwarmOptions options) {
  options.target = {"127.0.0.1", gateway.port()};
  auto made = load::DuplexSwarm::connect(options);
  if (!made) throw std::runtime_error(made.error().text);
  return std::move(*made);
}

Json operate(const Gateway& gateway, const std::string& path, const Json& body) {
  Response answer = gateway.post(path, body);
  if (answer.status != 202)
    throw std::runtime_error(path + ": " + std::to_string(answer.status) + " " + answer.text);
  const Json id = answer.json().at("operation").at("id");
  Json last;
  waitUntil(
      "the end of " + path,
      [&] {
        Response now = gateway.get("/admin/operation");
        if (now.status != 200) return false;
        last = now.json().at("operation");
        return !last.is_null() && (last.at("id") != id || last.at("state") != "running");
      },
      60s);
  return last;
}

std::vector<Json> events(const Gateway& gateway, const std::string& type) {
  std::vector<Json> found;
  for (const Json& event : gateway.rows("/admin/events?follow=0", "events"))
    if (event.at("event") == type) found.push_back(event.at("data"));
  return found;
}

void expectAllWell(load::DuplexSwarm& clients) {
  EXPECT_TRUE(clients.drain(20 * load::kSecond));
  load::SwarmStats stats = clients.stats();
  EXPECT_EQ(stats.open, clients.size())
      << stats.firstProblem << "; ended " << stats.ended << ", reset " << stats.reset;
  EXPECT_EQ(stats.mismatched, 0u) << stats.firstProblem;
  EXPECT_EQ(stats.intact, clients.size()) << stats.firstProblem;
}

namespace {

// How many established connections accepted on `port` this process has, by their sockets' inodes.
size_t clientSocketsOf(pid_t pid, uint16_t port) {
  std::map<std::string, bool> accepted;
  std::ifstream table("/proc/" + std::to_string(pid) + "/net/tcp");
  std::string line;
  char local[16];
  std::snprintf(local, sizeof(local), ":%04X", port);
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string number, ours, theirs, state, queues, timer, retries, uid, timeout, inode;
    words >> number >> ours >> theirs >> state >> queues >> timer >> retries >> uid >> timeout >> inode;
    if (ours.ends_with(local) && state == "01") accepted[inode] = true;
  }
  size_t count = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    std::string target = fs::read_symlink(entry.path(), error).string();
    if (target.starts_with("socket:[") && accepted.contains(target.substr(8, target.size() - 9))) ++count;
  }
  return count;
}

}  // namespace

void expectDescriptorsAccountedFor(const Gateway& gateway, std::optional<size_t> wanted) {
  std::string wrong;
  auto accountedFor = [&] {
    std::map<int, size_t> owned;  // by row, as the table has it
    const auto table = gateway.downstreams();
    for (const Json& session : table) ++owned[session.at("forwarder").get<int>()];
    const size_t sessions = wanted.value_or(table.size());
    size_t served = 0;
    wrong.clear();
    for (const Json& worker : gateway.rows("/admin/status", "workers")) {
      if (worker.at("pid").is_null()) continue;
      const pid_t pid = worker.at("pid");
      const size_t held = clientSocketsOf(pid, gateway.port());
      const std::string role = worker.at("role");
      const size_t due = role == "forwarder"   ? owned[worker.at("row").get<int>()]
                         : role == "custodian" ? sessions
                                               : 0;
      if (held != due)
        wrong += " " + role + " " + std::to_string(pid) + " holds " + std::to_string(held) + " of " +
                 std::to_string(due);
      served += role == "forwarder" ? held : 0;
    }
    if (served != sessions)
      wrong += " served are " + std::to_string(served) + " of " + std::to_string(sessions);
    return wrong.empty();
  };
  // The last copies go a moment after their sessions are served elsewhere.
  Deadline deadline(kPatience);
  while (!accountedFor() && !deadline.passed()) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(wrong, "");
}

}  // namespace ppx::test
