# A port of the tree that it lies in, for `vcpkg install loglinear --overlay-ports=<tree>/cmake/vcpkg`.
# The feature `checkpoint` brings nlohmann-json, which the component of that name then finds.

get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # headers and CMake files are the same for debug

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DLOGLINEAR_BUILD_TESTS=OFF
    -DLOGLINEAR_BUILD_EXAMPLES=OFF
    -DLOGLINEAR_BUILD_BENCHMARKS=OFF
    -DLOGLINEAR_TORCH=OFF
    -DLOGLINEAR_MPI=OFF
    -DLOGLINEAR_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/loglinear)
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
