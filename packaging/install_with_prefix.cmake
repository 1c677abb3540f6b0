# Run by `cmake --install`, which alone knows the prefix: installs the files that name it. In packaging/ they say /usr/local, so that they
# can be checked as they stand there.
foreach(file IN ITEMS
    inferd.service=lib/systemd/system/inferd.service
    inferd.socket=lib/systemd/system/inferd.socket
    inferd-admin.socket=lib/systemd/system/inferd-admin.socket
    config.example.json=share/inferd/config.example.json
    README.md=share/doc/inferd/service.md)
  string(REGEX MATCH "^(.*)=(.*)$" file "${file}")
  set(source "${CMAKE_CURRENT_LIST_DIR}/${CMAKE_MATCH_1}")
  set(installed "${CMAKE_INSTALL_PREFIX}/${CMAKE_MATCH_2}")
  message(STATUS "Installing: $ENV{DESTDIR}${installed}")
  file(READ "${source}" text)
  string(REPLACE "/usr/local/" "${CMAKE_INSTALL_PREFIX}/" text "${text}")
  file(WRITE "$ENV{DESTDIR}${installed}" "${text}")
  file(CHMOD "$ENV{DESTDIR}${installed}" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES "${installed}")
endforeach()
