# Prints the size of embedded.cpp as a static program beside that of an empty one, both built as for
# firmware and without symbols. Fails where the difference is LIMIT bytes or more, if given.
#
#   cmake -DCXX=g++ -DEIGEN=/usr/include/eigen3 -DWORK=/tmp -P examples/embedded_size.cmake
get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
file(MAKE_DIRECTORY "${WORK}")
file(WRITE "${WORK}/empty.cpp" "int main() {}\n")
set(build ${CXX} -std=c++20 -Os -fno-exceptions -ffunction-sections -fdata-sections -static -s
          -Wl,--gc-sections -I ${root}/include -isystem ${EIGEN})

execute_process(COMMAND ${build} "${WORK}/empty.cpp" -o "${WORK}/empty" RESULT_VARIABLE failed
                OUTPUT_QUIET ERROR_QUIET)
if(failed)
  message("skipped: ${CXX} links no static programs here")
  return()
endif()
execute_process(COMMAND ${build} "${root}/examples/embedded.cpp" -o "${WORK}/embedded"
                COMMAND_ERROR_IS_FATAL ANY)
file(SIZE "${WORK}/empty" empty)
file(SIZE "${WORK}/embedded" embedded)
math(EXPR more "${embedded} - ${empty}")
message("a static program: embedded ${embedded} bytes, empty ${empty} bytes, ${more} bytes more")
if(DEFINED LIMIT AND NOT more LESS LIMIT)
  message(FATAL_ERROR "the difference must be less than ${LIMIT} bytes")
endif()
