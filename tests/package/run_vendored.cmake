# A project with the single header, Eigen and a compiler, and nothing else; then together with the
# folder in one translation unit.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
file(COPY "${CMAKE_CURRENT_LIST_DIR}/vendored/" "${SOURCE}/single_include/loglinear.hpp"
     DESTINATION "${WORK}")
set(compile ${CXX} -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -isystem ${EIGEN})

run(${compile} -c "${WORK}/main.cpp" -o "${WORK}/main.o")
run(${compile} -c "${WORK}/other.cpp" -o "${WORK}/other.o")
run(${CXX} "${WORK}/main.o" "${WORK}/other.o" -o "${WORK}/vendored")
run("${WORK}/vendored")
run(${compile} -DWITH_FOLDER -I "${SOURCE}/include" -fsyntax-only "${WORK}/other.cpp")
