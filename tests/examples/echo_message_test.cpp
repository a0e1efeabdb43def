// The echo made on the wire's bytes, against what Protobuf makes of them.
#include "examples/echo/echo_message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "examples/common/probes.h"

namespace ppx::examples {
namespace {

grpc::ByteBuffer bufferOf(const std::string& wire, std::size_t pieces = 1) {
  std::vector<grpc::Slice> slices;
  const std::size_t size = wire.size() / pieces + 1;
  for (std::size_t at = 0; at < wire.size(); at += size) {
    slices.emplace_back(wire.substr(at, size));
  }
  return {slices.data(), slices.size()};
}

bool parse(const grpc::ByteBuffer& buffer, OutputMessage& message) {
  grpc::Slice whole;
  return buffer.DumpToSingleSlice(&whole).ok() &&
         message.ParseFromArray(whole.begin(), static_cast<int>(whole.size()));
}

InputMessage requestOf(std::size_t payload) {
  InputMessage request;
  request.set_time("2026-01-01T00:00:00.000Z");
  request.set_client_uuid("00000000-0000-4000-8000-000000000001");
  request.set_payload(std::string(payload, '\xfe'));
  return request;
}

TEST(EchoMessage, IsWhatProtobufReads) {
  for (const std::size_t size : {0u, 1u, 127u, 128u, 2047u, 2048u, 16'384u, 65'536u, 300'000u}) {
    const InputMessage request = requestOf(size);
    for (const std::size_t pieces : {1u, 3u}) {
      grpc::ByteBuffer reply;
      OutputMessage message;
      ASSERT_TRUE(makeEcho(bufferOf(request.SerializeAsString(), pieces), reply));
      ASSERT_TRUE(parse(reply, message)) << size;
      EXPECT_EQ(message.client_uuid(), request.client_uuid());
      EXPECT_TRUE(message.payload() == request.payload()) << size;
      EXPECT_EQ(message.time().size(), request.time().size());
    }
  }
}

TEST(EchoMessage, PassesOverFieldsOfLaterVersions) {
  // Field 10: a number; 11: eight bytes; 12: text; 13: four bytes.
  const std::string later =
      "\x50\xac\x02"
      "\x59"
      "12345678"
      "\x62\x03"
      "abc"
      "\x6d"
      "1234";
  grpc::ByteBuffer reply;
  OutputMessage message;
  ASSERT_TRUE(makeEcho(bufferOf(later + requestOf(5).SerializeAsString() + later), reply));
  ASSERT_TRUE(parse(reply, message));
  EXPECT_EQ(message.payload(), requestOf(5).payload());
}

TEST(EchoMessage, RefusesBytesThatAreCutOrNoMessage) {
  const std::string whole = requestOf(300).SerializeAsString();
  grpc::ByteBuffer reply;
  for (std::size_t size = 1; size < whole.size(); ++size) {
    InputMessage ignored;
    EXPECT_EQ(makeEcho(bufferOf(whole.substr(0, size)), reply),
              ignored.ParseFromString(whole.substr(0, size)))
        << size;
  }
  EXPECT_FALSE(makeEcho(bufferOf(std::string(20, '\xff')), reply));
  EXPECT_FALSE(makeEcho(bufferOf("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), reply));
  EXPECT_FALSE(makeEcho(bufferOf("\x0b"), reply));
}

}  // namespace
}  // namespace ppx::examples
