#include "common/program_image.h"

#include <filesystem>
#include <string_view>

namespace ppx {
namespace {

constexpr std::string_view kDeleted = " (deleted)";  // the kernel's mark of a file that was replaced

}  // namespace

ProgramImage thisProgram(int argc, char** argv) {
  std::error_code ignored;
  std::string file = std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  if (file.ends_with(kDeleted)) file.resize(file.size() - kDeleted.size());
  return {file, {argv, argv + argc}};
}

std::vector<char*> nullTerminated(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& each : strings) out.push_back(const_cast<char*>(each.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace ppx
