// What is known of a death, and what is kept of it.
#include "supervisor/obituary.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>

#include "common/last_words.h"
#include "common/table.h"
#include "supervisor/admin/metrics_text.h"
#include "supervisor/admin/obituary_book.h"
#include "tests/supervisor/daemon.h"

namespace ppx::test {
namespace {

using Json = nlohmann::ordered_json;

// Ends a forked process by `end`; its last words.
template <typename End>
std::string lastWordsAfter(End end) {
  TemporaryFolder folder;
  const WorkerId who{3, 77};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(STDERR_FILENO);
    keepLastWordsIn(folder.path() + "/" + lastWordsName(who.row, who.incarnation));
    end();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
  EXPECT_EQ(takeLastWords(folder.path(), {3, 78}), "");
  std::string words = takeLastWords(folder.path(), who);
  EXPECT_EQ(takeLastWords(folder.path(), who), "") << "they are read once";
  return words;
}

TEST(LastWords, OfABrokenInvariantAreItsReason) {
  EXPECT_NE(lastWordsAfter([] { PPX_INVARIANT(::getpid() == 0); }).find("::getpid() == 0"),
            std::string::npos);
}

TEST(LastWords, OfAnExceptionThatNobodyCatchesAreItsTextOnOneLineAndBounded) {
  auto fail = [](const std::string& text) {
    auto raise = [&] { throw std::runtime_error(text); };
    return lastWordsAfter([&]() noexcept { raise(); });
  };
  EXPECT_EQ(fail("no\nway\x1b"), "no way ");
  EXPECT_EQ(fail(std::string(5000, 'x')), std::string(kMaxLastWords, 'x'));
}

WorkerDeath deathOf(uint32_t sessions) {
  WorkerDeath death;
  death.worker = "forwarder-1";
  death.role = WorkerRole::kForwarder;
  death.id = {1, 12};
  death.pid = 4711;
  death.how = "signal 9 (Killed)";
  death.seenUs = 1'000'000;
  death.sessions = sessions;
  return death;
}

control::TookOver taken(uint32_t sessions, uint32_t closed, uint64_t newsUs, uint32_t servedUs) {
  control::TookOver report;
  report.sessions = sessions;
  report.closed = closed;
  report.newsUs = newsUs;
  report.servedUs = servedUs;
  return report;
}

TEST(Obituary, IsCompleteWhenEachSessionGoesOnOrIsEnded) {
  Obituary obituary(deathOf(5), 900);
  EXPECT_FALSE(obituary.complete());
  control::TookOver first = taken(2, 1, 1'010'000, 0);
  obituary.add(0, 10, first);
  obituary.add(2, 13, taken(2, 0, 1'020'000, 50'000));
  EXPECT_FALSE(obituary.complete()) << "some cannot move yet";
  EXPECT_FALSE(obituary.recoveryUs());
  first.servedUs = 5'000;
  first.inDoubt = 1;
  obituary.add(0, 10, first);
  EXPECT_TRUE(obituary.complete());
  EXPECT_EQ(obituary.recoveryUs(), 70'000u);
  const Json told = obituary.json();
  EXPECT_EQ(told["cause"], "signal");
  EXPECT_EQ(told["sessions"], Json::parse(R"({"had":5,"went_on":4,"closed":1,"in_doubt":1})"));
  EXPECT_EQ(told["bytes_in_doubt"], 900);
  EXPECT_EQ(told["recovery"]["seconds"], 0.07);
  EXPECT_NE(obituary.text().find("after 70.0 ms"), std::string::npos) << obituary.text();
}

TEST(Obituary, OfOneThatHadNoSessionIsCompleteAtOnceAndTellsNoRecovery) {
  Obituary obituary(deathOf(0), {});
  EXPECT_TRUE(obituary.complete());
  EXPECT_FALSE(obituary.recoveryUs());
  EXPECT_EQ(obituary.json()["bytes_in_doubt"], 0);
}

TEST(ObituaryBook, KeepsTheNewestAndCountsAll) {
  ObituaryBook book;
  uint64_t last = 0;
  for (size_t i = 0; i < ObituaryBook::kKept + 5; ++i) last = book.open({{"pid", i}}, "acceptor", "exit");
  book.close(last, {{"pid", 1234}}, {0.07, {4, 1, 1, 500, 60, 7}});
  book.close(1, {{"pid", 1}}, {30, {}});  // forgotten already
  auto kept = book.newestFirst();
  ASSERT_EQ(kept.size(), ObituaryBook::kKept);
  EXPECT_EQ(kept.front(), Json::parse(R"({"id":69,"pid":1234})"));
  EXPECT_EQ(kept.back()["id"], 6);

  ObituaryBook next;
  ASSERT_TRUE(next.load(book.save()));
  EXPECT_EQ(next.newestFirst(), kept);
  EXPECT_EQ(next.open(Json::object(), "prober", "signal"), 70u);
  const auto totals = next.totals();
  EXPECT_EQ(totals.deaths.at({"acceptor", "exit"}), 69u);
  EXPECT_EQ(totals.recoveries[3], 1u) << "up to 0.1 s";
  EXPECT_EQ(totals.recoveries.back(), 1u) << "longer than any bound";
  EXPECT_EQ(totals.outcome.wentOn, 4u);
  EXPECT_EQ(totals.outcome.bytesCarriedIn, 500u);
  EXPECT_EQ(totals.outcome.bytesCarriedOut, 60u);
  EXPECT_EQ(totals.outcome.bytesInDoubt, 7u);
}

TEST(ObituaryBook, WhatWasOpenWhenItsSupervisorDiedIsToldOfOnceAsInterrupted) {
  ObituaryBook book;
  const uint64_t closed = book.open({{"pid", 1}}, "forwarder", "signal");
  const uint64_t open = book.open({{"pid", 2}}, "forwarder", "signal");
  book.close(closed, {{"pid", 1}}, {});
  ObituaryBook next;
  ASSERT_TRUE(next.load(book.save()));
  const auto told = next.takeInterrupted();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0], (nlohmann::ordered_json{{"id", open}, {"pid", 2}, {"interrupted", true}}));
  EXPECT_EQ(next.newestFirst().front(), told[0]);
  EXPECT_TRUE(next.takeInterrupted().empty());
  EXPECT_EQ(next.totals().deaths.at({"forwarder", "signal"}), 2u);
}

TEST(MetricsText, AHistogramCountsUpToEachBound) {
  MetricsText text;
  text.histogram("h", "Help.");
  const double bounds[] = {0.1, 1};
  const uint64_t counts[] = {2, 0, 1};
  text.buckets(bounds, counts, 7.5);
  EXPECT_EQ(text.take(),
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 2\nh_bucket{le=\"1\"} "
            "2\nh_bucket{le=\"+Inf\"} 3\n"
            "h_sum 7.5\nh_count 3\n");
}

TEST(ObituaryBook, WhatIsNoBookChangesNothing) {
  ObituaryBook book;
  book.open(Json::object(), "prober", "signal");
  const std::string before = book.save();
  for (const char* text : {"", "{", "[]", R"({"last":1})", R"({"last":-1,"deaths":[[1,2,3]]})"})
    EXPECT_FALSE(book.load(text)) << text;
  EXPECT_EQ(book.save(), before);
}

}  // namespace
}  // namespace ppx::test
