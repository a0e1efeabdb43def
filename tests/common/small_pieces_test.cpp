// Clock, limits, results, close reasons and descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>

#include "common/clock.h"
#include "common/close_reason.h"
#include "common/limits.h"
#include "common/result.h"
#include "common/slot_word.h"
#include "common/unique_fd.h"
#include "common/worker_role.h"

namespace ppx {
namespace {

TEST(Clock, WritesRfc3339InUtcWithMilliseconds) {
  EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(1714565520123), "2024-05-01T12:12:00.123Z");
  EXPECT_EQ(rfc3339(951782400007), "2000-02-29T00:00:00.007Z");
}

TEST(Clock, IsMonotonicAndOfThisCentury) {
  Millis before = monotonicMillis();
  EXPECT_GE(monotonicMillis(), before);
  EXPECT_GT(realtimeMillis(), 1'700'000'000'000);
}

TEST(Limits, RaisesTheSoftLimitToTheHardOne) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    rlimit limit{64, 128};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(1);
    if (raiseDescriptorLimit() != 128) ::_exit(2);
    ::getrlimit(RLIMIT_NOFILE, &limit);
    ::_exit(limit.rlim_cur == 128 ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Result, HoldsAValueOrAnError) {
  Result<int> value = 5;
  EXPECT_TRUE(value.ok());
  EXPECT_EQ(*value, 5);
  Result<int> error = systemError("opening x", ENOENT);
  EXPECT_FALSE(error);
  EXPECT_EQ(error.error().code, ENOENT);
  EXPECT_EQ(error.error().text, "opening x: No such file or directory");
}

TEST(CloseReason, EachHasANameOfItsOwnAndAText) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < static_cast<size_t>(CloseReason::kCount); ++i) {
    const CloseReasonInfo& info = closeReasonInfo(static_cast<CloseReason>(i));
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_FALSE(info.text.empty());
  }
  EXPECT_EQ(closeReasonInfo(CloseReason::kPoison).name, "poison");
}

TEST(Names, KnowTheirStatesAndRoles) {
  EXPECT_STREQ(slotStateName(SlotState::kHandoff), "handoff");
  EXPECT_STREQ(slotStateName(static_cast<SlotState>(9)), "unknown");
  EXPECT_STREQ(workerRoleName(WorkerRole::kProber), "prober");
}

TEST(UniqueFd, ClosesOnceAndGivesAway) {
  int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  UniqueFd other;
  {
    UniqueFd fd(raw);
    other = std::move(fd);
    EXPECT_FALSE(fd);
  }
  EXPECT_NE(::fcntl(raw, F_GETFD), -1);
  other.reset();
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

}  // namespace
}  // namespace ppx
