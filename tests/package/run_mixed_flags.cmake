# Two source files with different flags in one program: it says so before main(). And a flag that
# is refused.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
set(compile ${CXX} -std=c++20 -I "${SOURCE}/include" -isystem ${EIGEN} -c)
set(consumer "${CMAKE_CURRENT_LIST_DIR}/mixed_flags")

run(${compile} "${consumer}/main.cpp" -o "${WORK}/main.o")
run(${compile} "${consumer}/other.cpp" -o "${WORK}/other.o")
run(${compile} ${FLAG} "${consumer}/other.cpp" -o "${WORK}/other_flags.o")
run(${CXX} "${WORK}/main.o" "${WORK}/other.o" -o "${WORK}/same")
run("${WORK}/same")
run(${CXX} "${WORK}/main.o" "${WORK}/other_flags.o" -o "${WORK}/mixed")
run_failing("loglinear: source files of one program were compiled with different flags, some with .*, some with "
            "${WORK}/mixed")

run_failing("removes the checks for NaN; add -fno-finite-math-only" ${compile} -ffast-math
            "${consumer}/checks.cpp" -o "${WORK}/refused.o")
run(${compile} -ffast-math -fno-finite-math-only "${consumer}/checks.cpp" -o "${WORK}/taken.o")
