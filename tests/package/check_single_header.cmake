# The committed single header is the one that the folder gives now, byte for byte.
file(MAKE_DIRECTORY "${WORK}")
execute_process(COMMAND ${CMAKE_COMMAND} "-DOUTPUT=${WORK}/loglinear.hpp" -P "${SOURCE}/cmake/single_header.cmake"
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files "${WORK}/loglinear.hpp"
                        "${SOURCE}/single_include/loglinear.hpp" RESULT_VARIABLE differs)
if(differs)
  message(FATAL_ERROR "single_include/loglinear.hpp is out of date. Write it anew and commit it:\n"
                      "  cmake -P cmake/single_header.cmake")
endif()
