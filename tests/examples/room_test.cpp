// The chat room's rules, without gRPC.
#include "examples/chat/room.h"

#include <gtest/gtest.h>

#include "examples/chat/clean_text.h"

namespace ppx::examples {
namespace {

using std::chrono::seconds;

class ChatRoom : public testing::Test {
 protected:
  // What `listener` hears when `client` sends the bytes.
  std::string hear(const std::string& listener, const std::string& client, std::string_view bytes) {
    std::string heard;
    for (const Outgoing& said : room_.take(client, bytes, now_)) {
      if (!said.client || *said.client == listener) {
        heard += said.text;
      }
    }
    return heard;
  }

  Room room_{{seconds(100), 3}};
  Room::Clock::time_point now_{seconds(1000)};
};

TEST_F(ChatRoom, PutsLinesTogetherThatArriveCut) {
  hear("a", "a", "/nick ann\n");
  EXPECT_EQ(hear("b", "a", "hel"), "");
  EXPECT_EQ(hear("b", "a", "lo\r"), "");
  EXPECT_EQ(hear("b", "a", "\nyou\nan"), "<ann> hello\n<ann> you\n");
  EXPECT_EQ(hear("b", "a", "d\n"), "<ann> and\n");
}

TEST_F(ChatRoom, CutsALineThatNeverEnds) {
  hear("a", "a", "\n");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(hear("a", "a", std::string(65'536, 'x')), "");
  }
  const std::string heard = hear("a", "a", "\n");
  EXPECT_EQ(heard, "<guest1> " + std::string(LineBuffer::kMaxLine, 'x') + "\n");
  EXPECT_EQ(hear("a", "a", "next\n"), "<guest1> next\n");
}

TEST_F(ChatRoom, KeepsPrivateWordsPrivate) {
  hear("a", "a", "/nick ann\n");
  hear("b", "b", "/nick bob\n");
  hear("c", "c", "/nick cyd\n");
  const auto said = room_.take("a", "/msg bob  come here\n", now_);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0].client, "b");
  EXPECT_EQ(said[0].text, "[ann] come here\n");
  EXPECT_EQ(said[1].client, "a");
  EXPECT_EQ(said[1].text, "[to bob] come here\n");
  EXPECT_EQ(hear("a", "a", "/msg dan hi\n"), "* nobody here is called dan\n");
}

TEST_F(ChatRoom, RefusesNamesThatAreTakenOrOdd) {
  hear("a", "a", "/nick ann\n");
  EXPECT_NE(hear("b", "b", "/nick ann\n").find("* ann is taken\n"), std::string::npos);
  for (const std::string name : {"", "a:b", "\xc3\xa4", "aaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    EXPECT_EQ(hear("b", "b", "/nick " + name + "\n"), "* a name has 1 to 24 letters, digits, '_' or '-'\n");
  }
}

TEST_F(ChatRoom, DropsTheSilentAndFreesTheirNames) {
  hear("a", "a", "/nick ann\n");
  now_ += seconds(99);
  hear("b", "b", "\n");
  now_ += seconds(1);
  EXPECT_EQ(hear("b", "b", "/nick ann\n"), "* ann is gone\n* guest2 is now ann\n");
  EXPECT_NE(hear("a", "a", "back\n").find("* welcome, you are guest3"), std::string::npos);
}

TEST_F(ChatRoom, IsFullForOneMoreThanItsLimit) {
  for (const char* client : {"a", "b", "c"}) {
    hear(client, client, "\n");
  }
  EXPECT_EQ(hear("d", "d", "hi\n"), "* the room is full, try again later\n");
  EXPECT_EQ(room_.size(), 3u);
  EXPECT_NE(hear("a", "a", "/quit\n").find("you have left"), std::string::npos);
  EXPECT_NE(hear("d", "d", "hi\n").find("* welcome"), std::string::npos);
}

TEST_F(ChatRoom, IsEnteredWhenAClientComesAndLeftWhenItGoes) {
  std::vector<Outgoing> said = room_.open("a", now_);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].text.find("* welcome, you are guest1"), std::string::npos);
  EXPECT_TRUE(room_.open("a", now_).empty()) << "said twice";
  EXPECT_TRUE(room_.has("a"));
  said = room_.gone("a");
  ASSERT_EQ(said.size(), 1u);
  EXPECT_FALSE(said[0].client);
  EXPECT_EQ(said[0].text, "* guest1 is gone\n");
  EXPECT_TRUE(room_.gone("a").empty());
}

TEST_F(ChatRoom, AnswersABurstOfCommandsInBoundedSize) {
  hear("a", "a", "\n");
  std::string burst;
  while (burst.size() < 65'000) {
    burst += "/bad\n";
  }
  std::size_t size = 0;
  std::size_t messages = 0;
  for (const Outgoing& said : room_.take("a", burst, now_)) {
    size += said.text.size();
    ++messages;
  }
  EXPECT_LT(size, 600'000u);
  EXPECT_LT(messages, 30u);
}

TEST(CleanText, LetsNoControlOrBrokenCharacterThrough) {
  EXPECT_EQ(cleanText("a\x1b[2Jb\x07"), "a[2Jb");
  EXPECT_EQ(cleanText("a\tb"), "a b");
  EXPECT_EQ(cleanText("\xc2\x9b"
                      "31m"),
            "31m");
  EXPECT_EQ(cleanText("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"), "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80");
  EXPECT_EQ(cleanText("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(cleanText("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");                  // overlong
  EXPECT_EQ(cleanText("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(cleanText("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd");                  // cut
}

}  // namespace
}  // namespace ppx::examples
