// What a running gateway holds, counted: what must be the same before and after any number of restarts.
#pragma once

#include <map>
#include <string>

#include "common/table.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {

// The table of a running gateway, by way of a process that has it.
Table tableOf(const Gateway& gateway);

// By name: session slots by state, session slots with mail, journal segments in use by kind, lanes with an owner, worker
// rows in use, and of each role the descriptors of its processes.
using Census = std::map<std::string, size_t>;
Census census(const Gateway& gateway, const Table& table);

}  // namespace ppx::test
