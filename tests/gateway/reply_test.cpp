// Replies that cannot be delivered are counted and dropped; the stream that carried them lives on.
#include <gtest/gtest.h>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

struct ReplyTest : ::testing::Test {
  InTestUpstream upstream;
  Gateway gateway{{.upstreams = {upstream.port()}}};

  void SetUp() override { upstream.waitForStreams(2); }
  double unknown() const { return gateway.metric("paradox_replies_unknown_total"); }
  double malformed() const { return gateway.metric("paradox_replies_malformed_total"); }
  void expectAllWell() {
    Client client(gateway.port());
    EXPECT_EQ(client.exchange("x"), "x");
    EXPECT_EQ(upstream.streamsEver(), 2u) << "a stream broke";
  }
};

TEST_F(ReplyTest, ToAnUnknownClientIsCountedAndDropped) {
  upstream.anyStream()->reply("123e4567-e89b-42d3-a456-426614174000", "nobody");
  waitUntil("the count", [&] { return unknown() == 1; });
  expectAllWell();
}

TEST_F(ReplyTest, ToADepartedClientIsCountedAndDropped) {
  std::string uuid;
  {
    Client client(gateway.port());
    client.exchange("soon gone");
    uuid = upstream.clientThatSent("soon gone");
    client.reset();
  }
  gateway.waitUntilEmpty();
  Client successor(gateway.port());  // in the same slot, most likely
  successor.exchange("a");
  upstream.anyStream()->reply(uuid, "too late");
  waitUntil("the count", [&] { return unknown() == 1; });
  EXPECT_EQ(successor.exchange("b"), "b");
  expectAllWell();
}

TEST_F(ReplyTest, WithoutATargetIsCountedAndDropped) {
  upstream.anyStream()->send(messageWithoutTarget("to whom?"));
  waitUntil("the count", [&] { return malformed() == 1; });
  expectAllWell();
}

TEST_F(ReplyTest, WithABadUuidIsCountedAndDropped) {
  for (const char* bad :
       {"", "x", "123e4567-e89b-42d3-a456-42661417400", "123e4567-e89b-42d3-a456-4266141740000",
        "123e4567-e89b-42d3-a456-42661417400g", "123e4567_e89b_42d3_a456_426614174000"})
    upstream.anyStream()->reply(bad, "x");
  waitUntil("the counts", [&] { return malformed() == 6; });
  expectAllWell();
}

TEST_F(ReplyTest, WithAnUnknownBroadcastValueIsCountedAndDropped) {
  Client client(gateway.port());
  client.exchange("x");
  upstream.anyStream()->send(broadcastMessage(77, "to a planet"));
  upstream.anyStream()->send(broadcastMessage(-1, "to a planet"));
  waitUntil("the counts", [&] { return malformed() == 2; });
  EXPECT_EQ(client.exchange("y"), "y");
  expectAllWell();
}

TEST_F(ReplyTest, ThatCannotBeDecodedIsCountedAndDropped) {
  StreamRef stream = upstream.anyStream();
  stream->send("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
  stream->send(
      std::string("\x12\x7f"
                  "abc"));  // a length beyond the end
  stream->send(randomBytes(5000, 1));
  waitUntil("the counts", [&] { return malformed() == 3; });
  expectAllWell();
}

TEST_F(ReplyTest, AnEmptyMessageOrPayloadHarmsNobody) {
  Client client(gateway.port());
  client.exchange("x");
  std::string uuid = upstream.clientThatSent("x");
  upstream.anyStream()->send("");
  upstream.anyStream()->reply(uuid, "");
  upstream.anyStream()->broadcast(Broadcast::kAll, "");
  waitUntil("the count", [&] { return malformed() == 1; });
  EXPECT_EQ(client.exchange("y"), "y");
  expectAllWell();
}

TEST_F(ReplyTest, MayGoToAClientOfAnotherUpstreamAndForwarder) {
  InTestUpstream second;
  gateway.addUpstream(second.port());
  second.waitForStreams(2);
  std::vector<Client> clients;
  uint16_t port = gateway.port();
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back(port);
    clients.back().exchange("client " + std::to_string(i));
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    std::string name = "client " + std::to_string(i), uuid = upstream.clientThatSent(name);
    if (uuid.empty()) uuid = second.clientThatSent(name);
    size_t expected = 0;
    for (const InTestUpstream* from : {&upstream, &second})
      for (const StreamRef& stream : from->streams()) {
        stream->reply(uuid, "hello " + name + ";");
        expected += name.size() + 7;
      }
    EXPECT_EQ(clients[i].receive(expected).size(), expected);
    EXPECT_EQ(clients[i].exchange("."), ".");
  }
}

}  // namespace
}  // namespace ppx::test
