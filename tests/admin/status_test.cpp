#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <sstream>

#include "common/last_sign.h"
#include "supervisor/admin/metrics_text.h"
#include "tests/admin/support.h"

namespace ppx::test {
namespace {

using StatusRoutes = AdminFixture;

TEST_F(StatusRoutes, TellsPortsWorkersSessionsAndUpstreams) {
  start();
  addReady("a", 1);
  makeSession();
  Json status = get("/admin/status").json();
  EXPECT_EQ(status["version"], "1.2.3");
  EXPECT_GT(status["pid"].get<int>(), 0);
  EXPECT_GE(status["uptime_seconds"].get<double>(), 0);
  EXPECT_EQ(status["listeners"],
            Json::parse(R"([{"name":"front","host":"127.0.0.1","port":7999,"pool":"default"}])"));
  EXPECT_EQ(status["admin"]["port"], port_);
  EXPECT_EQ(status["workers"][0]["name"], "forwarder-0");
  EXPECT_EQ(status["workers"][0]["role"], "forwarder");
  EXPECT_EQ(status["workers"][0]["restarts"], 2);
  EXPECT_EQ(status["sessions"],
            Json::parse(R"({"open":1,"unserved":0,"capacity":256,"descriptor_limit":20000})"));
  EXPECT_EQ(status["upstreams"],
            Json::parse(R"({"ready":1,"probing":0,"not_ready":0,"down":0,"draining":0})"));
}

TEST_F(StatusRoutes, ReadyNeedsAnAcceptorAndAForwarderButNoUpstream) {
  start();
  EXPECT_EQ(get("/health/ready").status, 200);
  EXPECT_EQ(get("/health/ready").json()["upstreams_ready"], 0);
  changeStatus([](SupervisorStatus& s) { s.workers[0].state = "starting"; });
  EXPECT_EQ(get("/health/ready").status, 503);
  changeStatus([](SupervisorStatus& s) { s.workers[0].state = "ready"; });
  changeStatus([](SupervisorStatus& s) { s.ready = false; });
  EXPECT_EQ(get("/health/ready").status, 503);
  changeStatus([](SupervisorStatus& s) { s.ready = true; });
  changeStatus([](SupervisorStatus& s) { s.draining = true; });
  EXPECT_EQ(get("/health/ready").status, 503);
  EXPECT_EQ(get("/health/live").status, 200);
}

bool isName(std::string_view text, const char* others) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         std::all_of(text.begin(), text.end(), [&](unsigned char c) {
           return std::isalnum(c) != 0 || std::strchr(others, c) != nullptr;
         });
}

// {name="value",...}: bytes that it takes; 0: not well-formed.
size_t labelBytes(std::string_view text) {
  size_t at = 1;
  while (at < text.size()) {
    size_t equals = text.find('=', at);
    if (equals == std::string_view::npos || !isName(text.substr(at, equals - at), "_")) return 0;
    if (text.substr(equals, 2) != "=\"") return 0;
    for (at = equals + 2; at < text.size() && text[at] != '"'; ++at)
      if (text[at] == '\\' && (++at >= text.size() || std::strchr("\\\"n", text[at]) == nullptr)) return 0;
    if (++at >= text.size()) return 0;
    if (text[at] == '}') return at + 1;
    if (text[at++] != ',') return 0;
  }
  return 0;
}

// The exposition format 0.0.4: every sample belongs to the family that was opened last, families come once.
struct MetricsParser {
  std::map<std::string, double> samples;
  std::set<std::string> families;
  std::string family;

  bool readLine(const std::string& line) {
    std::istringstream words(line);
    std::string hash, kind, name, rest;
    if (line.rfind("# ", 0) != 0) return readSample(line);
    words >> hash >> kind >> name;
    std::getline(words, rest);
    if (kind == "HELP")
      return family = name, isName(name, "_:") && families.insert(name).second && rest.size() > 1;
    return kind == "TYPE" && name == family && rest == (name.ends_with("_total") ? " counter" : " gauge");
  }
  bool readSample(const std::string& line) {
    size_t at = line.find_first_of("{ ");
    if (at == std::string::npos || line.substr(0, at) != family) return false;
    if (line[at] == '{') {
      size_t bytes = labelBytes(std::string_view(line).substr(at));
      if (bytes == 0) return false;
      at += bytes;
    }
    if (at >= line.size() || line[at] != ' ') return false;
    size_t used = 0;
    double value = std::stod(line.substr(at + 1), &used);
    return at + 1 + used == line.size() && samples.emplace(line.substr(0, at), value).second;
  }
};

std::map<std::string, double> parseMetrics(const std::string& text) {
  MetricsParser parser;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    EXPECT_TRUE(parser.readLine(line)) << "not a line of the format: " << line;
  EXPECT_TRUE(text.ends_with("\n"));
  return parser.samples;
}

TEST_F(StatusRoutes, CountsSessionsThatNobodyServesUntilSomebodyDoes) {
  start();
  auto unserved = [this] { return get("/admin/status").json()["sessions"]["unserved"].get<int>(); };
  const SlotRef ref = makeSession(), moving = makeSession();
  makeSession();
  EXPECT_EQ(unserved(), 0);
  SessionTable sessions(table_);
  const WorkerId dead{0, 7}, next{1, 8}, acceptor{kFirstAcceptorRow, 3};
  table_.worker(1).incarnation.store(8);
  ASSERT_TRUE(sessions.move(moving, dead, 1));
  EXPECT_EQ(unserved(), 1);
  ASSERT_TRUE(sessions.own(moving, next));
  EXPECT_EQ(unserved(), 0);
  table_.worker(0).incarnation.store(0);
  EXPECT_EQ(unserved(), 2) << "their owner is dead";
  table_.session(ref.slot).lost.store(LastSign{7, 1000}.pack());
  ASSERT_TRUE(sessions.reclaim(ref, dead, next));
  EXPECT_EQ(unserved(), 2) << "its descriptor is not there yet";
  table_.session(ref.slot).lost.store(LastSign{8, 0}.pack());
  EXPECT_EQ(unserved(), 1);
  EXPECT_EQ(parseMetrics(get("/metrics").body)["paradox_sessions_unserved"], 1);
  table_.worker(kFirstAcceptorRow).incarnation.store(3);
  ASSERT_TRUE(sessions.claim(acceptor, 0));
  EXPECT_EQ(unserved(), 1) << "an acceptor has it";
  table_.worker(kFirstAcceptorRow).incarnation.store(4);
  EXPECT_EQ(unserved(), 2) << "its acceptor is dead";
}

TEST_F(StatusRoutes, MetricsAreWellFormedAndSayWhatTheTableSays) {
  start();
  addReady("::1", 1);
  makeSession(0);
  WorkerRow& forwarder = table_.worker(0);
  forwarder.bytesIn.store(1'234'567'890'123);
  forwarder.heartbeatMs.store(1);
  forwarder.custodyAudits.store(9);
  forwarder.custodyMissing.store(2);
  forwarder.custodyStale.store(1);
  forwarder.closed[static_cast<size_t>(CloseReason::kAdmin)].store(3);
  table_.worker(kCustodianRow).sessions.store(17);
  Answer answer = get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.headers.find("text/plain; version=0.0.4"), std::string::npos);
  auto samples = parseMetrics(answer.body);
  EXPECT_EQ(samples[R"(paradox_sessions{state="owned"})"], 1);
  EXPECT_EQ(samples[R"(paradox_client_bytes_in_total{role="forwarder",row="0"})"], 1'234'567'890'123.0);
  EXPECT_EQ(samples[R"(paradox_sessions_closed_total{reason="admin",error="false"})"], 3);
  EXPECT_EQ(samples["paradox_custody_descriptors"], 17);
  EXPECT_EQ(samples[R"(paradox_custody_audits_total{role="forwarder",row="0"})"], 9);
  EXPECT_EQ(samples[R"(paradox_custody_repaired_total{role="forwarder",row="0",kind="missing"})"], 2);
  EXPECT_EQ(samples[R"(paradox_custody_repaired_total{role="forwarder",row="0",kind="stale"})"], 1);
  EXPECT_EQ(samples[R"(paradox_upstreams{state="ready"})"], 1);
  EXPECT_EQ(samples[R"(paradox_worker_restarts_total{role="forwarder",row="0"})"], 2);
  EXPECT_EQ(samples[R"(paradox_journal_segments_free{direction="in"})"], 256);
  EXPECT_GT(samples[R"(paradox_resident_bytes{role="supervisor"})"], 0);
  EXPECT_NE(answer.body.find(R"(address="[::1]:1",pool="default"} 1)"), std::string::npos);
}

TEST(MetricsText, EscapesLabels) {
  MetricsText text;
  text.gauge("g", "Help.");
  text.sample(uint64_t{1}, {{"l", "a\"b\\c\nd"}});
  EXPECT_EQ(text.take(), "# HELP g Help.\n# TYPE g gauge\ng{l=\"a\\\"b\\\\c\\nd\"} 1\n");
}

}  // namespace
}  // namespace ppx::test
