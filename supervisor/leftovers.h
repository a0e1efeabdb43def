// What a service leaves when systemd had to kill its main process at a stop: KillMode=process spares the workers, for the
// paradoxd that comes next, but after a stop none comes.
#pragma once

#include <string>

namespace ppx {

// For ExecStopPost=. Asks systemd; if the unit is being stopped, kills all processes of its control group but this one, and
// tells a custodian of the runtime directory that is a service of its own to end. After a crash, and between the halves of a
// restart, nothing is done. Returns an exit code.
int endLeftovers(const std::string& runtimeDir);

}  // namespace ppx
