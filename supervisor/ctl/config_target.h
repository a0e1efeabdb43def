// The gateway that a configuration file describes, as paradoxctl reaches it.
#pragma once

#include "supervisor/ctl/gateway_client.h"

namespace ppx::ctl {

// Host, port, token and TLS of its admin API. A wildcard address is reached by loopback, where a certificate says nothing
// and is not checked; a port that the kernel chose is looked up in the runtime directory. Errors: what is wrong with the
// file; its token file cannot be read (whoever may read it may administer the gateway).
Result<Target> targetOfConfig(const std::string& file, const std::string& runtimeDir);

}  // namespace ppx::ctl
