// scripted_upstream_process ADDRESS: serves, prints its port, ends at the end of its input.
#include <unistd.h>

#include <cstdio>

#include "tests/prober/scripted_upstream.h"

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  ppx::test::ScriptedUpstream upstream{std::string(argv[1])};
  std::printf("%u\n", upstream.port());
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  ::_exit(0);
}
