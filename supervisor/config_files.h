// The files that a configuration names: the admin API's token, certificate and key. Internal to the loader.
#pragma once

#include <filesystem>

#include "supervisor/config_reader.h"

namespace ppx {

// Makes names absolute (relative ones are relative to directory), reads the token, checks that certificate
// and key can be read and are PEM; reports what is wrong.
void loadNamedFiles(ReadConfig& read, const std::filesystem::path& directory);

}  // namespace ppx
