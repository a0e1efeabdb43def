#include "common/seqpacket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>

namespace ppx {
namespace {

namespace fs = std::filesystem;

struct TempDir {
  TempDir() {
    std::string name = (fs::temp_directory_path() / "ppx-seqpacket-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

std::vector<UniqueFd> devNulls(size_t count) {
  std::vector<UniqueFd> out;
  for (size_t i = 0; i < count; ++i) out.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return out;
}

std::vector<int> numbers(const std::vector<UniqueFd>& fds) {
  std::vector<int> out;
  for (const UniqueFd& fd : fds) out.push_back(fd.get());
  return out;
}

constexpr int kWord = 4711;

TEST(Seqpacket, CarriesMessagesWithTheirEdges) {
  auto pair = seqpacketPair();
  ASSERT_TRUE(pair);
  std::array<std::byte, 64> buffer;
  EXPECT_EQ(receiveMessage(pair->first.get(), buffer).error().code, EAGAIN);
  ASSERT_TRUE(sendMessage(pair->second.get(), bytesOf(kWord)));
  ASSERT_TRUE(sendMessage(pair->second.get(), std::span(buffer.data(), 7)));
  EXPECT_EQ(receiveMessage(pair->first.get(), buffer)->bytes, sizeof(kWord));
  EXPECT_EQ(receiveMessage(pair->first.get(), buffer)->bytes, 7u);
  pair->second.reset();
  EXPECT_EQ(receiveMessage(pair->first.get(), buffer)->bytes, 0u);
  EXPECT_EQ(sendMessage(pair->first.get(), bytesOf(kWord)).error().code, EPIPE);
}

TEST(Seqpacket, FlagsAMessageLongerThanTheBuffer) {
  auto pair = seqpacketPair();
  std::array<std::byte, 64> out{}, in;
  ASSERT_TRUE(sendMessage(pair->second.get(), out));
  auto message = receiveMessage(pair->first.get(), std::span(in.data(), 10));
  ASSERT_TRUE(message);
  EXPECT_TRUE(message->bytesLost);
  EXPECT_EQ(message->bytes, 10u);
}

TEST(Seqpacket, ASlowPeerIsAnErrorAndNotAWait) {
  auto pair = seqpacketPair();
  std::array<std::byte, 4096> out{};
  Status status = Done{};
  for (int i = 0; i < 100000 && status; ++i) status = sendMessage(pair->second.get(), out);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, EAGAIN);
}

TEST(Seqpacket, Carries253DescriptorsCloseOnExec) {
  auto pair = seqpacketPair();
  auto fds = devNulls(kMaxDescriptorsPerMessage);
  ASSERT_TRUE(sendMessage(pair->second.get(), bytesOf(kWord), numbers(fds)));
  std::array<std::byte, 64> buffer;
  auto message = receiveMessage(pair->first.get(), buffer);
  ASSERT_TRUE(message);
  EXPECT_FALSE(message->descriptorsLost);
  ASSERT_EQ(message->descriptors.size(), kMaxDescriptorsPerMessage);
  struct stat expected {
  }, got{};
  ::fstat(fds[0].get(), &expected);
  for (const UniqueFd& fd : message->descriptors) {
    ASSERT_EQ(::fstat(fd.get(), &got), 0);
    EXPECT_EQ(got.st_rdev, expected.st_rdev);
    EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST(Seqpacket, Refuses254Descriptors) {
  auto pair = seqpacketPair();
  std::vector<int> many(kMaxDescriptorsPerMessage + 1, pair->first.get());
  auto status = sendMessage(pair->second.get(), bytesOf(kWord), many);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, EINVAL);
  EXPECT_EQ(status.error().text, "too many descriptors in a message");
}

// In a child: the limit is the process's.
TEST(Seqpacket, FlagsDescriptorsLostAtTheLimit) {
  auto pair = seqpacketPair();
  auto fds = devNulls(5);
  ASSERT_TRUE(sendMessage(pair->second.get(), bytesOf(kWord), numbers(fds)));
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int lowest = ::dup(0);  // all above it are free
    ::close(lowest);
    rlimit limit{static_cast<rlim_t>(lowest) + 3, static_cast<rlim_t>(lowest) + 3};
    for (int fd = lowest; fd < lowest + 3; ++fd) ::close(fd);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(10);
    std::array<std::byte, 64> buffer;
    auto message = receiveMessage(pair->first.get(), buffer);
    if (!message) ::_exit(11);
    if (!message->descriptorsLost) ::_exit(12);
    if (message->descriptors.size() != 3) ::_exit(20 + static_cast<int>(message->descriptors.size()));
    if (message->bytes != sizeof(kWord)) ::_exit(13);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(WIFEXITED(status));
}

TEST(Seqpacket, ListensDialsAndKnowsItsPeer) {
  TempDir dir;
  std::string path = dir.path / "s.sock";
  auto listener = listenSeqpacket(path);
  ASSERT_TRUE(listener) << listener.error().text;
  EXPECT_EQ(acceptSeqpacket(listener->get()).error().code, EAGAIN);
  auto client = dialSeqpacket(path);
  ASSERT_TRUE(client);
  auto server = acceptSeqpacket(listener->get());
  ASSERT_TRUE(server);
  EXPECT_EQ(peerCredentials(server->get())->pid, ::getpid());
  EXPECT_EQ(peerCredentials(server->get())->uid, ::geteuid());
  for (int fd : {listener->get(), client->get(), server->get()}) {
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  }
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST(Seqpacket, ReplacesAStaleSocket) {
  TempDir dir;
  std::string path = dir.path / "s.sock";
  auto first = listenSeqpacket(path);
  auto second = listenSeqpacket(path);
  ASSERT_TRUE(second) << second.error().text;
  ASSERT_TRUE(dialSeqpacket(path));
  EXPECT_TRUE(acceptSeqpacket(second->get()));
  EXPECT_FALSE(acceptSeqpacket(first->get()));
}

TEST(Seqpacket, ReachesPathsLongerThanAnAddress) {
  TempDir dir;
  fs::path deep = dir.path;
  for (int i = 0; i < 6; ++i) deep /= std::string(100, 'd');
  fs::create_directories(deep);
  std::string path = deep / "s.sock";
  auto listener = listenSeqpacket(path);
  ASSERT_TRUE(listener) << listener.error().text;
  ASSERT_TRUE(dialSeqpacket(path));
  EXPECT_TRUE(acceptSeqpacket(listener->get()));
}

TEST(Seqpacket, SaysWhatIsWrongWithAPath) {
  TempDir dir;
  EXPECT_EQ(dialSeqpacket(dir.path / "absent.sock").error().code, ENOENT);
  auto listener = listenSeqpacket(dir.path / "no" / "folder" / "s.sock");
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().text.find("no/folder"), std::string::npos) << listener.error().text;
  EXPECT_EQ(listenSeqpacket(dir.path / std::string(100, 'n')).error().code, ENAMETOOLONG);
  { auto gone = listenSeqpacket(dir.path / "s.sock"); }
  EXPECT_EQ(dialSeqpacket(dir.path / "s.sock").error().code, ECONNREFUSED);
}

TEST(Seqpacket, APathWithoutAFolderIsInTheWorkingDirectory) {
  TempDir dir;
  fs::path before = fs::current_path();
  fs::current_path(dir.path);
  auto listener = listenSeqpacket("s.sock");
  EXPECT_TRUE(listener) << (listener ? "" : listener.error().text);
  EXPECT_TRUE(fs::exists(dir.path / "s.sock"));
  fs::current_path(before);
}

}  // namespace
}  // namespace ppx
