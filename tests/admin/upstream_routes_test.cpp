#include "tests/admin/support.h"

namespace ppx::test {
namespace {

using UpstreamRoutes = AdminFixture;

const char* const kArticle = R"({"host":"10.0.1.5","port":45888,"alive_timeout":30,"ready_timeout":5})";

TEST_F(UpstreamRoutes, AddAsInTheArticleWaitsForReadiness) {
  start();
  Answer answer = post("/upstream/add", kArticle);
  EXPECT_EQ(answer.status, 201);
  Json body = answer.json();
  EXPECT_EQ(body["state"], "ready");
  EXPECT_EQ(body["host"], "10.0.1.5");
  EXPECT_EQ(body["port"], 45888);
  EXPECT_EQ(body["pool"], "default");
  EXPECT_TRUE(parseUuid(body["uuid"].get<std::string>()));
  EXPECT_NE(answer.headers.find("application/json"), std::string::npos);
}

TEST_F(UpstreamRoutes, DefaultsAndFractionsOfSeconds) {
  start();
  Json body = post("/upstream/add", R"({"host":"::1","port":1,"ready_timeout":0.25,"pool":"games"})").json();
  EXPECT_EQ(body["alive_timeout"], 30.0);
  EXPECT_EQ(body["ready_timeout"], 0.25);
  EXPECT_EQ(body["pool"], "games");
  EXPECT_EQ(table_.upstream(0).readyTimeoutMs.load(), 250u);
}

TEST_F(UpstreamRoutes, OneThatIsNotReadyInTimeIs202AndGoesOnBeingAsked) {
  setAnswer(UpstreamHealth::kProbing);
  start();
  Answer answer = post("/upstream/add", R"({"host":"a","port":1,"ready_timeout":0.2})");
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.json()["state"], "probing");
  EXPECT_EQ(get("/upstream/" + answer.json()["uuid"].get<std::string>()).json()["state"], "probing");
}

TEST_F(UpstreamRoutes, TheSameAgainIs409WithItsUuid) {
  start();
  Json first = addReady("10.0.1.5", 45888);
  Answer again = post("/upstream/add", kArticle);
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(again.errorCode(), "upstream_exists");
  EXPECT_EQ(again.json()["uuid"], first["uuid"]);
  EXPECT_EQ(post("/upstream/add", R"({"host":"10.0.1.5","port":45888,"pool":"games"})").status, 201);
}

TEST_F(UpstreamRoutes, FullTableIs503) {
  start();
  for (int i = 0; i < 8; ++i) addReady("a", 100 + i);
  Answer answer = post("/upstream/add", kArticle);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.errorText(), "the table has room for 8 upstreams, and all are there or being drained");
}

TEST_F(UpstreamRoutes, DeleteDrainsAndThenForgets) {
  start();
  std::string uuid = addReady("a", 1)["uuid"];
  Answer answer = post("/upstream/delete/" + uuid);
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.json()["state"], "draining");
  for (const Millis end = monotonicMillis() + 20'000;
       monotonicMillis() < end && get("/upstream/" + uuid).status != 404;)
    std::this_thread::yield();
  EXPECT_EQ(get("/upstream/" + uuid).errorCode(), "no_such_upstream");
  EXPECT_EQ(post("/upstream/delete/" + uuid).status, 404);
  // Its slot has a new life.
  EXPECT_EQ(lifeGeneration(table_.upstream(0).life.load()), 1u);
  addReady("a", 1);
}

TEST_F(UpstreamRoutes, OneThatDoesNotEndItsStreamsStaysDraining) {
  start();
  std::string uuid = addReady("a", 9)["uuid"];
  post("/upstream/delete/" + uuid);
  Json body = get("/upstream/" + uuid).json();
  EXPECT_EQ(body["state"], "draining");
  EXPECT_TRUE(body["draining_seconds"].is_number());
  EXPECT_EQ(post("/upstream/add", R"({"host":"a","port":9})").status, 409);
  EXPECT_EQ(post("/upstream/delete/" + uuid).status, 202);  // asking twice changes nothing
}

TEST_F(UpstreamRoutes, ListAndDetailsShowStreamsAndSessions) {
  start();
  std::string uuid = addReady("host.example", 1)["uuid"];
  addReady("b", 2);
  makeSession(0);
  makeSession(0);
  makeSession(1);
  Json list = get("/upstream").json()["upstreams"];
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]["sessions"], 2);
  EXPECT_EQ(list[1]["sessions"], 1);
  Json one = get("/upstream/" + uuid).json();
  EXPECT_EQ(one["host"], "host.example");
  ASSERT_EQ(one["streams"].size(), 1u);
  EXPECT_EQ(one["streams"][0]["state"], "open");
  EXPECT_GE(one["last_ready_seconds_ago"].get<double>(), 0);
  EXPECT_TRUE(one["last_live_seconds_ago"].is_null());
}

struct BadInput {
  const char* body;
  const char* code;
  const char* field;
  const char* message;
};

class BadUpstream : public AdminFixture, public ::testing::WithParamInterface<BadInput> {};

TEST_P(BadUpstream, Is400WithTheFieldsNameAndWhatWasExpected) {
  start();
  Answer answer = post("/upstream/add", GetParam().body);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.errorCode(), GetParam().code);
  EXPECT_EQ(answer.errorField(), GetParam().field);
  EXPECT_EQ(answer.errorText(), GetParam().message);
  EXPECT_TRUE(get("/upstream").json()["upstreams"].empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadUpstream,
    ::testing::Values(
        BadInput{"{\"host\":", "bad_json", "", "the body is not JSON: byte 9 is wrong"},
        BadInput{"[1]", "bad_json", "", "expected a JSON object, found [1]"},
        BadInput{R"({"port":1})", "missing_field", "host", "host: is missing: expected a string"},
        BadInput{R"({"host":"a"})", "missing_field", "port",
                 "port: is missing: expected an integer from 1 to 65535"},
        BadInput{R"({"host":7,"port":1})", "bad_field", "host", "host: expected a string, found 7"},
        BadInput{R"({"host":"a b","port":1})", "bad_field", "host",
                 "host: expected a host name or an IP address (IPv6 without brackets), found \"a b\""},
        BadInput{R"({"host":"","port":1})", "bad_field", "host",
                 "host: expected a host name or an IP address (IPv6 without brackets), found \"\""},
        BadInput{R"({"host":"a","port":"1"})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found \"1\""},
        BadInput{R"({"host":"a","port":0})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found 0"},
        BadInput{R"({"host":"a","port":-1})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found -1"},
        BadInput{R"({"host":"a","port":65536})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found 65536"},
        BadInput{R"({"host":"a","port":1.5})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found 1.5"},
        BadInput{R"({"host":"a","port":99999999999999999999})", "bad_field", "port",
                 "port: expected an integer from 1 to 65535, found 1e+20"},
        BadInput{R"({"host":"a","port":1,"alive_timeout":0})", "bad_field", "alive_timeout",
                 "alive_timeout: expected seconds from 0.1 to 86400, found 0"},
        BadInput{R"({"host":"a","port":1,"alive_timeout":"30s"})", "bad_field", "alive_timeout",
                 "alive_timeout: expected seconds from 0.1 to 86400, found \"30s\""},
        BadInput{R"({"host":"a","port":1,"ready_timeout":3601})", "bad_field", "ready_timeout",
                 "ready_timeout: expected seconds from 0.1 to 3600, found 3601"},
        BadInput{R"({"host":"a","port":1,"pool":"nine"})", "bad_field", "pool",
                 "pool: expected a pool of the configuration (\"default\", \"games\"), found \"nine\""},
        BadInput{R"({"host":"a","port":1,"alive":3})", "unknown_field", "alive",
                 "alive: unknown field; known are alive_timeout, host, pool, port and ready_timeout"},
        BadInput{R"({"host":"a","port":1,"port":2})", "bad_field", "port", "port: is there twice: port"}));

TEST_F(UpstreamRoutes, HostsThatAreTooLongAndEmptyBodiesAreRefused) {
  start();
  Answer answer = post("/upstream/add", Json{{"host", std::string(254, 'a')}, {"port", 1}}.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.errorField(), "host");
  EXPECT_EQ(post("/upstream/add").errorText(), "the body is empty: expected a JSON object");
  EXPECT_EQ(post("/upstream/add", std::string(60'000, '[')).errorCode(), "bad_json");
}

TEST_F(UpstreamRoutes, PathsWithoutAUuidAre400) {
  start();
  for (const char* path : {"/upstream/nonsense", "/upstream/123e4567-e89b-12d3-a456-426614174000"}) {
    EXPECT_EQ(get(path).status, 400) << path;
    EXPECT_EQ(get(path).errorText(), "expected a UUIDv4 in the path");
  }
  EXPECT_EQ(post("/upstream/delete/xyz").errorCode(), "bad_uuid");
  EXPECT_EQ(get("/upstream/123e4567-e89b-42d3-a456-426614174000").status, 404);
}

}  // namespace
}  // namespace ppx::test
