# Fails unless an object file leaves to loglinear_compiled what that compiles once: the functions are undefined
# there. A program that defines them itself would work as well, and take the compiler longer.
# Usage: cmake -DNM=nm -DOBJECT=... -P check_compiled_once.cmake
execute_process(COMMAND ${NM} -C ${OBJECT} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
set(compiled "")
foreach(function IN ITEMS make_stream< admit_token< read_token< pull_back_token< write_token< make_workspace<
                          make_training_workspace< "HeadWeights<double>::project" "Stepper<double>::take"
                          "Stepper<double>::admit" "tanh_of<" "tanh_pullback<")
  if(NOT symbols MATCHES " U [^\n]*loglinear::detail::${function}")
    string(APPEND compiled " ${function}")
  endif()
endforeach()
if(compiled)
  message(FATAL_ERROR "${OBJECT} does not take from loglinear_compiled:${compiled}")
endif()
