# Warnings, sanitizers and the compiler cache, the same for every target of the tree.
set(PPX_SANITIZE "" CACHE STRING "address (with undefined) or thread")

add_library(ppx_options INTERFACE)
target_compile_options(ppx_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Woverloaded-virtual
  -Wimplicit-fallthrough -Werror)
target_include_directories(ppx_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(ppx_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED PPX_VERSION="${PROJECT_VERSION}")

if(PPX_SANITIZE STREQUAL "address")
  # GCC 12 sees uninitialized members in its own <regex> when it instruments it.
  add_compile_options(-Wno-maybe-uninitialized)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=address,undefined)
elseif(PPX_SANITIZE STREQUAL "thread")
  # GCC's TSan does not model atomic_thread_fence and warns of Asio's; our own code that relies on one says so.
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -g -Wno-tsan)
  add_link_options(-fsanitize=thread)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
# mold 1.10 lets RELRO begin at a .tbss that is not aligned, at the end of a page that nothing else is in, and such a program
# does not start: thread_local objects are aligned to 64 bytes.
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()
