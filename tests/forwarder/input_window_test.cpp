#include "forwarder/input_window.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <random>

namespace ppx {
namespace {

class InputWindowTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    client_.reset(ends[0]);
    server_.reset(ends[1]);
    ref_ = *SessionTable(table_).claim({0, 1}, 0);
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(client_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  InputWindow::Received receive(uint32_t limit) {
    return window_.receive(table_, journal_, ref_, server_.get(), limit);
  }
  uint64_t received() { return table_.session(ref_.slot).inReceived.load(); }
  std::string take(uint64_t from, uint32_t limit) {
    std::vector<iovec> pieces;
    window_.gather(table_, from, limit, pieces);
    std::string out;
    for (const iovec& piece : pieces) out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    return out;
  }
  uint32_t freeSegments() { return journal_.freeCount(SegmentKind::kIn); }

  Table table_ =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 64, .outSegments = 64, .upstreamSlots = 1}));
  Journal journal_{table_, {0, 1}};
  UniqueFd client_, server_;
  SlotRef ref_;
  InputWindow window_;
};

TEST_F(InputWindowTest, AnIdleSessionHoldsNoSegment) {
  EXPECT_EQ(receive(4096).outcome, InputWindow::Outcome::kEmpty);
  EXPECT_TRUE(window_.empty());
  EXPECT_EQ(freeSegments(), 64u);
}

TEST_F(InputWindowTest, HoldsOnlyTheSegmentsThatGotBytes) {
  send(std::string(700, 'a'));
  InputWindow::Received got = receive(8192);
  EXPECT_EQ(got.bytes, 700u);
  EXPECT_FALSE(got.more);
  EXPECT_EQ(freeSegments(), 62u);
  window_.release(table_, journal_, 700, received());
  EXPECT_EQ(freeSegments(), 64u);
}

TEST_F(InputWindowTest, ABytesPlaceFollowsFromItsOffset) {
  send(std::string(100, 'a'));
  receive(512);
  window_.release(table_, journal_, 100, received());
  send(std::string(500, 'b'));
  receive(1024);
  // Bytes 100..599: the tail of ordinal 0 and the start of ordinal 1.
  std::vector<iovec> pieces;
  window_.gather(table_, 100, 500, pieces);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].iov_len, 412u);
  journal_.forEachUsed([&](uint32_t segment, const SegmentWord& word) {
    EXPECT_EQ(word.kind, SegmentKind::kIn);
    EXPECT_EQ(static_cast<const std::byte*>(pieces[word.detail].iov_base),
              journal_.data(segment) + (word.detail == 0 ? 100 : 0));
  });
}

TEST_F(InputWindowTest, TakesNothingFromTheSocketWithoutASegment) {
  std::vector<uint32_t> all;
  for (uint32_t s = journal_.claimIn(ref_, 0); s != kNoSegment; s = journal_.claimIn(ref_, 0))
    all.push_back(s);
  send("waits");
  EXPECT_EQ(receive(512).outcome, InputWindow::Outcome::kNoSegments);
  for (uint32_t segment : all) journal_.freeOwned(segment);
  EXPECT_EQ(receive(512).bytes, 5u);
  EXPECT_EQ(take(0, 5), "waits");
}

TEST_F(InputWindowTest, TellsTheEnd) {
  send("last");
  ::shutdown(client_.get(), SHUT_WR);
  EXPECT_EQ(receive(512).bytes, 4u);
  EXPECT_EQ(receive(512).outcome, InputWindow::Outcome::kEnd);
  window_.discard(table_, journal_);
  EXPECT_EQ(freeSegments(), 64u);
}

TEST_F(InputWindowTest, AnyMixOfReceivingAndReleasingKeepsEveryByteInOrder) {
  std::mt19937 random(7);
  std::string sent;
  uint64_t written = 0;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0) {
      std::string bytes;
      for (size_t i = random() % 900; i > 0; --i) bytes.push_back(static_cast<char>(random()));
      ssize_t went = bytes.empty() ? 0 : ::send(client_.get(), bytes.data(), bytes.size(), 0);
      if (went > 0) sent.append(bytes, 0, static_cast<size_t>(went));
    }
    if (received() - written < 8192) receive(1 + random() % 4096);
    uint32_t waiting = static_cast<uint32_t>(received() - written);
    uint32_t count = waiting == 0 ? 0 : static_cast<uint32_t>(random() % (waiting + 1));
    ASSERT_EQ(take(written, count), sent.substr(written, count)) << "step " << step;
    written += count;
    window_.release(table_, journal_, written, received());
    ASSERT_EQ(window_.empty(), written == received());
  }
  window_.discard(table_, journal_);
  EXPECT_EQ(freeSegments(), 64u);
}

}  // namespace
}  // namespace ppx
