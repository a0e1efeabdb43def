#include "common/result.h"

#include <cstring>

namespace ppx {

Error systemError(std::string what, int code) {
  what += ": ";
  what += std::strerror(code);
  return Error{code, std::move(what)};
}

}  // namespace ppx
