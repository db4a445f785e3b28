# Writes the whole library as one header:  cmake [-DOUTPUT=file] -P cmake/single_header.cmake
#
# Every header of include/loglinear follows those it includes, with its include guard, so that the
# single header and the folder can meet in one translation unit. System headers are hoisted; one
# that stands inside an #if is indented (`#  include`) and stays where it is.

cmake_minimum_required(VERSION 3.25)

get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
if(NOT OUTPUT)
  set(OUTPUT "${root}/single_include/loglinear.hpp")
endif()

set(done "")            # headers that have been taken
set(system_includes "")
set(body "")

function(take header)
  if(header IN_LIST done)
    return()
  endif()
  list(APPEND done "${header}")
  file(READ "${root}/include/${header}" text)

  string(REGEX MATCHALL "\n#include \"[^\"]+\"" own_includes "${text}")
  foreach(line IN LISTS own_includes)
    string(REGEX REPLACE "\n#include \"([^\"]+)\"" "\\1" included "${line}")
    take("${included}")
  endforeach()

  string(REGEX MATCHALL "\n#include <[^>]+>" lines "${text}")
  foreach(line IN LISTS lines)
    string(STRIP "${line}" line)
    list(APPEND system_includes "${line}")
  endforeach()

  string(REGEX REPLACE "\n#include [<\"][^\n]+" "" text "${text}")
  string(REGEX REPLACE "^// SPDX[^\n]*\n" "" text "${text}")
  string(REGEX REPLACE "\n\n\n+" "\n\n" text "${text}")
  string(APPEND body "\n// ---- ${header}\n\n${text}")
  return(PROPAGATE done system_includes body)
endfunction()

# What refuses an older standard comes before all that an older standard could stumble over.
take("loglinear/detail/base/cpp20.hpp")
set(standard "${body}")
set(body "")

file(GLOB_RECURSE headers RELATIVE "${root}/include" "${root}/include/loglinear/*.hpp")
list(FILTER headers EXCLUDE REGEX "^loglinear/(checkpoint|mpi|torch)")  # need other libraries
list(SORT headers)
foreach(header IN LISTS headers)
  take("${header}")
endforeach()

list(REMOVE_DUPLICATES system_includes)
list(SORT system_includes)
list(JOIN system_includes "\n" system_includes)

file(STRINGS "${root}/include/loglinear/version.hpp" version REGEX "LOGLINEAR_VERSION_STRING")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" version "${version}")
file(READ "${root}/LICENSE" licence)
string(STRIP "${licence}" licence)
string(REPLACE "\n" "\n// " licence "${licence}")
string(REPLACE "// \n" "//\n" licence "${licence}")

file(WRITE "${OUTPUT}" "// SPDX-License-Identifier: MIT
//
// loglinear ${version}: log-linear attention, header-only, on Eigen. One file for C++20 and Eigen 3.4 or 5.
//
// The whole library: what loglinear/loglinear.hpp includes, and the modes chosen at run time
// (loglinear/mode/attention.hpp and loglinear/mode/mode_text.hpp), which a copied file could not include.
// Generated from the folder include/loglinear by cmake/single_header.cmake: change it there.
//
// ${licence}

${standard}
${system_includes}
${body}")
