// A new table for a configuration: how large, and whether it can be at all.
#pragma once

#include <string>
#include <vector>

#include "common/table.h"
#include "supervisor/config.h"

namespace ppx {

TableSizes tableSizes(const Config& config);

// What the configuration asks for beyond the layout's bounds, one line each; empty: it fits. `paradoxd
// --check` tells it.
std::vector<std::string> beyondTheTable(const Config& config);

// Makes the table: ENOMEM and the like are the system's.
Result<Table> createTable(const Config& config);

}  // namespace ppx
