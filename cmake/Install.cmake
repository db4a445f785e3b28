include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/loglinear)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

install(DIRECTORY include/loglinear TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")
install(TARGETS loglinear EXPORT loglinearTargets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT loglinearTargets NAMESPACE loglinear:: DESTINATION ${package_dir})
configure_package_config_file(cmake/loglinearConfig.cmake.in loglinearConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(loglinearConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/loglinearConfig.cmake
              ${PROJECT_BINARY_DIR}/loglinearConfigVersion.cmake cmake/FindEigen.cmake
              cmake/Checkpoint.cmake cmake/Model.cmake cmake/Mpi.cmake cmake/Runtime.cmake
              cmake/Torch.cmake
        DESTINATION ${package_dir})
install(DIRECTORY cmake/checkpoint cmake/model cmake/runtime DESTINATION ${package_dir})

# The way back to the prefix, so that the installed tree can be moved.
file(RELATIVE_PATH prefix_from_pkgconfig /${pkgconfig_dir} /)
configure_file(cmake/loglinear.pc.in loglinear.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/loglinear.pc DESTINATION ${pkgconfig_dir})

install(FILES LICENSE README.md CHANGELOG.md TYPE DOC)
include(cmake/Package.cmake)
