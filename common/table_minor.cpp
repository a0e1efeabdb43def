#include "common/table_minor.h"

#include "common/table_layout.h"

namespace ppx {

uint16_t tableMinor() {
  return kTableMinor;
}

}  // namespace ppx
