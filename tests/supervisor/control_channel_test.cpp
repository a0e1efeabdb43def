// What strangers and broken peers achieve on control.sock: nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "common/control_protocol.h"
#include "common/seqpacket.h"
#include "supervisor/exit_codes.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::HasSubstr;

class ControlChannel : public ::testing::Test {
 protected:
  void SetUp() override {
    daemon.start();
    ASSERT_TRUE(daemon.serves());
  }
  void TearDown() override {
    EXPECT_EQ(daemon.stop(), kExitOrderly);
    EXPECT_TRUE(daemon.everybodyGone());
    EXPECT_THAT(daemon.said(), Not(HasSubstr(") died: ")));
  }
  UniqueFd dial() {
    auto socket = dialSeqpacket(daemon.runtimeDir() + "/" + control::kSocketName);
    EXPECT_TRUE(socket.ok());
    return std::move(*socket);
  }
  // What it answers; zero bytes: it closed.
  static ReceivedMessage answer(int socket, std::span<std::byte> buffer) {
    pollfd waiting{socket, POLLIN, 0};
    EXPECT_GT(::poll(&waiting, 1, 10'000), 0);
    auto message = receiveMessage(socket, buffer);
    return message ? std::move(*message) : ReceivedMessage{};
  }
  std::string rejection(const control::Hello& hello, std::span<const int> descriptors = {}) {
    UniqueFd socket = dial();
    EXPECT_TRUE(sendMessage(socket.get(), bytesOf(hello), descriptors).ok());
    control::Reject reject;
    ReceivedMessage got = answer(socket.get(), std::as_writable_bytes(std::span(&reject, 1)));
    EXPECT_EQ(got.bytes, sizeof(reject));
    EXPECT_EQ(reject.header.type, control::Type::kReject);
    EXPECT_TRUE(got.descriptors.empty());
    return reject.reason;
  }
  static control::Hello helloOf(WorkerRole role, uint8_t row, uint32_t incarnation) {
    control::Hello hello;
    hello.role = role;
    hello.row = row;
    hello.incarnation = incarnation;
    return hello;
  }

  Daemon daemon{smallConfig()};
};

TEST_F(ControlChannel, RejectsAnUnknownIncarnation) {
  EXPECT_EQ(rejection(helloOf(WorkerRole::kForwarder, 0, 9999)), "its incarnation is not the one in its row");
  EXPECT_EQ(rejection(helloOf(WorkerRole::kForwarder, 0, 0)), "its incarnation is not the one in its row");
}

TEST_F(ControlChannel, RejectsAnImpostor) {
  Table table = daemon.table();
  auto incarnation = static_cast<uint32_t>(table.worker(0).incarnation.load());
  EXPECT_EQ(rejection(helloOf(WorkerRole::kForwarder, 0, incarnation)), "its pid is not the one in its row");
}

TEST_F(ControlChannel, RejectsARowThatIsNobodys) {
  EXPECT_EQ(rejection(helloOf(WorkerRole::kForwarder, 31, 1)), "no worker of its role has its row");
  EXPECT_EQ(rejection(helloOf(WorkerRole::kAcceptor, 0, 1)), "no worker of its role has its row");
  EXPECT_EQ(rejection(helloOf(WorkerRole::kNone, 255, 1)), "no worker of its role has its row");
}

TEST_F(ControlChannel, RejectsAnotherVersion) {
  control::Hello hello = helloOf(WorkerRole::kForwarder, 0, 1);
  hello.header.version = control::kVersion + 1;
  EXPECT_THAT(rejection(hello), HasSubstr("version 2 of the control protocol, not 1"));
}

TEST_F(ControlChannel, ClosesOnGarbageAndServesOn) {
  std::mt19937 random(42);
  for (int i = 0; i < 200; ++i) {
    UniqueFd socket = dial();
    std::vector<std::byte> garbage(1 + random() % 600);
    for (std::byte& each : garbage) each = static_cast<std::byte>(random());
    if (i % 2 == 0 && garbage.size() >= sizeof(control::Header)) {
      control::Header header{.type = static_cast<control::Type>(random() % 12)};
      std::memcpy(garbage.data(), &header, sizeof(header));
    }
    ASSERT_TRUE(sendMessage(socket.get(), garbage).ok());
    std::array<std::byte, 512> buffer;
    EXPECT_EQ(answer(socket.get(), buffer).bytes, 0u);
  }
}

TEST_F(ControlChannel, ClosesOnReadinessWithoutAHello) {
  UniqueFd socket = dial();
  ASSERT_TRUE(sendMessage(socket.get(), bytesOf(control::Ready{})).ok());
  std::array<std::byte, 512> buffer;
  EXPECT_EQ(answer(socket.get(), buffer).bytes, 0u);
}

TEST_F(ControlChannel, ClosesOnDescriptorsThatNobodyAskedFor) {
  UniqueFd socket = dial();
  int extra[] = {0, 1, 2};
  ASSERT_TRUE(sendMessage(socket.get(), bytesOf(helloOf(WorkerRole::kForwarder, 0, 1)), extra).ok());
  std::array<std::byte, 512> buffer;
  EXPECT_EQ(answer(socket.get(), buffer).bytes, 0u);
}

TEST_F(ControlChannel, ClosesOnSilence) {
  UniqueFd socket = dial();
  std::array<std::byte, 512> buffer;
  EXPECT_EQ(answer(socket.get(), buffer).bytes, 0u);
  EXPECT_FALSE(daemon.waitFor("no hello in time").empty());
}

}  // namespace
}  // namespace ppx::test
