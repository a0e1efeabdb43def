// Sessions and links with an upstream that has the extensions, over a port that records.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "common/mail_pusher.h"
#include "session_bench.h"

namespace ppx {

using Kind = SessionNews::Kind;

class ExtendedLinks : public ::testing::Test {
 protected:
  static constexpr uint8_t kAll = kEvents | kClose | kResume;

  // Its `ready` has announced the extensions; the stream is open once its hello has come.
  void announcedUpstream(uint32_t upstream) {
    bench_.table().upstream(upstream).announced.store(lifeWord(0, kExtensionsVersion));
    bench_.setUpstream(upstream, UpstreamLife::kActive, UpstreamHealth::kReady);
  }
  void hello(uint8_t capabilities = kAll, uint64_t instance = 1) {
    bench_.port.opened(bench_.port.last, capabilities, instance);
    bench_.links.collect();
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  bool queued(size_t count) {
    return bench_.runUntil([&] { return bench_.port.queued.size() == count; });
  }
  void written() {
    bench_.port.written(bench_.port.last);
    bench_.links.collect();
  }
  void marked(const Session& session, uint64_t offset, StreamId stream = 0) {
    bench_.port.marked(stream == 0 ? bench_.port.last : stream, session.ref(), offset);
    bench_.links.collect();
  }
  void broken(bool orderly = false) {
    bench_.port.ended(bench_.port.last, orderly);
    bench_.links.collect();
  }
  // The next stream to the same upstream, after its short pause.
  bool reopened() {
    StreamId before = bench_.port.last;
    return bench_.runUntil([&] {
      bench_.links.tick(monotonicMillis());
      return bench_.port.last != before;
    });
  }
  std::vector<Kind> kinds() const {
    std::vector<Kind> out;
    for (const auto& [stream, news] : bench_.port.news) out.push_back(news.kind);
    return out;
  }
  uint32_t inSegments() { return 1024 - bench_.journal().freeCount(SegmentKind::kIn); }
  void reply(const Session& session, std::string_view bytes, uint64_t acknowledged, uint32_t upstream = 0,
             uint64_t instance = 1, uint16_t assignment = 0) {
    iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    MailTag tag{laneIndex(upstream, 0), ++sequence_, instance, {acknowledged, assignment}};
    ASSERT_EQ(MailPusher(bench_.table(), bench_.journal()).push(session.ref(), {&piece, 1}, tag),
              PushResult::kPushed);
  }

  SessionBench bench_;
  UniqueFd client_;
  uint64_t sequence_ = 0;
};

}  // namespace ppx
