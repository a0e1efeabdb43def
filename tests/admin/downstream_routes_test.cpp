#include <poll.h>

#include "tests/admin/support.h"

namespace ppx::test {
namespace {

using DownstreamRoutes = AdminFixture;

std::vector<std::string> uuidsOf(const Json& page) {
  std::vector<std::string> out;
  for (const Json& session : page["downstreams"]) out.push_back(session["uuid"]);
  return out;
}

TEST_F(DownstreamRoutes, ShowsWhatTheTableSays) {
  start();
  std::string upstream = addReady("a", 1)["uuid"];
  SlotRef ref = makeSession(0);
  SessionSlot& slot = table_.session(ref.slot);
  slot.inReceived.store(11);
  slot.outSent.store(22);
  slot.flags.store(kSessionInputEnded);
  Answer answer = get("/downstream/" + sessionUuid(ref));
  ASSERT_EQ(answer.status, 200) << answer.body;
  Json session = answer.json();
  EXPECT_EQ(session["peer"], "127.0.0.1:4321");
  EXPECT_EQ(session["listener"], "front");
  EXPECT_EQ(session["pool"], "default");
  EXPECT_EQ(session["upstream"], upstream);
  EXPECT_EQ(session["forwarder"], 0);
  EXPECT_EQ(session["state"], "owned");
  EXPECT_EQ(session["bytes"]["in_received"], 11);
  EXPECT_EQ(session["bytes"]["out_sent"], 22);
  EXPECT_EQ(session["input_ended"], true);
  EXPECT_TRUE(session["close_reason"].is_null());
}

TEST_F(DownstreamRoutes, UnknownAndDepartedSessionsAre404) {
  start();
  SlotRef ref = makeSession();
  std::string uuid = sessionUuid(ref);
  endSession(ref);
  EXPECT_EQ(get("/downstream/" + uuid).status, 404);
  EXPECT_EQ(post("/downstream/" + uuid + "/close").errorText(), "no session has this UUID");
  EXPECT_EQ(get("/downstream/123e4567-e89b-42d3-a456-426614174000").status, 404);
  EXPECT_EQ(get("/downstream/123").errorText(), "expected a UUIDv4 in the path");
}

TEST_F(DownstreamRoutes, CloseAsksTheOwnerAndRings) {
  start();
  SlotRef ref = makeSession();
  doorbells_.answered(table_, 0);
  Answer answer = post("/downstream/" + sessionUuid(ref) + "/close");
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(SessionTable(table_).closeRequested(ref), CloseReason::kAdmin);
  pollfd bell{doorbells_.descriptor(0), POLLIN, 0};
  EXPECT_EQ(::poll(&bell, 1, 1000), 1);
  EXPECT_EQ(get("/downstream/" + sessionUuid(ref)).json()["close_requested"], "admin");
  EXPECT_EQ(post("/downstream/" + sessionUuid(ref) + "/close").status, 202);  // again: the first stands
}

TEST_F(DownstreamRoutes, PagesHoldEverySessionThatStaysExactlyOnce) {
  start();
  std::set<std::string> staying;
  std::vector<SlotRef> going;
  for (int i = 0; i < 60; ++i) {
    SlotRef ref = makeSession();
    if (i % 3 == 0)
      going.push_back(ref);
    else
      staying.insert(sessionUuid(ref));
  }
  std::multiset<std::string> seen;
  std::string cursor;
  do {
    Json page = get("/downstream?limit=7" + (cursor.empty() ? "" : "&cursor=" + cursor)).json();
    EXPECT_LE(page["downstreams"].size(), 7u);
    for (const std::string& uuid : uuidsOf(page)) seen.insert(uuid);
    cursor = page["next_cursor"].is_null() ? "" : page["next_cursor"].get<std::string>();
    // Some leave, some come between two pages.
    for (int i = 0; i < 3 && !going.empty(); ++i) {
      endSession(going.back());
      going.pop_back();
    }
    makeSession();
  } while (!cursor.empty());
  for (const std::string& uuid : staying) EXPECT_EQ(seen.count(uuid), 1u);
}

TEST_F(DownstreamRoutes, FiltersByPoolAndUpstream) {
  start();
  std::string first = addReady("a", 1)["uuid"];
  addReady("b", 2);
  SlotRef games = makeSession(1, 1);
  SlotRef plain = makeSession(0, 0);
  EXPECT_EQ(uuidsOf(get("/downstream?pool=games").json()), std::vector{sessionUuid(games)});
  EXPECT_EQ(uuidsOf(get("/downstream?upstream=" + first).json()), std::vector{sessionUuid(plain)});
  EXPECT_TRUE(uuidsOf(get("/downstream?pool=games&upstream=" + first).json()).empty());
}

TEST_F(DownstreamRoutes, BadParametersAre400WithTheirName) {
  start();
  auto error = [&](const char* query) { return get(std::string("/downstream?") + query); };
  EXPECT_EQ(error("limit=0").errorText(), "limit: expected an integer from 1 to 1000, found \"0\"");
  EXPECT_EQ(error("limit=1001").errorField(), "limit");
  EXPECT_EQ(error("limit=ten").errorField(), "limit");
  EXPECT_EQ(error("limit=1&limit=2").errorText(), "limit: expected it once, found \"1\"");
  EXPECT_EQ(error("cursor=-1").errorField(), "cursor");
  EXPECT_EQ(error("cursor=99999999999").errorField(), "cursor");
  EXPECT_EQ(error("pool=nine").errorText(), "pool: expected a pool of the configuration, found \"nine\"");
  EXPECT_EQ(error("upstream=x").errorField(), "upstream");
  EXPECT_EQ(error("offset=1").errorText(),
            "offset: unknown parameter; known are cursor, limit, pool and upstream");
  EXPECT_EQ(error("limit=0").status, 400);
}

TEST_F(DownstreamRoutes, RowsAreWholeWhileSlotsChangeHands) {
  start();
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    while (!stop) {
      SlotRef ref = makeSession();
      endSession(ref);
    }
  });
  for (int i = 0; i < 200; ++i) {
    Json page = get("/downstream").json();
    for (const Json& session : page["downstreams"]) {
      EXPECT_TRUE(parseUuid(session["uuid"].get<std::string>()));
      EXPECT_EQ(session["peer"], "127.0.0.1:4321");
    }
  }
  stop = true;
  churn.join();
}

}  // namespace
}  // namespace ppx::test
