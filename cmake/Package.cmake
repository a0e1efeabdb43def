# `cpack -G DEB` in the build tree: one package of what Install.cmake installs, with /usr as its prefix. It takes the
# target `installed` as it is built (scripts/package builds it first).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME paradoxplex)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR ParadoxPlex)
set(CPACK_PACKAGE_CONTACT "The ParadoxPlex authors <paradoxplex@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "session gateway for TCP servers that nobody may rewrite")
set(CPACK_PACKAGE_DESCRIPTION
"Clients keep their TCP connection and their protocol; the gateway owns the
sockets and carries the bytes over gRPC to upstream workers in any language.
No restart, upgrade or crash of any one of its processes closes a client.")
# The prefix that counts is the package's, not the one that the tree was configured with.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Who makes the user, without systemd too (a container).
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers")
# By the bus paradoxd learns whether a stop is the first half of a restart.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "default-dbus-system-bus | dbus-system-bus, bash-completion")
# For the examples in Python, and for stubs in any language.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "protobuf-compiler-grpc, python3-grpcio, python3-protobuf")

# Services that say where to are enabled. Sockets are the operator's choice: with one, the address that clients come to is
# in two files.
set(enabled "")
set(optional "")
foreach(unit IN LISTS PPX_UNITS)
  file(STRINGS ${PROJECT_SOURCE_DIR}/systemd/${unit} install REGEX "^\\[Install\\]")
  if(install AND unit MATCHES "\\.socket$")
    list(APPEND optional ${unit})
  elseif(install)
    list(APPEND enabled ${unit})
  endif()
endforeach()
list(JOIN PPX_UNITS " " units)
list(JOIN enabled " " enabled)
list(JOIN optional " " optional)
set(control ${PROJECT_SOURCE_DIR}/packaging/deb/conffiles)
foreach(script postinst prerm postrm)
  configure_file(${PROJECT_SOURCE_DIR}/packaging/deb/${script}.in ${PROJECT_BINARY_DIR}/deb/${script} @ONLY
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  list(APPEND control ${PROJECT_BINARY_DIR}/deb/${script})
endforeach()
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${control})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
