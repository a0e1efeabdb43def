// How this process was started, to be started so again as what is on disk by then.
#pragma once

#include <string>
#include <vector>

namespace ppx {

struct ProgramImage {
  std::string file;                    // of the program; its content may be another by now
  std::vector<std::string> arguments;  // argv, from argv[0] on
};
ProgramImage thisProgram(int argc, char** argv);

// For exec and spawn; they point into `strings`.
std::vector<char*> nullTerminated(const std::vector<std::string>& strings);

}  // namespace ppx
