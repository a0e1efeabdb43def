// A live table as text, for people who look for a fault: what each word says at this instant.
#pragma once

#include <ostream>

#include "common/table.h"

namespace ppx {

// Reads only. Rows change while it reads; each line is true by itself. Without the bytes of clients.
void dumpTable(const Table& table, std::ostream& out);

}  // namespace ppx
