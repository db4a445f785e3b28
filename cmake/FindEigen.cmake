# Eigen 3.4 or 5. `find_package(Eigen3 3.4)` refuses 5.x and a version range refuses 3.4.0, so the
# version is checked afterwards. The installed package does the same with this very file.

find_package(Eigen3 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
  message(FATAL_ERROR "loglinear needs Eigen 3.4 or newer, and no Eigen3Config.cmake was found: "
                      "install Eigen (Debian: libeigen3-dev) or set Eigen3_DIR")
endif()
if(Eigen3_VERSION VERSION_LESS 3.4)
  message(FATAL_ERROR "loglinear needs Eigen 3.4 or newer; found ${Eigen3_VERSION} in ${Eigen3_DIR}")
endif()
