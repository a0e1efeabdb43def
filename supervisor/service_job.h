// What systemd is about to do with the unit that this process is the main process of. SIGTERM alone does not say whether
// the gateway ends or is only started again; systemd's own job does.
#pragma once

#include "common/result.h"

namespace ppx {

enum class ServiceJob {
  kNone,     // systemd has no job for the unit: somebody else sent the signal
  kRestart,  // the unit is started, or started again, by the same user, when this process has ended
  kStop,     // nobody takes over
};

// Whether a service manager started this process: nobody else can be asked.
bool underServiceManager();

// Whose question it is: the main process's, or that of a command in ExecStopPost=.
enum class ServiceRole { kMain, kAfterStop };

// Asks systemd over the bus, of the system or of the user. A main process that is none, because somebody runs it from a
// script that is a service, is told kNone: nobody starts it again. Blocks, usually for a millisecond; a bus that hangs may
// hold it for ever. Any thread. Errors: no bus, or not what systemd answers.
Result<ServiceJob> serviceJob(ServiceRole role);

}  // namespace ppx
