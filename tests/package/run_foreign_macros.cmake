# The folder and a fresh single header among the macros of other headers.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
run(${CMAKE_COMMAND} "-DOUTPUT=${WORK}/loglinear.hpp" -P "${SOURCE}/cmake/single_header.cmake")
set(compile ${CXX} -std=c++20 -Wall -Wextra -Werror -isystem ${EIGEN}
            "${CMAKE_CURRENT_LIST_DIR}/foreign_macros/main.cpp")

run(${compile} -I "${SOURCE}/include" -o "${WORK}/folder")
run("${WORK}/folder")
run(${compile} -DWITH_SINGLE_HEADER -I "${WORK}" -o "${WORK}/single")
run("${WORK}/single")
