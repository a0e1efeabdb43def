// A worker's end of the control channel against a supervisor that the test plays.
#include "common/control_client.h"

#include <poll.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>

#include "common/seqpacket.h"
#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using Clock = std::chrono::steady_clock;

struct TempDir {
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "ppx-control-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

class Control : public ::testing::Test {
 protected:
  void listen() { listener_ = std::move(*listenSeqpacket(dir_.path + "/" + control::kSocketName)); }
  void startClient() {
    ControlClient::Handlers handlers;
    handlers.welcome = [this](Table& table, Doorbells& bells) {
      ++welcomes_;
      table_ = &table;
      bells_ = &bells;
    };
    handlers.listeners = [this](std::vector<UniqueFd> sockets, std::vector<uint8_t> rows) {
      listeners_ = sockets.size();
      rows_ = rows;
    };
    handlers.peersChanged = [this] { ++peersChanged_; };
    handlers.workerDied = [this](const control::WorkerDied& message) { died_ = message; };
    handlers.stop = [this](uint32_t deadlineMs) { stop_ = deadlineMs; };
    client_.emplace(io_, WorkerIdentity{WorkerRole::kForwarder, {3, 77}, dir_.path}, std::move(handlers));
    client_->start();
  }
  // Runs the worker's loop until it is so.
  void until(const std::function<bool()>& condition) {
    auto deadline = Clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      ASSERT_LT(Clock::now(), deadline) << "never happened";
      io_.run_one_for(std::chrono::milliseconds(5));
      io_.restart();
    }
  }
  void acceptClient() {
    until([this] {
      auto accepted = acceptSeqpacket(listener_.get());
      if (accepted) server_ = std::move(*accepted);
      return accepted.ok();
    });
  }
  template <typename T>
  T next(size_t* descriptors = nullptr) {
    T out;
    std::array<std::byte, 512> buffer;
    until([&] {
      auto message = receiveMessage(server_.get(), buffer);
      if (!message) return false;
      EXPECT_EQ(message->bytes, sizeof(T));
      if (descriptors != nullptr) *descriptors = message->descriptors.size();
      std::memcpy(&out, buffer.data(), sizeof(T));
      return true;
    });
    return out;
  }
  void welcome() {
    control::Welcome message;
    message.incarnation = 77;
    std::vector<int> fds{supervisorTable_.memfd()};
    for (int fd : supervisorBells_.all()) fds.push_back(fd);
    ASSERT_TRUE(sendMessage(server_.get(), bytesOf(message), fds));
  }
  void dropClient() { server_.reset(); }

  TempDir dir_;
  Table supervisorTable_ = testing::smallTable();
  Doorbells supervisorBells_ = std::move(*Doorbells::create());
  UniqueFd listener_, server_;
  boost::asio::io_context io_;
  std::optional<ControlClient> client_;
  int welcomes_ = 0, peersChanged_ = 0;
  Table* table_ = nullptr;
  Doorbells* bells_ = nullptr;
  size_t listeners_ = 0;
  std::vector<uint8_t> rows_;
  std::optional<control::WorkerDied> died_;
  std::optional<uint32_t> stop_;
};

TEST_F(Control, SaysHelloAndTakesTheTableAndTheBells) {
  listen();
  startClient();
  acceptClient();
  size_t descriptors = 9;
  auto hello = next<control::Hello>(&descriptors);
  EXPECT_EQ(hello.role, WorkerRole::kForwarder);
  EXPECT_EQ(hello.row, 3);
  EXPECT_EQ(hello.incarnation, 77u);
  EXPECT_EQ(hello.hasTable, 0);
  EXPECT_EQ(hello.ready, 0);
  EXPECT_STREQ(hello.build, PPX_VERSION);
  EXPECT_EQ(descriptors, 0u);
  welcome();
  until([this] { return welcomes_ == 1; });
  EXPECT_GT(supervisorTable_.worker(3).heartbeatMs.load(), 0u);
  bells_->ring(5);
  pollfd wait{supervisorBells_.descriptor(5), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 1);
  client_->ready();
  EXPECT_EQ(next<control::Ready>().header.type, control::Type::kReady);
  client_->upstreamChanged(4, 9);
  EXPECT_EQ(next<control::UpstreamChanged>().generation, 9u);
}

TEST_F(Control, DialsUntilThereIsASupervisor) {
  startClient();
  for (int i = 0; i < 3; ++i) io_.run_one_for(std::chrono::seconds(5));
  listen();
  acceptClient();
  EXPECT_EQ(next<control::Hello>().row, 3);
}

TEST_F(Control, AnotherSupervisorIsToldAllThatCounts) {
  listen();
  startClient();
  acceptClient();
  next<control::Hello>();
  welcome();
  until([this] { return welcomes_ == 1; });
  client_->ready();
  dropClient();
  acceptClient();
  size_t descriptors = 0;
  auto hello = next<control::Hello>(&descriptors);
  EXPECT_EQ(hello.hasTable, 1);
  EXPECT_EQ(hello.ready, 1);
  EXPECT_EQ(descriptors, 1u);
  Table* before = table_;
  welcome();
  control::PeersChanged changed;
  ASSERT_TRUE(sendMessage(server_.get(), bytesOf(changed)));
  until([this] { return peersChanged_ == 1; });
  EXPECT_EQ(welcomes_, 1);  // the table it has stands
  EXPECT_EQ(table_, before);
}

TEST_F(Control, WhatIsSaidWithoutAChannelIsInTheNextHello) {
  listen();
  startClient();
  acceptClient();
  next<control::Hello>();
  welcome();
  until([this] { return welcomes_ == 1; });
  // The supervisor hangs and the channel is full.
  for (int i = 0; i < 100000; ++i) client_->upstreamChanged(1, 1);
  client_->ready();
  acceptClient();
  EXPECT_EQ(next<control::Hello>().ready, 1);
}

TEST_F(Control, PassesOnWhatTheSupervisorSays) {
  listen();
  startClient();
  acceptClient();
  next<control::Hello>();
  welcome();
  control::Listeners listeners;
  listeners.count = 2;
  listeners.rows[0] = 4;
  listeners.rows[1] = 6;
  int sockets[] = {listener_.get(), listener_.get()};
  ASSERT_TRUE(sendMessage(server_.get(), bytesOf(listeners), sockets));
  control::WorkerDied died;
  died.row = 1;
  died.incarnation = 5;
  ASSERT_TRUE(sendMessage(server_.get(), bytesOf(died)));
  control::Stop stop;
  stop.deadlineMs = 1234;
  ASSERT_TRUE(sendMessage(server_.get(), bytesOf(stop)));
  until([this] { return stop_.has_value(); });
  EXPECT_EQ(listeners_, 2u);
  EXPECT_EQ(rows_, (std::vector<uint8_t>{4, 6}));
  ASSERT_TRUE(died_);
  EXPECT_EQ(died_->incarnation, 5u);
  EXPECT_EQ(*stop_, 1234u);
}

TEST_F(Control, DialsAgainAfterAMessageThatIsNone) {
  listen();
  startClient();
  acceptClient();
  next<control::Hello>();
  control::Stop otherMagic, otherVersion;
  otherMagic.header.magic = 1;
  otherVersion.header.version = 99;
  control::Listeners tooMany;
  tooMany.count = 33;
  control::Hello notForUs;
  std::byte byte{};
  const std::span<const std::byte> wrong[] = {bytesOf(otherMagic), bytesOf(otherVersion), bytesOf(tooMany),
                                              bytesOf(notForUs), std::span<const std::byte>(&byte, 1)};
  for (std::span<const std::byte> message : wrong) {
    ASSERT_TRUE(sendMessage(server_.get(), message));
    acceptClient();
    EXPECT_EQ(next<control::Hello>().row, 3);
  }
  EXPECT_FALSE(stop_);
}

TEST(WorkerArguments, AreReadInAnyOrder) {
  const char* text[] = {"worker", "--incarnation", "9", "--runtime-dir", "/r", "--row", "33"};
  std::vector<char*> argv;
  for (const char* word : text) argv.push_back(const_cast<char*>(word));
  auto identity = parseWorkerArguments(WorkerRole::kAcceptor, 7, argv.data());
  EXPECT_EQ(identity.id, (WorkerId{33, 9}));
  EXPECT_EQ(identity.runtimeDir, "/r");
}

TEST(WorkerArgumentsDeathTest, AnythingElseIsAUsageError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<std::vector<const char*>> wrong = {
      {"worker"},
      {"worker", "--row", "1", "--incarnation", "2"},
      {"worker", "--row", "64", "--incarnation", "2", "--runtime-dir", "/r"},
      {"worker", "--row", "x", "--incarnation", "2", "--runtime-dir", "/r"},
      {"worker", "--row", "1", "--row", "2", "--runtime-dir", "/r"},
      {"worker", "--row", "1", "--incarnation", "2", "--runtime-dir"},
      {"worker", "--row", "1", "--incarnation", "2", "--config", "/r"},
  };
  for (const auto& words : wrong) {
    std::vector<char*> argv;
    for (const char* word : words) argv.push_back(const_cast<char*>(word));
    EXPECT_EXIT(parseWorkerArguments(WorkerRole::kAcceptor, static_cast<int>(argv.size()), argv.data()),
                ::testing::ExitedWithCode(64), "usage: worker --runtime-dir DIR --row N --incarnation N");
  }
}

}  // namespace
}  // namespace ppx
