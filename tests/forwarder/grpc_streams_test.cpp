// The streams over real gRPC, to an upstream in this process that says more than it should.
#include "forwarder/grpc_streams.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "forwarder/upstream_wire.h"
#include "tests/common/table_testing.h"
#include "upstream.grpc.pb.h"

namespace ppx {
namespace {

namespace wire = ::upstream::grpc::service;

// Says hello, then sends so many messages, each full of marks of one client.
class Marker final : public wire::UpstreamPeerService::Service {
 public:
  Marker(std::string client, int messages) : client_(std::move(client)), messages_(messages) {}
  bool isDone() const { return done_; }

 private:
  using Stream = grpc::ServerReaderWriter<wire::OutputStreamRequest, wire::InputStreamRequest>;

  grpc::Status bidirectionalStreaming(grpc::ServerContext*, Stream* stream) override {
    wire::OutputStreamRequest hello, marks;
    hello.mutable_hello()->set_version(kExtensionsVersion);
    for (const char* name : {"events", "close", "resume"}) hello.mutable_hello()->add_capabilities(name);
    hello.mutable_hello()->set_instance_id("marker");
    for (size_t i = 0; i < kMaxMarks; ++i) marks.add_marks()->set_client_uuid(client_);
    stream->Write(hello);
    for (int i = 0; i < messages_; ++i)
      if (!stream->Write(marks)) return grpc::Status::CANCELLED;
    done_ = true;
    wire::InputStreamRequest ignored;
    while (stream->Read(&ignored)) {
    }
    return grpc::Status::OK;
  }

  std::string client_;
  int messages_;
  std::atomic<bool> done_{false};
};

bool waitFor(const std::function<bool()>& holds, std::chrono::milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST(GrpcStreams, ReadNoMoreMarksThanSessionsTakeIn) {
  using std::chrono::milliseconds;
  constexpr int kMessages = 100;
  constexpr size_t kMarks = kMessages * kMaxMarks;
  Table table = testing::smallTable();
  const WorkerId self = testing::kForwarder;
  const SlotRef ref = testing::owned(table);
  Marker marker(uuidText(SessionTable(table).uuid(ref.slot)), kMessages);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&marker);
  auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);

  Journal journal(table, self);
  Doorbells doorbells = std::move(*Doorbells::create());
  ReplyRouter router(table, doorbells, journal, self);
  {
    GrpcStreams::Options options;
    options.self = self;
    options.table = &table;
    GrpcStreams streams(options, router, [] {});
    const StreamId stream =
        streams.open({.host = "127.0.0.1", .port = static_cast<uint32_t>(port), .extended = true});
    ASSERT_TRUE(waitFor([&] { return streams.isFull(); }, milliseconds(20'000)));
    EXPECT_FALSE(waitFor([&] { return marker.isDone(); }, milliseconds(300)));
    // What is not read of it is not lost, whoever dies.
    EXPECT_TRUE(
        waitFor([&, now = monotonicMillis()] { return streams.readUpTo() > now; }, milliseconds(20'000)));
    std::vector<StreamEvent> events;
    streams.collect(events);
    EXPECT_LE(events.size(), GrpcStreams::kMostEvents + kMaxMarks);
    // Nothing of it is lost.
    size_t marks = 0;
    auto count = [&] {
      for (const StreamEvent& event : events) marks += event.type == StreamEvent::Type::kMarked ? 1 : 0;
    };
    count();
    EXPECT_TRUE(waitFor(
        [&] {
          streams.collect(events);
          count();
          return marks >= kMarks;
        },
        milliseconds(20'000)));
    EXPECT_EQ(marks, kMarks);
    streams.cancel(stream);
    EXPECT_TRUE(waitFor(
        [&] {
          streams.collect(events);
          return !events.empty() && events.back().type == StreamEvent::Type::kEnded;
        },
        milliseconds(20'000)));
  }
  server->Shutdown(std::chrono::system_clock::now());
}

// Answers nothing of its own accord: the test does.
class Talker final : public wire::UpstreamPeerService::Service {
 public:
  void say(const std::string& client, const std::string& payload) {
    wire::OutputStreamRequest message;
    message.set_client_uuid(client);
    message.set_payload(payload);
    std::lock_guard lock(mutex_);
    stream_->Write(message);
  }
  bool isOpen() {
    std::lock_guard lock(mutex_);
    return stream_ != nullptr;
  }
  void end() { ends_ = true; }

 private:
  using Stream = grpc::ServerReaderWriter<wire::OutputStreamRequest, wire::InputStreamRequest>;

  grpc::Status bidirectionalStreaming(grpc::ServerContext*, Stream* stream) override {
    {
      std::lock_guard lock(mutex_);
      stream_ = stream;
    }
    waitFor([&] { return ends_.load(); }, std::chrono::milliseconds(60'000));
    std::lock_guard lock(mutex_);
    stream_ = nullptr;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "told so");
  }

  std::mutex mutex_;
  Stream* stream_ = nullptr;
  std::atomic<bool> ends_{false};
};

struct LastSign : ::testing::Test {
  static constexpr std::chrono::milliseconds kPatience{20'000};

  LastSign() {
    outbox.attach(table, ref);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&talker);
    server = builder.BuildAndStart();
    GrpcStreams::Options options;
    options.self = self;
    options.table = &table;
    streams = std::make_unique<GrpcStreams>(options, router, [this] { wokenAt = monotonicMillis(); });
    stream = streams->open({.host = "127.0.0.1", .port = static_cast<uint32_t>(port)});
    EXPECT_TRUE(waitFor([&] { return talker.isOpen(); }, kPatience));
  }
  ~LastSign() override {
    talker.end();
    auto isOver = [this] {
      takeOutput();
      return hasEnded();
    };
    EXPECT_TRUE(waitFor(isOver, kPatience));
    streams.reset();
    server->Shutdown(std::chrono::system_clock::now());
  }
  // The bytes that came since.
  uint64_t takeOutput() {
    const uint64_t committed = outbox.collect(table);
    outbox.consume(table, journal, outbox.pending(table));
    return committed;
  }
  bool hasEnded() {
    std::vector<StreamEvent> events;
    streams->collect(events);
    return ended = ended || (!events.empty() && events.back().type == StreamEvent::Type::kEnded);
  }
  bool advances() { return advancesBeyond(monotonicMillis(), kPatience); }
  bool advancesBeyond(Millis time, std::chrono::milliseconds within) {
    return waitFor([&] { return streams->lastSignOf(stream) > time && streams->readUpTo() > time; }, within);
  }

  const WorkerId self = testing::kForwarder;
  Table table = testing::smallTable();
  SlotRef ref = testing::owned(table);
  Journal journal{table, self};
  MailOutbox outbox;
  Doorbells doorbells = std::move(*Doorbells::create());
  ReplyRouter router{table, doorbells, journal, self};
  Talker talker;
  std::atomic<Millis> wokenAt{0};
  int port = 0;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<GrpcStreams> streams;
  StreamId stream = 0;
  bool ended = false;
};

TEST_F(LastSign, GoesOnWhileAStreamIsQuiet) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(advances());
}

TEST_F(LastSign, StandsStillWhileAReplyWaitsForRoomAndWhatFollowsItIsNotRead) {
  ASSERT_TRUE(advances());
  const std::string client = uuidText(SessionTable(table).uuid(ref.slot));
  const std::string bulk(32 << 10, 'b');  // a quarter of the segments
  uint64_t committed = 0;
  for (int i = 0; i < 5; ++i) talker.say(client, bulk);
  // Who finds no room asks the session with the most to send to end.
  ASSERT_TRUE(waitFor(
      [&] {
        committed += outbox.collect(table);
        return table.session(ref.slot).closeRequest != 0;
      },
      kPatience));
  const Millis held = streams->lastSignOf(stream);
  EXPECT_FALSE(advancesBeyond(held, std::chrono::milliseconds(300)));
  EXPECT_TRUE(waitFor(
      [&] {
        committed += takeOutput();
        return committed == 5 * bulk.size();
      },
      kPatience));
  EXPECT_TRUE(advances());
}

TEST_F(LastSign, OfABrokenStreamIsNotLaterThanItsEndHoweverLateThatIsCollected) {
  ASSERT_TRUE(advances());
  wokenAt = 0;
  talker.end();
  ASSERT_TRUE(waitFor([&] { return wokenAt != 0; }, kPatience));
  const Millis noticed = wokenAt;
  EXPECT_TRUE(waitFor([&] { return streams->readUpTo() > noticed + 200; }, kPatience));
  EXPECT_TRUE(hasEnded());
  EXPECT_LE(streams->lastSignOf(stream), noticed);
}

}  // namespace
}  // namespace ppx
