// A configuration whose table is small, with the kernel's choice of ports.
#pragma once

#include <string>

namespace ppx::test {

inline std::string smallConfig(const std::string& workers = "") {
  return "[server]\nport = 0\n[management_server]\nport = 0\nshutdown_timeout = '2s'\n"
         "[sessions]\nmax = 64\njournal_in_bytes = '64KiB'\njournal_out_bytes = '1MiB'\n"
         "output_hard_bytes = '1MiB'\n[workers]\n" +
         workers;
}

}  // namespace ppx::test
