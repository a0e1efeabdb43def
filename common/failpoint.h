// Named places where a test can order a crash, a stop or a failing system call.
//
//   PPX_FAILPOINTS="acceptor.claimed=kill@3;sys.accept4=errno:24@1-50"
//
// Actions: kill (SIGKILL to itself), stop (SIGSTOP), hang (this thread, for ever), exit:N, errno:N.
// @3: only the third time; @3-9: those; none: each time. Read once at start; without the variable a failpoint costs one load of a constant flag.
// PPX_FAILPOINTS_ONLY=PROGRAM: in processes of that name alone.
// PPX_FAILPOINTS_ONCE=DIR: each kill, stop, hang or exit happens in one process of all that share it;
// DIR/NAME says that it has.
#pragma once

#include <optional>
#include <string_view>

namespace ppx {

extern bool failpointsArmed;
// For tests, before other threads run: arms more, as in PPX_FAILPOINTS, in a process that was forked and not
// executed; calls a hook at each failpoint, which may throw to give up what was begun there.
void armFailpoints(std::string_view text);
using FailpointHook = void (*)(std::string_view name);
void setFailpointHook(FailpointHook hook);

// Performs the action of `name` if one is due; returns the errno that is to be simulated, or 0.
int failpointSlow(std::string_view name);

inline int failpoint(std::string_view name) {
  return failpointsArmed ? failpointSlow(name) : 0;
}

}  // namespace ppx
