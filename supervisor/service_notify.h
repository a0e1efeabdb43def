// sd_notify, where there is a service manager that asked for it.
#pragma once

#include <string>

namespace ppx {

void notifyService(const std::string& state);

}  // namespace ppx
