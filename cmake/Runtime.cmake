# The target loglinear::runtime: the library with what all layers chosen at run time need, compiled once
# for float and double instead of in each source file that calls make_attention. It is built in the
# project that links it, with that project's flags, and not at all where nothing does. The installed
# package does the same with this very file.

if(NOT TARGET loglinear_runtime)
  set(loglinear_runtime_sources "${CMAKE_CURRENT_LIST_DIR}/runtime")
  if(NOT EXISTS "${loglinear_runtime_sources}")
    set(loglinear_runtime_sources "${CMAKE_CURRENT_LIST_DIR}/../runtime")
  endif()
  add_library(loglinear_runtime STATIC EXCLUDE_FROM_ALL "${loglinear_runtime_sources}/attention_double.cpp"
                                                        "${loglinear_runtime_sources}/attention_float.cpp")
  unset(loglinear_runtime_sources)
  target_link_libraries(loglinear_runtime PUBLIC loglinear::loglinear)
  target_compile_definitions(loglinear_runtime PUBLIC LOGLINEAR_RUNTIME)
  add_library(loglinear::runtime ALIAS loglinear_runtime)
endif()
