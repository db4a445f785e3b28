# Eigen 3.4 or 5. `find_package(Eigen3 3.4)` refuses 5.x and a version range refuses 3.4.0, so the
# version is checked afterwards. The installed package does the same with this very file.
# Sets loglinear_EIGEN_PROBLEM to a sentence where it cannot be used.

unset(loglinear_EIGEN_PROBLEM)
find_package(Eigen3 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
  set(loglinear_EIGEN_PROBLEM
      "loglinear needs Eigen 3.4 or newer, and no Eigen3Config.cmake was found: install Eigen (Debian: libeigen3-dev) or set Eigen3_DIR")
elseif(Eigen3_VERSION VERSION_LESS 3.4)
  set(loglinear_EIGEN_PROBLEM
      "loglinear needs Eigen 3.4 or newer; found ${Eigen3_VERSION} in ${Eigen3_DIR}")
endif()
