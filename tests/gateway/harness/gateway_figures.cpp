// What the harness reads of sessions, and where the gateway's figures have it.
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {

std::vector<Json> Gateway::downstreams() const {
  std::vector<Json> all;
  std::string cursor = "0";
  do {
    Json page = getJson("/downstream?limit=1000&cursor=" + cursor);
    for (Json& row : page.at("downstreams")) all.push_back(std::move(row));
    const Json& next = page.at("next_cursor");
    cursor = next.is_null() ? "" : next.get<std::string>();
  } while (!cursor.empty());
  return all;
}

Json Gateway::downstreamOf(const Client& client) const {
  std::string peer = "127.0.0.1:" + std::to_string(client.localPort());
  for (Json& row : downstreams())
    if (row.value("peer", "") == peer) return row;
  throw std::runtime_error("no session of the client at port " + std::to_string(client.localPort()));
}

void Gateway::closeDownstream(const std::string& uuid) const {
  Response response = post("/downstream/" + uuid + "/close");
  if (response.status / 100 != 2)
    throw std::runtime_error("close: " + std::to_string(response.status) + " " + response.text);
}

double Gateway::sessions() const {
  // What an acceptor has just claimed is no session yet.
  return metric("paradox_sessions") - metric("paradox_sessions", std::vector<std::string>(1, "\"claimed\""));
}

double Gateway::custody() const {
  return metric("paradox_custody_descriptors") - custodyBase_;
}

double Gateway::closed(const std::string& reason) const {
  return metric("paradox_sessions_closed_total", std::vector<std::string>(1, "\"" + reason + "\""));
}

void Gateway::waitForSessions(double count, Millis within) const {
  waitUntil(
      std::to_string(static_cast<int>(count)) + " sessions", [&] { return sessions() == count; }, within);
}

void Gateway::waitUntilEmpty(Millis within) const {
  waitForSessions(0, within);
  waitUntil(
      "custody without sessions", [&] { return custody() == 0; }, within);
  waitUntil(
      "an empty journal", [&] { return journalSegments() == 0; }, within);
}

double Gateway::journalSegments(const std::string& direction) const {
  std::vector<std::string> labels;
  if (!direction.empty()) labels.push_back("\"" + direction + "\"");
  return metric("paradox_journal_segments", labels) - metric("paradox_journal_segments_free", labels);
}

}  // namespace ppx::test
