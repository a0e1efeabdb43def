// paradox-dump-table --runtime-dir DIR: prints the live table of the gateway that lives there. The table comes from the
// custodian, so it works without a supervisor too.
#include <cstdio>
#include <cstring>
#include <iostream>

#include "supervisor/ctl/table_dump.h"
#include "supervisor/custody_keeper.h"

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--runtime-dir") != 0) {
    std::fprintf(stderr, "usage: %s --runtime-dir DIR\n", argv[0]);
    return 2;
  }
  auto inheritance = ppx::fetchInheritance(argv[2]);
  if (!inheritance) {
    std::fprintf(stderr, "%s: %s\n", argv[0], inheritance.error().text.c_str());
    return 3;
  }
  auto table = ppx::Table::map(std::move(inheritance->table));
  if (!table) {
    std::fprintf(stderr, "%s: %s\n", argv[0], table.error().text.c_str());
    return 1;
  }
  ppx::dumpTable(*table, std::cout);
  return 0;
}
