# The first error of every header under an older standard is a sentence.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
run(${CMAKE_COMMAND} "-DOUTPUT=${WORK}/single.hpp" -P "${SOURCE}/cmake/single_header.cmake")
file(GLOB_RECURSE headers RELATIVE "${SOURCE}/include" "${SOURCE}/include/loglinear/*.hpp")
list(FILTER headers EXCLUDE REGEX "/detail/|^loglinear/(mpi|torch)")
foreach(header IN LISTS headers ITEMS "${WORK}/single.hpp")
  file(WRITE "${WORK}/older.cpp" "#include \"${header}\"\n")
  run_failing("error: [^:]*loglinear needs C..20: compile with -std=c..20"
              ${CXX} -std=c++17 -Wfatal-errors -fsyntax-only -I "${SOURCE}/include" -isystem ${EIGEN}
              "${WORK}/older.cpp")
endforeach()
