# `cpack` in the build directory makes libloglinear-dev_<version>_all.deb.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libloglinear-dev)
set(CPACK_PACKAGE_CONTACT "The loglinear authors")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4)")
# For loglinear/checkpoint.hpp, loglinear/torch.hpp and loglinear/mpi.hpp.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "nlohmann-json3-dev, libtorch-dev, libopenmpi-dev")
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
include(CPack)
