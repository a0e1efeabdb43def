// Each chat worker, driven as the gateway drives it.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/examples/gateway_side.h"
#include "tests/examples/worker_process.h"
#include "tests/examples/workers.h"

namespace ppx::test {
namespace {

class ChatWorker : public testing::TestWithParam<WorkerCommand> {
 protected:
  ChatWorker() : worker_(GetParam().argv), stream_(worker_.address()) {}

  void join(int client, const std::string& name) {
    ASSERT_TRUE(stream_.say(clientId(client), "/nick " + name + "\n"));
    stream_.readUntil(clientId(client), "is now " + name + "\n");
  }

  WorkerProcess worker_;
  GatewayStream stream_;
};

TEST_P(ChatWorker, WelcomesTheFirstBytesOfAClient) {
  ASSERT_TRUE(stream_.say(clientId(1), "\n"));
  const auto reply = stream_.read();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->client_uuid(), clientId(1));
  EXPECT_NE(reply->payload().find("welcome"), std::string::npos) << reply->payload();
}

TEST_P(ChatWorker, BroadcastsWhatIsSaid) {
  join(1, "ann");
  ASSERT_TRUE(stream_.say(clientId(1), "good "));
  ASSERT_TRUE(stream_.say(clientId(1), "morning\r\n"));
  stream_.forget();
  const auto reply = stream_.read();
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->target_case(), OutputStreamRequest::kBroadcast);
  EXPECT_EQ(reply->broadcast(), OutputStreamRequest::BROADCAST_ALL);
  EXPECT_EQ(reply->payload(), "<ann> good morning\n");
}

TEST_P(ChatWorker, CarriesPrivateWordsToOneClientOverAnyStream) {
  join(1, "ann");
  GatewayStream other(worker_.address());
  ASSERT_TRUE(other.say(clientId(1), "\n"));  // from here on she is heard of over that one
  ASSERT_TRUE(other.say(clientId(2), "/nick bob\n"));
  other.readUntil(clientId(2), "is now bob\n");
  ASSERT_TRUE(other.say(clientId(2), "/msg ann psst\n"));
  other.readUntil(clientId(1), "[bob] psst\n");
  other.readUntil(clientId(2), "[to ann] psst\n");
}

TEST_P(ChatWorker, ListsWhoIsThere) {
  join(1, "ann");
  join(2, "bob");
  ASSERT_TRUE(stream_.say(clientId(1), "/who\n"));
  const std::string heard = stream_.readUntil(clientId(1), "2 here:");
  EXPECT_NE(heard.find(" ann"), std::string::npos) << heard;
  EXPECT_NE(heard.find(" bob"), std::string::npos) << heard;
}

TEST_P(ChatWorker, LetsAMemberLeave) {
  join(1, "ann");
  ASSERT_TRUE(stream_.say(clientId(1), "/quit\n"));
  stream_.readUntil(clientId(1), "you have left");
  stream_.readUntil(clientId(2), "ann is gone\n");
}

TEST_P(ChatWorker, SurvivesBytesThatAreNoText) {
  join(1, "ann");
  ASSERT_TRUE(stream_.say(clientId(1), "\xff\xfe\x1b[2J\x07 ok?\n"));
  EXPECT_EQ(stream_.readUntil(clientId(1), "ok?\n").find('\x1b'), std::string::npos);
  ASSERT_TRUE(stream_.say(clientId(1), std::string(60'000, 'x')));
  ASSERT_TRUE(stream_.say(clientId(1), std::string(60'000, 'x') + "\nafter\n"));
  const std::string heard = stream_.readUntil(clientId(1), "<ann> after\n");
  EXPECT_LT(heard.size(), 3'000u);
}

TEST_P(ChatWorker, EndsTheStreamWithOkAfterTheLastAnswer) {
  join(1, "ann");
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream_.say(clientId(1), "again\n"));
  }
  ASSERT_TRUE(stream_.say(clientId(1), "last\n"));
  stream_.endInput();
  stream_.readUntil(clientId(1), "<ann> last\n");
  while (stream_.read()) {
  }
  EXPECT_TRUE(stream_.end().ok());
}

TEST_P(ChatWorker, LeavesAtASignalWithStreamsOpen) {
  join(1, "ann");
  EXPECT_EQ(worker_.stop(SIGTERM), 0);
}

INSTANTIATE_TEST_SUITE_P(Every, ChatWorker, testing::ValuesIn(allLanguages("chat")), languageOf);

}  // namespace
}  // namespace ppx::test
