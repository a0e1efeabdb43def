#include "supervisor/custodian/custody_turn.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/custody_protocol.h"
#include "common/seqpacket.h"

namespace ppx {

Result<UniqueFd> custodyTurn(const std::string& runtimeDir) {
  UniqueFd folder(::open(runtimeDir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return systemError("opening " + runtimeDir);
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0)
    return systemError("another custodian is starting in " + runtimeDir);
  auto other = dialSeqpacket(runtimeDir + "/" + custody::kSocketName);
  // EAGAIN: somebody listens, and does not accept.
  if (other || other.error().code == EAGAIN)
    return Error{EEXIST, "another custodian has the runtime directory " + runtimeDir};
  return folder;
}

void giveUpCustodySocket(const std::string& runtimeDir) {
  ::unlink((runtimeDir + "/" + custody::kSocketName).c_str());
}

}  // namespace ppx
