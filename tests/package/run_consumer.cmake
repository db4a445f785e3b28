# Builds and runs consumer/ from scratch, MODE being the way in which it gets the library.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")

set(prefix "${WORK}/prefix")
if(MODE STREQUAL "deb")
  run(${CMAKE_COMMAND} -G "${GENERATOR}" -S "${SOURCE}" -B "${WORK}/library" -DCMAKE_CXX_COMPILER=${CXX}
      -DLOGLINEAR_BUILD_TESTS=OFF -DLOGLINEAR_BUILD_EXAMPLES=OFF)
  run(${CPACK} --config "${WORK}/library/CPackConfig.cmake" -B "${WORK}/deb")
  run(dpkg-deb -x "${WORK}/deb/libloglinear-dev_${VERSION}_all.deb" "${WORK}/root")
  set(prefix "${WORK}/root/usr")
elseif(NOT MODE MATCHES "subdirectory|fetch_content")
  run(${CMAKE_COMMAND} --install "${LIBRARY_BUILD}" --prefix "${prefix}")
endif()

set(consumer "${CMAKE_CURRENT_LIST_DIR}/consumer")
if(MODE STREQUAL "pkg_config")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/share/pkgconfig")
  run(sh -c "eval $1 -std=c++20 -Wall -Wextra -Werror \"$(pkg-config --cflags loglinear)\" '\"$2/main.cpp\" \"$2/other.cpp\" -o \"$3/consumer\"'"
      sh "${CXX}" "${consumer}" "${WORK}")
  run("${WORK}/consumer")
  return()
endif()

if(MODE STREQUAL "dir")
  set(where "-Dloglinear_DIR=${prefix}/share/cmake/loglinear")
elseif(prefix)
  set(where "-DCMAKE_PREFIX_PATH=${prefix}")
endif()
# The modes compile the same files, from prefixes that differ in name alone: where the headers are the
# same, byte for byte, ccache need not compile them again.
find_program(CCACHE ccache)
set(launcher)
if(CCACHE)
  set(launcher -DCMAKE_CXX_COMPILER_LAUNCHER=${CCACHE})
endif()
run(${CMAKE_COMMAND} -G "${GENERATOR}" -S "${consumer}" -B "${WORK}/build" -DCMAKE_CXX_COMPILER=${CXX} ${launcher}
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DMODE=${MODE} "-DLOGLINEAR_SOURCE=${SOURCE}"
    -DCOMPONENTS=${COMPONENTS} "${where}")
run(${CMAKE_COMMAND} --build "${WORK}/build")
run("${WORK}/build/consumer")

if(COMPONENTS MATCHES "torch|runtime|mpi")
  return()  # these targets have definitions of their own
endif()
# The compiler was given no -march, no -O, no definition: nothing that the consumer did not ask for. A
# subproject lists the sources of loglinear::runtime and its like as well. loglinear::checkpoint has one
# definition, which says that files are read and written there.
file(READ "${WORK}/build/compile_commands.json" commands)
string(JSON count LENGTH "${commands}")
math(EXPR last "${count} - 1")
foreach(i RANGE ${last})
  string(JSON source GET "${commands}" ${i} file)
  string(JSON command GET "${commands}" ${i} command)
  if(source MATCHES "/cmake/(loglinear/)?(checkpoint|model|runtime)/")
    continue()
  endif()
  if(COMPONENTS STREQUAL "checkpoint")
    string(REPLACE " -DLOGLINEAR_CHECKPOINT " " " command "${command}")
  endif()
  string(REGEX MATCHALL " -[DOfm][^ ]*" flags "${command}")
  if(flags)
    message(FATAL_ERROR "the consumer was compiled with${flags}")
  endif()
endforeach()
