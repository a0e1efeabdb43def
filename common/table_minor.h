// Which minor of the table's layout this program makes and knows. It is a function with a file of its own, so that tests
// can link the gateway's programs with one minor less, as those of the release before.
#pragma once

#include <cstdint>

namespace ppx {

uint16_t tableMinor();  // kTableMinor

}  // namespace ppx
