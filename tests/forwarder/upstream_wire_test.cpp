#include "forwarder/upstream_wire.h"

#include <gtest/gtest.h>

#include <random>

#include "upstream.pb.h"

namespace ppx {
namespace {

using upstream::grpc::service::InputStreamRequest;
using upstream::grpc::service::OutputStreamRequest;

std::string flatten(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  (void)buffer.Dump(&slices);
  std::string out;
  for (const grpc::Slice& slice : slices)
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

Uuid someUuid() {
  RandomSource random;
  return randomUuid(random);
}

TEST(UpstreamWire, EncodesWhatTheGeneratedTypesRead) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{127}, size_t{128}, size_t{16384}, size_t{65536}}) {
    std::string payload(size, 'x');
    std::string front = payload.substr(0, size / 3), back = payload.substr(size / 3);
    iovec pieces[] = {{front.data(), front.size()}, {back.data(), back.size()}};
    Uuid uuid = someUuid();
    InputStreamRequest read;
    ASSERT_TRUE(
        read.ParseFromString(flatten(encodeInput("2026-01-02T03:04:05.678Z", uuid, pieces, kNoOffset))));
    EXPECT_EQ(read.time(), "2026-01-02T03:04:05.678Z");
    EXPECT_EQ(read.client_uuid(), uuidText(uuid));
    EXPECT_EQ(read.payload(), payload);
  }
}

TEST(UpstreamWire, ReadsAReplyToAClient) {
  Uuid uuid = someUuid();
  OutputStreamRequest reply;
  reply.set_time("now");
  reply.set_client_uuid(uuidText(uuid));
  reply.set_payload(std::string("a\0b", 3));
  std::string bytes = reply.SerializeAsString();
  Reply read;
  ASSERT_TRUE(decodeOutput(bytes, true, read));
  EXPECT_EQ(read.target, ReplyTarget::kClient);
  ASSERT_TRUE(read.client.has_value());
  EXPECT_EQ(*read.client, uuid);
  EXPECT_EQ(read.payload, std::string_view("a\0b", 3));
}

TEST(UpstreamWire, ReadsEachBroadcastAlsoTheFirstWhoseNumberIsZero) {
  const std::pair<OutputStreamRequest::Broadcast, ReplyTarget> kinds[] = {
      {OutputStreamRequest::BROADCAST_ALL, ReplyTarget::kAll},
      {OutputStreamRequest::BROADCAST_ACTIVE, ReplyTarget::kActive},
      {OutputStreamRequest::BROADCAST_NOT_ACTIVE, ReplyTarget::kNotActive}};
  for (const auto& [sent, expected] : kinds) {
    OutputStreamRequest reply;
    reply.set_broadcast(sent);
    reply.set_payload("hello");
    std::string bytes = reply.SerializeAsString();
    Reply read;
    ASSERT_TRUE(decodeOutput(bytes, true, read));
    EXPECT_EQ(read.target, expected);
  }
}

TEST(UpstreamWire, NamesWhatCannotBeDelivered) {
  Reply read;
  OutputStreamRequest reply;
  reply.set_payload("to nobody");
  std::string bytes = reply.SerializeAsString();
  ASSERT_TRUE(decodeOutput(bytes, true, read));
  EXPECT_EQ(read.target, ReplyTarget::kNone);

  reply.set_client_uuid("not a uuid");
  bytes = reply.SerializeAsString();
  ASSERT_TRUE(decodeOutput(bytes, true, read));
  EXPECT_EQ(read.target, ReplyTarget::kClient);
  EXPECT_FALSE(read.client.has_value());

  bytes = std::string("\x18\x07", 2);  // broadcast = 7
  ASSERT_TRUE(decodeOutput(bytes, true, read));
  EXPECT_EQ(read.target, ReplyTarget::kInvalid);
}

TEST(UpstreamWire, NumbersWhatMayBeReadLate) {
  auto parsed = [](const grpc::ByteBuffer& message) {
    InputStreamRequest input;
    EXPECT_TRUE(input.ParseFromString(flatten(message)));
    return input;
  };
  const LanePosition positions[] = {{7, 40, true, 3}, {8, 41, false, 4}};
  InputStreamRequest lanes = parsed(encodePositions("now", positions));
  ASSERT_EQ(lanes.lanes_size(), 2);
  EXPECT_EQ(lanes.lanes(0).claim(), 3u);
  EXPECT_EQ(lanes.lanes(1).claim(), 0u) << "that of an attachment";
  SessionNews news;
  news.kind = SessionNews::Kind::kOpened;
  news.assignment = 1;
  news.announcement = 1ull << 40;
  EXPECT_EQ(parsed(encodeNews("now", news)).event().announcement(), 1ull << 40);
}

TEST(UpstreamWire, ReadsSoManyMarksAndRefusesMore) {
  OutputStreamRequest message;
  for (size_t i = 0; i < kMaxMarks; ++i) message.add_marks();
  Reply read;
  ASSERT_TRUE(decodeOutput(message.SerializeAsString(), true, read));
  EXPECT_EQ(read.marks.size(), kMaxMarks);
  message.add_marks();
  EXPECT_FALSE(decodeOutput(message.SerializeAsString(), true, read));
}

TEST(UpstreamWire, PassesOverFieldsOfLaterVersions) {
  OutputStreamRequest reply;
  reply.set_client_uuid(uuidText(someUuid()));
  reply.set_payload("p");
  std::string bytes = std::string("\x52\x03xyz", 5) + reply.SerializeAsString() + std::string("\x58\x05", 2);
  Reply read;
  ASSERT_TRUE(decodeOutput(bytes, true, read));
  EXPECT_EQ(read.payload, "p");
}

TEST(UpstreamWire, RefusesEveryTruncationAndSurvivesEveryByte) {
  OutputStreamRequest reply;
  reply.set_client_uuid(uuidText(someUuid()));
  reply.set_payload("some payload");
  std::string bytes = reply.SerializeAsString();
  Reply read;
  for (size_t size = 1; size < bytes.size(); ++size) {
    OutputStreamRequest reference;
    bool parses = reference.ParseFromString(bytes.substr(0, size));
    EXPECT_EQ(decodeOutput(std::string_view(bytes).substr(0, size), true, read), parses) << size;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = bytes;
    for (int j = 0; j < 3; ++j) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (decodeOutput(damaged, true, read) && !read.payload.empty()) {
      EXPECT_GE(read.payload.data(), damaged.data());
      EXPECT_LE(read.payload.data() + read.payload.size(), damaged.data() + damaged.size());
    }
  }
}

}  // namespace
}  // namespace ppx
