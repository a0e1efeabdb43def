// Each echo worker, driven as the gateway drives it.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "tests/examples/gateway_side.h"
#include "tests/examples/worker_process.h"
#include "tests/examples/workers.h"

namespace ppx::test {
namespace {

class EchoWorker : public testing::TestWithParam<WorkerCommand> {
 protected:
  EchoWorker() : worker_(GetParam().argv) {}

  WorkerProcess worker_;
};

std::string randomBytes(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(random());
  }
  return bytes;
}

TEST_P(EchoWorker, SendsEachByteBackInOrder) {
  GatewayStream stream(worker_.address(), std::chrono::seconds(50));
  constexpr int kMessages = 10'000;
  constexpr int kClients = 100;
  std::map<std::string, std::string> sent;
  std::thread writer([&] {
    std::mt19937 random(7);
    for (int i = 0; i < kMessages; ++i) {
      const std::string client = clientId(static_cast<int>(random() % kClients));
      const std::size_t size = random() % 100 == 0 ? random() % 65'536 : random() % 200;
      const std::string payload = randomBytes(random, size + 1);
      sent[client] += payload;
      if (!stream.say(client, payload)) {
        break;
      }
    }
    stream.endInput();
  });
  std::map<std::string, std::string> got;
  int messages = 0;
  while (const auto reply = stream.read()) {
    EXPECT_EQ(reply->target_case(), OutputStreamRequest::kClientUuid);
    got[reply->client_uuid()] += reply->payload();
    ++messages;
  }
  writer.join();
  EXPECT_TRUE(stream.end().ok());
  EXPECT_EQ(messages, kMessages);
  EXPECT_TRUE(sent == got);
}

TEST_P(EchoWorker, ServesTwoStreamsAtOnce) {
  GatewayStream first(worker_.address());
  GatewayStream second(worker_.address());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(first.say(clientId(1), fmt::format("first {}", i)));
    ASSERT_TRUE(second.say(clientId(2), fmt::format("second {}", i)));
    const auto fromFirst = first.read();
    const auto fromSecond = second.read();
    ASSERT_TRUE(fromFirst && fromSecond);
    EXPECT_EQ(fromFirst->client_uuid(), clientId(1));
    EXPECT_EQ(fromFirst->payload(), fmt::format("first {}", i));
    EXPECT_EQ(fromSecond->client_uuid(), clientId(2));
    EXPECT_EQ(fromSecond->payload(), fmt::format("second {}", i));
  }
}

TEST_P(EchoWorker, StopsReadingWhileNobodyTakesItsAnswers) {
  constexpr std::size_t kPayload = 64 * 1024;
  constexpr std::size_t kMessages = 1024;
  GatewayStream stream(worker_.address(), std::chrono::seconds(50));
  std::atomic<std::size_t> sent = 0;
  std::thread writer([&] {
    std::mt19937 random(9);
    const std::string payload = randomBytes(random, kPayload);
    while (sent < kMessages && stream.say(clientId(1), payload)) {
      ++sent;
    }
    stream.endInput();
  });
  // Blocked: nothing more was taken for half a second.
  std::size_t before = 0;
  do {
    before = sent;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  } while (before != sent || before == 0);
  EXPECT_LT(sent, kMessages / 2);
  std::size_t got = 0;
  while (const auto reply = stream.read()) {
    got += reply->payload().size();
  }
  writer.join();
  EXPECT_EQ(got, kMessages * kPayload);
  EXPECT_TRUE(stream.end().ok());
}

TEST_P(EchoWorker, SurvivesStreamsThatBreak) {
  const std::string payload(20'000, 'x');
  for (int i = 0; i < 100; ++i) {
    GatewayStream broken(worker_.address());
    for (int k = 0; k < 20; ++k) {
      ASSERT_TRUE(broken.say(clientId(k), payload));
    }
  }
  GatewayStream stream(worker_.address());
  ASSERT_TRUE(stream.say(clientId(1), "still there?"));
  EXPECT_EQ(stream.readUntil(clientId(1), "?"), "still there?");
}

TEST_P(EchoWorker, EndsTheStreamWithOkAfterTheLastAnswer) {
  GatewayStream stream(worker_.address());
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(stream.say(clientId(i), "bye"));
  }
  stream.endInput();
  int answers = 0;
  while (stream.read()) {
    ++answers;
  }
  EXPECT_EQ(answers, 500);
  EXPECT_TRUE(stream.end().ok());
}

TEST_P(EchoWorker, AnswersTheProbesWithTheTime) {
  const auto isRfc3339 =
      testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z");
  const auto stub = connectTo(worker_.address());
  grpc::ClientContext readyContext;
  readyContext.set_wait_for_ready(true);
  readyContext.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  ::upstream::grpc::service::ReadyResult ready;
  ASSERT_TRUE(stub->ready(&readyContext, google::protobuf::Empty(), &ready).ok());
  EXPECT_TRUE(ready.ready());
  EXPECT_THAT(ready.time(), isRfc3339);

  grpc::ClientContext liveContext;
  liveContext.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const auto stream = stub->live(&liveContext);
  for (int i = 0; i < 5; ++i) {
    ::upstream::grpc::service::LiveResult live;
    ASSERT_TRUE(stream->Write(google::protobuf::Empty()));
    ASSERT_TRUE(stream->Read(&live));
    EXPECT_TRUE(live.live());
    EXPECT_THAT(live.time(), isRfc3339);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_P(EchoWorker, LeavesAtASignalWithStreamsOpen) {
  GatewayStream stream(worker_.address());
  ASSERT_TRUE(stream.say(clientId(1), "there"));
  ASSERT_TRUE(stream.read());
  EXPECT_EQ(worker_.stop(SIGTERM), 0);
  EXPECT_FALSE(stream.read());
  WorkerProcess second(GetParam().argv);
  EXPECT_EQ(second.stop(SIGINT), 0);
}

TEST_P(EchoWorker, RefusesAPortThatIsTaken) {
  std::vector<std::string> again = GetParam().argv;
  again.insert(again.end(), {"--port", worker_.address().substr(worker_.address().rfind(':') + 1)});
  const Outcome outcome = runToEnd(again);
  EXPECT_GT(outcome.exitCode, 0);
  EXPECT_NE(outcome.errorText.find(worker_.address()), std::string::npos) << outcome.errorText;
}

INSTANTIATE_TEST_SUITE_P(Every, EchoWorker, testing::ValuesIn(allLanguages("echo")), languageOf);

}  // namespace
}  // namespace ppx::test
