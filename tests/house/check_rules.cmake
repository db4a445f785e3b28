# Fails where a rule of the list (rules/list.hpp) is missing from a page that shows all rules, or a level
# weighting from the page on texts.
# Usage: cmake -DROOT=... [-DLIST=...] -P check_rules.cmake

if(NOT LIST)
  set(LIST ${ROOT}/include/loglinear/rules/list.hpp)
endif()

# The types of the list that `name` stands for.
function(read_list file name result)
  file(READ ${file} text)
  if(NOT text MATCHES "using ${name} =[ \n]*detail::TypeList<([^;]*)>;")
    message(FATAL_ERROR "${file} has no list ${name}")
  endif()
  string(REGEX REPLACE "[ /\n]" "" types "${CMAKE_MATCH_1}")
  string(REPLACE "," ";" types "${types}")
  set(${result} ${types} PARENT_SCOPE)
endfunction()

set(missing "")
read_list(${LIST} Rules rules)
foreach(page IN ITEMS README.md examples/RULES.md docs/rules.md)
  file(READ ${ROOT}/${page} text)
  foreach(rule IN LISTS rules)
    string(REGEX REPLACE "Mode$" "" rule "${rule}")
    if(NOT text MATCHES "[^A-Za-z0-9]${rule}[^A-Za-z0-9]")
      string(APPEND missing "${page} does not show ${rule}\n")
    endif()
  endforeach()
endforeach()

read_list(${ROOT}/include/loglinear/rules/level_weights.hpp LevelWeightings weightings)
file(READ ${ROOT}/include/loglinear/rules/level_weights.hpp header)
file(READ ${ROOT}/include/loglinear/rules/mlp_weights.hpp in_a_file_of_its_own)
string(APPEND header "${in_a_file_of_its_own}")
file(READ ${ROOT}/docs/rules.md text)
foreach(weighting IN LISTS weightings)
  if(NOT header MATCHES "[.]name = \"${weighting}\", *[.]text = \"([a-z_]+)\"")
    message(FATAL_ERROR "level_weights.hpp: ${weighting} has no name or no text")
  endif()
  if(NOT text MATCHES "`${CMAKE_MATCH_1}[(`]")
    string(APPEND missing "docs/rules.md does not show ${weighting}\n")
  endif()
endforeach()

if(missing)
  message(FATAL_ERROR "${missing}")
endif()
