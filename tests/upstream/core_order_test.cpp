// Streams are connections of their own, read in no order among one another: what a dead forwarder had sent may be read behind
// what its successor says.
#include "tests/upstream/core_bed.h"

namespace paradox::upstream {
namespace {

TEST_F(UpstreamCore, AnAttachmentThatIsReadLateDoesNotTakeTheLaneFromItsHeir) {
  auto dead = greeted();
  auto heir = attached(0, kLane, 2);
  heir->opened(kClient, 1);
  dead->position(0, true, kLane, 1);
  dead->breakOff();
  send(kClient, "answer");
  auto reply = heir->next();
  ASSERT_TRUE(reply) << "the lane has no stream any more";
  EXPECT_EQ(reply->payload(), "answer");
}

// Lanes are lent to other forwarders, whose streams live on.
TEST_F(UpstreamCore, ALaneThatWasGivenBackStaysWithItsOwnForwarder) {
  auto lender = attached(0, kLane, 1), borrower = attached(0, 71, 1);
  lender->breakOff();
  auto again = greeted();
  again->position(0, true, kLane, 3);
  again->opened(kClient, 1);
  borrower->position(0, true, kLane, 2);
  send(kClient, "answer");
  EXPECT_TRUE(again->next());
  EXPECT_FALSE(borrower->next(50ms));
}

// A client's marks go to the forwarder that serves it, whatever a dead one had sent.
class UpstreamCoreMarks : public UpstreamCore {
 protected:
  void SetUp() override {
    worker.hook = [](const std::string&, std::string_view) { return false; };
    UpstreamCore::SetUp();
  }
  // The next process of the dead one's row does not know the client.
  void expectTheMarkAt(GatewayEnd& heir) {
    auto row = attached(0, 70, 2);
    ASSERT_TRUE(worker.waitForBytes(kClient, "abcd"));
    core->handled(kClient, 4);
    auto mark = heir.next();
    ASSERT_TRUE(mark);
    ASSERT_EQ(mark->marks_size(), 1);
    EXPECT_EQ(mark->marks(0).offset(), 4u);
    EXPECT_FALSE(row->next(50ms));
  }
};

TEST_F(UpstreamCoreMarks, GoToWhoServesAClientThoughAnAnnouncementIsReadLate) {
  auto dead = attached(0, 70, 1), heir = attached(0, 71, 1);
  heir->opened(kClient, 2);
  heir->bytes(kClient, "abcd", 0);
  dead->opened(kClient, 1);
  dead->breakOff();
  expectTheMarkAt(*heir);
}

TEST_F(UpstreamCoreMarks, GoToWhoServesAClientThoughBytesAreReadLate) {
  auto dead = attached(0, 70, 1), heir = attached(0, 71, 1);
  dead->opened(kClient, 1);
  heir->opened(kClient, 2);
  heir->bytes(kClient, "abcd", 0);
  dead->bytes(kClient, "ab", 0);
  dead->breakOff();
  expectTheMarkAt(*heir);
}

TEST_F(UpstreamCore, BytesOfAClientThatIsGoneOpenNobody) {
  auto dead = attached(0, 70, 1), heir = attached(0, 71, 1);
  dead->opened(kClient, 1);
  heir->opened(kClient, 2);
  heir->event(kClient, wire::SessionEvent::KIND_CLOSED);
  dead->bytes(kClient, "ab", 0);
  heir->opened(kOther, 1);
  EXPECT_TRUE(worker.waitFor([&] { return !worker.told.empty() && worker.told.back() == "opened 7"; }));
  EXPECT_EQ(worker.toldSoFar(), (std::vector<std::string>{"opened 6", "closed 6 told so", "opened 7"}));
}

// Its end may have come and gone: only the gateway can say so.
void expectQuestionAfterTheClient(GatewayEnd& stream) {
  auto question = stream.next();
  ASSERT_TRUE(question);
  ASSERT_EQ(question->marks_size(), 1);
  EXPECT_EQ(question->marks(0).client_uuid(), kClient);
}

TEST_F(UpstreamCore, AsksAfterAClientWhoseOpeningIsReadBehindItsEnd) {
  auto dead = attached(0, kLane, 1);
  auto heir = attached(0, kLane, 2);
  heir->opened(kClient, 2);
  heir->event(kClient, wire::SessionEvent::KIND_CLOSED);
  dead->opened(kClient, 1);
  dead->breakOff();
  expectQuestionAfterTheClient(*heir);
  heir->event(kClient, wire::SessionEvent::KIND_CLOSED);
  EXPECT_TRUE(worker.waitFor([&] { return worker.told.size() == 4; }));
}

// The row's next stream has listed its clients, and waits for a lane that is still lent.
TEST_F(UpstreamCore, AsksAfterAClientAlsoWhileTheLaneHasNoStream) {
  auto dead = greeted();
  auto heir = greeted();
  heir->event("", wire::SessionEvent::KIND_LISTED);
  dead->opened(kClient, 1);
  dead->breakOff();
  expectQuestionAfterTheClient(*heir);
}

// A lane that another process still has is attached only when that one has given it back.
TEST_F(UpstreamCore, WhatIsDealtWithBeforeTheLaneIsAttachedIsToldThen) {
  auto stream = greeted();
  stream->opened(kClient, 1);
  stream->bytes(kClient, "abcd", 0);
  ASSERT_TRUE(worker.waitForBytes(kClient, "abcd"));
  EXPECT_FALSE(stream->next(150ms));  // marks have been due meanwhile, and had no way
  stream->position(0, true, kLane, 1);
  auto mark = stream->next();
  ASSERT_TRUE(mark) << "the gateway never hears that these bytes are dealt with";
  ASSERT_EQ(mark->marks_size(), 1);
  EXPECT_EQ(mark->marks(0).offset(), 4u);
}

}  // namespace
}  // namespace paradox::upstream
