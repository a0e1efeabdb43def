// Limits of the process.
#pragma once

#include <cstdint>

namespace ppx {

// Raises the soft limit of open files to the hard one; returns what is in force.
uint64_t raiseDescriptorLimit();

}  // namespace ppx
