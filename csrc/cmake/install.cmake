# SPDX-License-Identifier: MIT
# What `cmake --install` writes: headers, the library, undertow-config.cmake for find_package, undertow.pc for pkg-config.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/undertow)
install(TARGETS undertow EXPORT undertow ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${UT_INCLUDE}/undertow.h ${UT_INCLUDE}/undertow.hpp ${UT_INCLUDE}/undertow_values.hpp
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# Not CMAKE_INSTALL_DOCDIR, which inside another project is that one's. A copy of this folder alone may come without it.
install(FILES ${CMAKE_CURRENT_LIST_DIR}/../../LICENSE DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/undertow OPTIONAL)
install(EXPORT undertow NAMESPACE undertow:: FILE undertow-targets.cmake DESTINATION ${package})

# 0.x: what is new in 0.2 may break what was written for 0.1.
set(config ${CMAKE_CURRENT_BINARY_DIR}/undertow-config)
configure_file(${CMAKE_CURRENT_LIST_DIR}/undertow-config.cmake.in ${config}.cmake @ONLY)
write_basic_package_version_file(${config}-version.cmake VERSION ${UT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${config}.cmake ${config}-version.cmake DESTINATION ${package})

# The prefix is told from where the file lies, so that an installation may be moved; folders outside of it cannot be.
foreach(name LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE ${CMAKE_INSTALL_${name}})
    set(UT_PC_${name} ${CMAKE_INSTALL_${name}})
  else()
    set(UT_PC_${name} "\${prefix}/${CMAKE_INSTALL_${name}}")
  endif()
endforeach()
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(UT_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up ${up})
  set(UT_PC_PREFIX "\${pcfiledir}/${up}")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/undertow.pc.in ${CMAKE_CURRENT_BINARY_DIR}/undertow.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/undertow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
