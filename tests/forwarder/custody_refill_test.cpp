// What a forwarder puts into custody itself, against a custodian whose channel is read here by hand.
#include "forwarder/custody_refill.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "common/custody_message.h"
#include "common/seqpacket.h"
#include "tests/forwarder/session_bench.h"

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;

class CustodyRefills : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "ppx-refill-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    auto listener = listenSeqpacket(dir_ + "/" + custody::kSocketName);
    ASSERT_TRUE(listener);
    listener_ = std::move(*listener);
    client_.emplace(io_, dir_, WorkerId{0, 1},
                    CustodyClient::Handlers{.connected =
                                                [this](bool up) {
                                                  refill_->onConnected(up, &bench_.sessions);
                                                  connections_ += up ? 1 : 0;
                                                },
                                            .drained = [this] { refill_->goOn(bench_.sessions); },
                                            .putDone = {},
                                            .dropDone = {},
                                            .give = {},
                                            .missing = {},
                                            .listed = {}});
    refill_.emplace(*client_);
  }
  void TearDown() override {
    client_->stop();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  template <typename Done>
  bool runUntil(Done done) {
    for (int i = 0; i < 500 && !done(); ++i) {
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(10));
    }
    return done();
  }
  void accept() {
    auto channel = acceptSeqpacket(listener_.get());
    ASSERT_TRUE(channel);
    channel_ = std::move(*channel);
  }
  // Reads what has come, and says of all puts that they are held. Whether that session was among them.
  bool holds(SlotRef ref) {
    Message message;
    for (;;) {
      auto got = receiveMessage(channel_.get(), message.buffer());
      if (!got || got->bytes == 0) return found_;
      if (message.head.type != Type::kPut) continue;
      puts_ += message.list().size();
      for (const Record& record : message.list())
        found_ = found_ || (record.slot == ref.slot && record.generation == ref.generation);
      message.head.type = Type::kPutDone;
      EXPECT_TRUE(sendMessage(channel_.get(), message.wire()));
    }
  }

  std::string dir_;
  SessionBench bench_;
  boost::asio::io_context io_;
  UniqueFd listener_, channel_, socket_;
  std::optional<CustodyClient> client_;
  std::optional<CustodyRefill> refill_;
  int connections_ = 0;
  size_t puts_ = 0;  // records that holds() read
  bool found_ = false;
};

// Its acceptor may have put it into a custodian that died unread, before this forwarder had a channel at all.
TEST_F(CustodyRefills, AtTheFirstConnectionTooWhatIsServedAlreadyIsPut) {
  Session& session = bench_.connect(socket_);
  client_->start();
  accept();
  EXPECT_TRUE(runUntil([&] { return holds(session.ref()); }));
  EXPECT_TRUE(refill_->complete());
}

TEST_F(CustodyRefills, WhatWasAcceptedBeforeTheConnectionIsPutAndWhatCameLaterIsNot) {
  client_->start();
  accept();
  ASSERT_TRUE(runUntil([&] { return connections_ == 1; }));
  UniqueFd other;
  Session& later = bench_.connect(other);
  later.slot().acceptedMs = static_cast<uint64_t>(monotonicMillis()) + 1;
  refill_->onServed(later);
  Session& earlier = bench_.connect(socket_);
  earlier.slot().acceptedMs = 1;
  refill_->onServed(earlier);
  EXPECT_TRUE(runUntil([&] { return holds(earlier.ref()); }));
  found_ = false;
  EXPECT_FALSE(holds(later.ref()));
  EXPECT_EQ(puts_, 1u);
}

TEST_F(CustodyRefills, WhatMovesHereIsPutIntoASuccessorOnly) {
  client_->start();
  accept();
  ASSERT_TRUE(runUntil([&] { return connections_ == 1; }));
  Session& moved = bench_.connect(socket_);
  refill_->onMoved(moved);
  EXPECT_FALSE(holds(moved.ref())) << "the first custodian that this forwarder knows";
  channel_.reset();
  bench_.sessions.erase(moved.ref());
  ASSERT_TRUE(runUntil([&] { return connections_ == 2; }));
  accept();
  Session& next = bench_.connect(socket_);
  refill_->onMoved(next);
  EXPECT_TRUE(runUntil([&] { return holds(next.ref()); }));
}

TEST_F(CustodyRefills, OneThatComesWhileTheChannelIsFullIsPutLater) {
  client_->start();
  accept();
  channel_.reset();
  ASSERT_TRUE(runUntil([&] { return connections_ == 2; }));
  accept();
  // More than the custodian reads.
  const int any[] = {listener_.get()};
  Record other[1];
  other[0].slot = 1000;
  while (client_->put(other, any)) ++other[0].slot;
  Session& session = bench_.connect(socket_);
  refill_->onMoved(session);
  EXPECT_FALSE(refill_->complete());
  EXPECT_TRUE(runUntil([&] { return holds(session.ref()); }));
  EXPECT_TRUE(refill_->complete());
}

}  // namespace
}  // namespace ppx
