// What concerns more than one key: defaults that come from another key, pools that are only named, and values
// that contradict each other. Internal to the loader; touches no file.
#pragma once

#include "supervisor/config_reader.h"

namespace ppx {

// Fills in what the file leaves to other keys: the default listener, inherited values, implicit pools.
void completeConfig(ReadConfig& read);

// Reports contradictions, after completeConfig. A check is left out where a key of it already has an error.
void checkConfig(ReadConfig& read);

}  // namespace ppx
