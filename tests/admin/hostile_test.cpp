// Requests that are out to hurt: each connection by hand.
#include "common/clock.h"
#include "tests/admin/support.h"

namespace ppx::test {
namespace {

using Hostile = AdminFixture;

// Far less than what is sent; ASan keeps freed memory for a while.
constexpr uint64_t kMemoryBound = 24 << 20;
constexpr int kQuickMs = 4000;  // below any of the server's deadlines

TEST_F(Hostile, ChunkedBodiesAreRefusedBeforeTheyAreRead) {
  start();
  RawClient client(port_);
  client.send(httpText("POST", "/upstream/add", {},
                       "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"));
  Answer answer = client.answer(kQuickMs);
  EXPECT_EQ(answer.status, 411);
  EXPECT_EQ(answer.errorText(), "Transfer-Encoding is not accepted: send a Content-Length");
}

TEST_F(Hostile, CompressedBodiesAreRefusedBeforeTheyAreRead) {
  start();
  RawClient client(port_);
  client.send(
      httpText("POST", "/upstream/add", {},
               "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 300000\r\n"));
  Answer answer = client.answer(kQuickMs);
  EXPECT_EQ(answer.status, 415);
  EXPECT_EQ(answer.errorText(), "Content-Encoding is not accepted: send the body plain");
}

TEST_F(Hostile, MemoryStaysWhenBodiesWithoutEndAreSent) {
  start();
  get("/health/live");
  uint64_t before = residentBytes();
  std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  for (const char* kind :
       {"Transfer-Encoding: chunked\r\n", "Content-Encoding: gzip\r\nContent-Length: 99999999\r\n",
        "Content-Length: 99999999\r\n"}) {
    RawClient client(port_);
    client.send(
        httpText("POST", "/upstream/add", {}, std::string("Content-Type: application/json\r\n") + kind));
    size_t sent = 0;
    while (sent < (64u << 20) && client.send(chunk)) sent += chunk.size();
    EXPECT_LT(sent, 64u << 20) << "the server took it all: " << kind;
  }
  EXPECT_LT(residentBytes(), before + kMemoryBound);
}

TEST_F(Hostile, TooLargeAndUnclearLengthsAreRefused) {
  start();
  auto withLength = [&](const std::string& headers) {
    return ask(httpText("POST", "/upstream/add", {}, "Content-Type: application/json\r\n" + headers));
  };
  Answer large = withLength("Content-Length: 65537\r\n");
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.errorText(), "a body may have 65536 bytes at most");
  EXPECT_EQ(withLength("Content-Length: 99999999999999999999999\r\n").status, 413);
  for (const char* bad : {"Content-Length: -1\r\n", "Content-Length: 0x10\r\n", "Content-Length: 5,5\r\n",
                          "Content-Length: 2\r\nContent-Length: 2\r\n"}) {
    EXPECT_EQ(withLength(bad).status, 400) << bad;
    EXPECT_EQ(withLength(bad).errorText(), "Content-Length is not one number") << bad;
  }
}

TEST_F(Hostile, MultipartAndFormsAreRefused) {
  start();
  Answer multipart =
      ask(httpText("POST", "/upstream/add", "x", "Content-Type: multipart/form-data; boundary=b\r\n"));
  EXPECT_EQ(multipart.status, 415);
  Answer form =
      ask(httpText("POST", "/upstream/add", "a=b", "Content-Type: application/x-www-form-urlencoded\r\n"));
  EXPECT_EQ(form.status, 415);
  EXPECT_EQ(form.errorText(), "send the body with Content-Type: application/json");
  EXPECT_EQ(ask(httpText("POST", "/upstream/add", "{}", "Content-Type: text/plain\r\n")).status, 415);
}

TEST_F(Hostile, HeaderFloodsEndAt431) {
  start();
  RawClient client(port_);
  uint64_t before = residentBytes();
  client.send("GET /upstream HTTP/1.1\r\n");
  for (int i = 0; i < 100'000 && client.send("X-Flood: " + std::string(1000, 'y') + "\r\n"); ++i) {
  }
  EXPECT_LT(residentBytes(), before + kMemoryBound);
  RawClient patient(port_);
  std::string text = "GET /upstream HTTP/1.1\r\n";
  while (text.size() <= HttpConnection::kMaxHeadBytes) text += "X-Flood: " + std::string(1000, 'y') + "\r\n";
  patient.send(text);
  Answer answer = patient.answer(kQuickMs);
  EXPECT_EQ(answer.status, 431);
  EXPECT_EQ(answer.errorCode(), "headers_too_large");
}

TEST_F(Hostile, NonsenseGetsJson) {
  start();
  for (const char* text :
       {"NONSENSE\r\n\r\n", "GET\r\n\r\n", "BREW / HTTP/1.1\r\n\r\n", "GET / HTTP/9\r\n\r\n", "\r\n\r\n"}) {
    Answer answer = ask(text);
    EXPECT_EQ(answer.status, 400) << text;
    EXPECT_EQ(answer.errorCode(), "bad_request") << text;
  }
  Answer binary = ask(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 12));
  EXPECT_EQ(binary.status, 400);
}

TEST_F(Hostile, LongPathsAndManyRangesAreHarmless) {
  start();
  EXPECT_EQ(get("/" + std::string(300, 'a')).status, 414);
  EXPECT_EQ(get("/" + std::string(9000, 'a')).errorCode(), "uri_too_long");
  std::string ranges = "Range: bytes=0-";
  for (int i = 0; i < 1500; ++i) ranges += ",0-";
  Answer answer = ask(httpText("GET", "/metrics", {}, ranges + "\r\n"));
  EXPECT_LT(answer.body.size(), 1u << 20);
  EXPECT_EQ(get("/health/live").status, 200);
}

TEST_F(Hostile, UnknownPathsAndMethodsSayWhatThereIs) {
  start();
  Answer missing = get("/nothing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.errorText(), "nothing is at /nothing");
  Answer method = ask(httpText("DELETE", "/upstream"));
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.errorText(), "/upstream takes GET");
  EXPECT_NE(method.headers.find("Allow: GET"), std::string::npos);
  EXPECT_EQ(get("/upstream/add").status, 400);  // a UUID could stand there
  EXPECT_EQ(post("/metrics").status, 405);
  Answer head = ask(httpText("HEAD", "/health/live"));
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.body.empty());
}

TEST_F(Hostile, APostWithoutABodyNeedsNoLength) {
  start();
  Millis before = monotonicMillis();
  EXPECT_EQ(post("/upstream/delete/123e4567-e89b-42d3-a456-426614174000").status, 404);
  EXPECT_LT(monotonicMillis() - before, kQuickMs);
}

TEST_F(Hostile, IdleAndSlowConnectionsHoldNobodyUp) {
  start();
  std::vector<RawClient> idle;
  for (int i = 0; i < 60; ++i) idle.emplace_back(port_);
  for (int i = 0; i < 60; ++i) {
    idle.emplace_back(port_);
    idle.back().send("GET /upstream HTTP/1.1\r\nX-Slow: a");
  }
  // These two hold a thread each: their heads are whole, their bodies never come.
  for (int i = 0; i < 40; ++i) {
    idle.emplace_back(port_);
    idle.back().send(
        httpText("POST", "/upstream/add", {}, "Content-Type: application/json\r\nContent-Length: 9\r\n"));
  }
  for (int i = 0; i < 20; ++i) {
    Millis before = monotonicMillis();
    EXPECT_EQ(get("/health/live").status, 200);
    EXPECT_LT(monotonicMillis() - before, kQuickMs);
  }
}

TEST_F(Hostile, WhenTooManyAreIdleTheOldestGo) {
  start();
  std::vector<RawClient> idle;
  for (size_t i = 0; i < RequestGatherer::kMaxWaiting + 20; ++i) idle.emplace_back(port_);
  EXPECT_EQ(get("/health/live").status, 200);
  EXPECT_EQ(idle.front().answer(kQuickMs).status, 0);  // closed
  idle.back().send(httpText("GET", "/health/live"));
  EXPECT_EQ(idle.back().answer(kQuickMs).status, 200);
}

TEST_F(Hostile, StopDoesNotWaitForSlowPeers) {
  setAnswer(UpstreamHealth::kProbing);
  start();
  RawClient silent(port_), body(port_), adder(port_);
  body.send(httpText("POST", "/upstream/add", {}, "Content-Type: application/json\r\nContent-Length: 9\r\n"));
  adder.send(httpText("POST", "/upstream/add", R"({"host":"a","port":1,"ready_timeout":60})"));
  while (get("/upstream").json()["upstreams"].empty()) std::this_thread::yield();
  Millis before = monotonicMillis();
  server_->stop();
  EXPECT_LT(monotonicMillis() - before, kQuickMs);
  EXPECT_EQ(adder.answer(kQuickMs).status, 202);
}

TEST_F(Hostile, ATakenPortIsAnError) {
  start();
  Config second = config_;
  second.management.port = port_;
  AdminServer other({table_, doorbells_, second, "", "", [this] { return status_; }, nullptr, nullptr});
  auto started = other.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().text,
            "management_server: 127.0.0.1:" + std::to_string(port_) + ": Address already in use");
}

}  // namespace
}  // namespace ppx::test
