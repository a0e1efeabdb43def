// Limits of the process.
#pragma once

#include <cstdint>

namespace ppx {

// Raises the soft limit of open files to the hard one; returns what is in force.
uint64_t raiseDescriptorLimit();

// Makes room for `count` descriptors at once, or for as many as the limit allows. The kernel doubles a process's table of
// descriptors when it is full, and if the process has threads it waits each time for a grace period of RCU (10-20 ms, in
// the middle of a recvmsg; expand_fdtable in Linux's fs/file.c). For processes to which thousands are handed at once:
// call it early. Eight bytes of kernel memory each.
void reserveDescriptors(uint64_t count);

}  // namespace ppx
