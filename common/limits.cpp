#include "common/limits.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "common/unique_fd.h"

namespace ppx {

uint64_t raiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

void reserveDescriptors(uint64_t count) {
  rlimit limit{};
  if (count == 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == 0) return;
  const uint64_t highest = std::min<uint64_t>({count, limit.rlim_cur, INT_MAX}) - 1;
  UniqueFd any(::open("/", O_PATH | O_CLOEXEC));
  if (any) UniqueFd far(::fcntl(any.get(), F_DUPFD_CLOEXEC, static_cast<int>(highest)));
}

}  // namespace ppx
