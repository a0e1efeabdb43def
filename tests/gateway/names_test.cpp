// An upstream that is known by name: in a mount namespace of the test's own, where it decides what the name means.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {
namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) throw std::runtime_error("cannot write " + path);
}

// /etc/hosts is `hosts` from here on, for this process and what it starts.
void ownHosts(const std::string& hosts) {
  unsigned uid = ::getuid(), gid = ::getgid();
  ASSERT_EQ(::unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)), 0) << std::strerror(errno);
  if (uid != 0) {
    write("/proc/self/setgroups", "deny");
    write("/proc/self/uid_map", std::to_string(uid) + " " + std::to_string(uid) + " 1");
    write("/proc/self/gid_map", std::to_string(gid) + " " + std::to_string(gid) + " 1");
  }
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
  ASSERT_EQ(::mount(hosts.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr), 0) << std::strerror(errno);
}

TEST(Names, AreResolvedAgainWhenAConnectionIsLost) {
  TempDir dir;
  std::string hosts = dir.file("hosts", "127.0.0.1 localhost worker.test\n");
  ASSERT_NO_FATAL_FAILURE(ownHosts(hosts));
  // With `resume` nothing of what is sent meanwhile is lost with the first one.
  const std::vector<std::string> echo{programPath("paradox-example-echo"), "--quiet", "--extensions"};
  auto at = [&](std::vector<std::string> more) {
    more.insert(more.begin(), echo.begin(), echo.end());
    return more;
  };
  auto first = std::make_unique<WorkerProcess>(at({"--host", "127.0.0.1"}));
  std::string port = first->address().substr(first->address().rfind(':') + 1);
  Gateway gateway({.more = "[[upstream]]\nhost = \"worker.test\"\nport = " + port + "\n"});
  gateway.waitForUpstream(static_cast<uint16_t>(std::stoi(port)));
  Client client(gateway.port());
  EXPECT_EQ(client.exchange("before"), "before");

  write(hosts, "127.0.0.2 localhost worker.test\n");
  first.reset();
  pid_t second = startProcess(at({"--host", "127.0.0.2", "--port", port}), {}, dir.path() + "/second.log");
  EXPECT_EQ(client.exchange("after"), "after");
  ::kill(second, SIGKILL);
  waitForEnd(second);
}

}  // namespace
}  // namespace ppx::test
