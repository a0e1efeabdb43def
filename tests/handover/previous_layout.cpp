// Linked into the gateway's programs in place of common/table_minor.cpp: they make the table of the release before.
#include "common/table_layout.h"
#include "common/table_minor.h"

namespace ppx {

uint16_t tableMinor() {
  return kTableMinor - 1;
}

}  // namespace ppx
