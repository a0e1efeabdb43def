// The program against a real AdminServer: what it prints on a pipe, and its exit codes.
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "supervisor/ctl/text_table.h"
#include "tests/admin/support.h"

namespace ppx::test {
namespace {

struct Outcome {
  int code = -1;
  std::string out;  // stdout, then stderr
};

Outcome shell(const std::string& command) {
  Outcome run;
  FILE* pipe = ::popen(("{ " + command + " ; } 2>&1").c_str(), "re");
  char bytes[4096];
  for (size_t n = 0; (n = std::fread(bytes, 1, sizeof(bytes), pipe)) > 0;) run.out.append(bytes, n);
  int status = ::pclose(pipe);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

class Paradoxctl : public AdminFixture {
 protected:
  Outcome run(const std::string& arguments) const {
    return shell(std::string(PPX_BIN_DIR) + "/paradoxctl --url http://127.0.0.1:" + std::to_string(port_) +
                 " " + arguments);
  }
};

TEST_F(Paradoxctl, AddsListsAndDeletesUpstreams) {
  start();
  Outcome added = run("upstream add 127.0.0.1:45888 --pool games");
  EXPECT_EQ(added.code, 0) << added.out;
  std::string uuid = added.out.substr(0, kUuidTextBytes);
  EXPECT_EQ(added.out, uuid + "\tready\n");
  EXPECT_EQ(run("upstreams").out, uuid + "\t127.0.0.1:45888\tgames\tready\t0\t0\t0\t0\n");
  Outcome again = run("upstream add 127.0.0.1:45888 --pool games");
  EXPECT_EQ(again.code, 1);
  EXPECT_EQ(again.out,
            "paradoxctl: the gateway says: this upstream is there already; one that is draining must be "
            "gone first\n");
  Outcome removed = run("upstream delete " + uuid);
  EXPECT_EQ(removed.code, 0);
  EXPECT_EQ(removed.out, uuid + " is draining\n");
  EXPECT_EQ(run("upstream add '[::1]:1'").code, 0);
  EXPECT_EQ(lifeState<UpstreamLife>(table_.upstream(1).life.load()), UpstreamLife::kFree);
}

TEST_F(Paradoxctl, ListsAllPagesOfSessionsAndClosesOne) {
  start();
  SlotRef first = makeSession(), second = makeSession(kNoUpstream, 1);
  Outcome sessions = run("sessions");
  EXPECT_EQ(sessions.code, 0);
  EXPECT_NE(sessions.out.find(sessionUuid(first) + "\t127.0.0.1:4321\tfront\tdefault\towned\t"),
            std::string::npos);
  EXPECT_EQ(run("sessions --pool games").out.substr(0, kUuidTextBytes), sessionUuid(second));
  EXPECT_EQ(Json::parse(run("--json sessions").out)["downstreams"].size(), 2u);
  EXPECT_EQ(run("close " + sessionUuid(first)).code, 0);
  EXPECT_EQ(SessionTable(table_).closeRequested(first), CloseReason::kAdmin);
  EXPECT_EQ(run("close 123e4567-e89b-42d3-a456-426614174000").out,
            "paradoxctl: the gateway says: no session has this UUID\n");
}

TEST_F(Paradoxctl, StatusAndCheck) {
  start();
  Outcome status = run("status");
  EXPECT_EQ(status.code, 0);
  EXPECT_NE(status.out.find("sessions: 0 open of 256\n"), std::string::npos) << status.out;
  EXPECT_NE(status.out.find("front\t127.0.0.1:7999\tdefault\n"), std::string::npos);
  EXPECT_NE(status.out.find("\nforwarder-0\t0\t"), std::string::npos) << status.out;
  ASSERT_TRUE(SessionTable(table_).move(makeSession(), {0, 7}, 0));
  EXPECT_NE(run("status").out.find("sessions: 1 open of 256, 1 on their way to a forwarder\n"),
            std::string::npos);
  EXPECT_EQ(run("log").out.find("\n\n"), std::string::npos);
  EXPECT_EQ(Json::parse(run("--json status").out)["version"], "1.2.3");
  EXPECT_EQ(Json::parse(run("status --json").out)["version"], "1.2.3");
  EXPECT_EQ(run("check").out, "ready\n");
  changeStatus([](SupervisorStatus& s) { s.ready = false; });
  EXPECT_EQ(run("check").out, "not ready\n");
  EXPECT_EQ(run("check").code, 1);
}

TEST_F(Paradoxctl, StatusSaysWhetherCustodyIsComplete) {
  table_.worker(kCustodianRow).sessions.store(97);
  start();
  Outcome status = run("status");
  EXPECT_NE(status.out.find("custody: complete, 97 descriptors\n"), std::string::npos) << status.out;
  changeStatus([](SupervisorStatus& s) { s.custody.incompleteSinceMs = monotonicMillis(); });
  status = run("status");
  EXPECT_EQ(status.code, 0);
  EXPECT_NE(status.out.find("custody: INCOMPLETE"), std::string::npos) << status.out;
}

TEST_F(Paradoxctl, FindsTheGatewayOfARuntimeDirectoryAndShowsItsToken) {
  config_.management.token = "s3cret";
  start();
  std::filesystem::path dir =
      std::filesystem::temp_directory_path() / ("ppx-ctl-" + std::to_string(::getpid()));
  std::filesystem::create_directory(dir);
  std::ofstream(dir / "admin.port") << port_ << "\n";
  std::ofstream(dir / "token") << "s3cret\n";
  std::string program = std::string(PPX_BIN_DIR) + "/paradoxctl --runtime-dir " + dir.string();
  EXPECT_EQ(shell(program + " upstreams").code, 1);
  Outcome allowed = shell(program + " --token-file " + (dir / "token").string() + " upstreams");
  EXPECT_EQ(allowed.code, 0) << allowed.out;
  std::filesystem::remove_all(dir);
  Outcome gone = shell(program + " upstreams");
  EXPECT_EQ(gone.code, 3);
  EXPECT_NE(gone.out.find("no gateway lives in " + dir.string()), std::string::npos);
  const std::filesystem::path config = dir.string() + ".toml";
  std::ofstream(config) << "[server]\nport = 0\n[management_server]\nport = 0\n";
  EXPECT_EQ(shell(program + " --config " + config.string() + " upstreams").code, 3);
  EXPECT_EQ(shell(program + " --config " + config.string() + ".none upstreams").code, 2);
  std::filesystem::remove(config);
}

TEST_F(Paradoxctl, WrongUsageIs2AndAnUnreachableGateway3) {
  start();
  EXPECT_EQ(run("frobnicate").code, 2);
  EXPECT_EQ(run("").code, 2);
  EXPECT_NE(run("stauts").out.find("stauts"), std::string::npos);
  EXPECT_NE(run("upstream ad a:1").out.find(" ad"), std::string::npos);
  EXPECT_EQ(run("upstream add nonsense").out,
            "paradoxctl: expected HOST:PORT or [IPv6]:PORT, found nonsense\n");
  for (const char* address : {"a:0", "a:65536", "a:", ":1", "::1:1", "a:1x"})
    EXPECT_EQ(run(std::string("upstream add ") + address).code, 2) << address;
  for (const char* url :
       {"foo", "http://", "ftp://x", "http://x:99999", "http://x:0", "http://x:y", "http://x/path"}) {
    Outcome wrong = shell(std::string(PPX_BIN_DIR) + "/paradoxctl --url '" + url + "' status");
    EXPECT_EQ(wrong.code, 2) << url;
    EXPECT_NE(wrong.out.find("is not a URL of the kind http://HOST:PORT"), std::string::npos) << wrong.out;
  }
  EXPECT_EQ(shell(std::string(PPX_BIN_DIR) + "/paradoxctl --config /nowhere status").code, 2);
  server_->stop();
  Outcome dead = run("status");
  EXPECT_EQ(dead.code, 3);
  EXPECT_NE(dead.out.find("no answer from http://127.0.0.1:"), std::string::npos) << dead.out;
}

TEST(TextTable, IsAlignedForPeopleAndTabbedForPipes) {
  ctl::TextTable table({"NAME", "N"});
  table.add({"a", "1"});
  table.add({"longer", "2"});
  EXPECT_EQ(table.text(true), "NAME    N\na       1\nlonger  2\n");
  EXPECT_EQ(table.text(false), "a\t1\nlonger\t2\n");
}

}  // namespace
}  // namespace ppx::test
