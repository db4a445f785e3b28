# What the scripts of this folder share.

# Runs a command; it must succeed.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
endfunction()

# Runs a command; it must fail and say `pattern` (line breaks and indentation count as one space).
function(run_failing pattern)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(status EQUAL 0 OR NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "should fail with \"${pattern}\": ${ARGN}\n${output}")
  endif()
endfunction()
