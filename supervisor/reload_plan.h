// What a changed configuration means for a gateway that runs: what can take effect, and what cannot.
#pragma once

#include <string>
#include <vector>

#include "supervisor/config.h"

namespace ppx {

struct ReloadPlan {
  std::vector<std::string> refused;    // keys that count only from a full restart on; any of them: no reload
  std::vector<std::string> changed;    // for people, one each
  std::vector<ListenerConfig> opened;  // new, or at another address: to be bound
  std::vector<std::string> closed;     // names of listeners that the file has no more
  std::vector<UpstreamConfig> upstreamsAdded, upstreamsRemoved;
};

ReloadPlan planReload(const Config& running, const Config& wanted);

}  // namespace ppx
