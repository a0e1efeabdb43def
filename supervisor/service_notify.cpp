#include "supervisor/service_notify.h"

#include <systemd/sd-daemon.h>

namespace ppx {

void notifyService(const std::string& state) {
  ::sd_notify(0, state.c_str());
}

}  // namespace ppx
