// Where the programs are that paradoxd starts.
#pragma once

#include <string>

namespace ppx {

// Beside this process's own program if they are there (a build tree), else in the libexec directory of the
// installation, which is found from the program's place: an installation may be moved as a whole.
std::string workerProgramDir();

}  // namespace ppx
