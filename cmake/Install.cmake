# What `cmake --install` puts where. Everything that is installed is made by the target `installed`, so that nobody has
# to build the tests for it. docs/OPERATIONS.md has the places; Package.cmake makes the Debian package of them.
set(ppx_programs paradoxd paradoxctl paradox-dump-table
  paradox-example-bridge paradox-example-chat paradox-example-echo)
# Started by paradoxd alone (supervisor/program_dir.h finds them).
set(ppx_workers paradox-acceptor paradox-custodian paradox-forwarder paradox-prober)
set(ppx_libexec ${CMAKE_INSTALL_LIBEXECDIR}/paradoxplex)
set(ppx_share ${CMAKE_INSTALL_DATADIR}/doc/paradoxplex)
add_custom_target(installed DEPENDS ${ppx_programs} ${ppx_workers} manual changelog)

install(TARGETS ${ppx_programs} DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${ppx_workers} DESTINATION ${ppx_libexec})

foreach(section 1 5 8)
  install(DIRECTORY ${PPX_MANUAL_DIR}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
    FILES_MATCHING PATTERN "*.${section}.gz")
endforeach()
# One page for several programs is found under the name of each.
install(CODE "
  set(man \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}\")
  foreach(worker acceptor custodian forwarder prober)
    file(CREATE_LINK paradox-workers.8.gz \"\${man}/man8/paradox-\${worker}.8.gz\" SYMBOLIC)
  endforeach()
  foreach(example bridge chat echo)
    file(CREATE_LINK paradox-examples.1.gz \"\${man}/man1/paradox-example-\${example}.1.gz\" SYMBOLIC)
  endforeach()
")

install(FILES ${PROJECT_SOURCE_DIR}/packaging/completion/paradoxctl
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/packaging/copyright
    ${PROJECT_BINARY_DIR}/deb/changelog.gz
  DESTINATION ${ppx_share})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs DESTINATION ${ppx_share} FILES_MATCHING PATTERN "*.md")
# For people who write upstreams: the contract, the libraries for it, and workers in languages that need no build.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto ${PROJECT_SOURCE_DIR}/upstream DESTINATION ${ppx_share}
  FILES_MATCHING PATTERN "*.proto" PATTERN "*.py" PATTERN "*.h" PATTERN "*.cpp" PATTERN __pycache__ EXCLUDE)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/config ${PROJECT_SOURCE_DIR}/examples/python
    ${PROJECT_SOURCE_DIR}/examples/node
  DESTINATION ${ppx_share}/examples USE_SOURCE_PERMISSIONS
  PATTERN node_modules EXCLUDE PATTERN __pycache__ EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/examples/README.md DESTINATION ${ppx_share}/examples)

# Units, users and the configuration: their places, and the places that they name, depend on the prefix of the moment.
file(GLOB PPX_UNITS CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/systemd
  ${PROJECT_SOURCE_DIR}/systemd/*.service ${PROJECT_SOURCE_DIR}/systemd/*.socket ${PROJECT_SOURCE_DIR}/systemd/*.slice
  ${PROJECT_SOURCE_DIR}/systemd/*.target)
install(CODE "
  set(source \"${PROJECT_SOURCE_DIR}\")
  set(units ${PPX_UNITS})
  set(workers ${ppx_workers})
  set(bin \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  set(libexec \"\${CMAKE_INSTALL_PREFIX}/${ppx_libexec}\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/InstallService.cmake\")
")
