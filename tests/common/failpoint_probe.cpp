// Passes the failpoints named in its arguments, one after another, and prints what each returned.
#include <cstdio>

#include "common/failpoint.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::printf("%d ", ppx::failpoint(argv[i]));
    std::fflush(stdout);
  }
  std::printf("end");
  return 0;
}
