# Runs at installation: the units, the user and the default configuration. In the tree they name the places of an
# installation in /usr; here they get those of the prefix.
#   in: source, units, workers, bin, libexec, CMAKE_INSTALL_PREFIX
if(CMAKE_INSTALL_PREFIX MATCHES "^/usr/?$")
  set(etc /etc/paradoxplex)
else()
  set(etc ${CMAKE_INSTALL_PREFIX}/etc/paradoxplex)
endif()

foreach(unit IN LISTS units)
  file(READ ${source}/systemd/${unit} text)
  foreach(worker IN LISTS workers)
    string(REGEX REPLACE "/usr/(bin|libexec/paradoxplex)/${worker}" "${libexec}/${worker}" text "${text}")
  endforeach()
  string(REPLACE "/usr/bin/paradox" "${bin}/paradox" text "${text}")
  string(REPLACE "/etc/paradoxplex" "${etc}" text "${text}")
  set(target ${CMAKE_INSTALL_PREFIX}/lib/systemd/system/${unit})
  message(STATUS "Installing: $ENV{DESTDIR}${target}")
  file(WRITE "$ENV{DESTDIR}${target}" "${text}")
  file(CHMOD "$ENV{DESTDIR}${target}" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()

file(GLOB sysusers ${source}/systemd/sysusers.d/*.conf)
file(INSTALL ${sysusers} DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/sysusers.d)
file(GLOB tmpfiles ${source}/systemd/tmpfiles.d/*.conf)
if(tmpfiles)
  file(INSTALL ${tmpfiles} DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/tmpfiles.d)
endif()

# What an operator has edited stays.
if(EXISTS "$ENV{DESTDIR}${etc}/paradox.toml")
  message(STATUS "Left as it is: $ENV{DESTDIR}${etc}/paradox.toml")
else()
  file(INSTALL ${source}/packaging/paradox.toml DESTINATION ${etc})
endif()
