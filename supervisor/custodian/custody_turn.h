// One custodian in a runtime directory: two would each hold a part of what must outlive a crash.
#pragma once

#include <string>

#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx {

// Nobody listens on custody.sock, and as long as the descriptor is kept nobody begins to. From then on the listening socket
// itself says that a custodian is there, however it ends. Errors: EEXIST: one is there; EAGAIN: one is just starting.
Result<UniqueFd> custodyTurn(const std::string& runtimeDir);

// At an orderly end.
void giveUpCustodySocket(const std::string& runtimeDir);

}  // namespace ppx
