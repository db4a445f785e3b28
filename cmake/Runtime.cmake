# The target loglinear::runtime: the library with what is compiled once for float and double instead
# of in each source file that uses it: layers chosen at run time (make_attention), the streams of
# every kind of transition, the weights and their steps, the kernels, the chunkwise algorithm and the
# sequence forms. It is built in the project that links it, with that project's flags, and not at all
# where nothing does. The installed package does the same with this very file.
#
# loglinear_compiled is all of that but the layers chosen at run time, which take longest to compile.

if(NOT TARGET loglinear_runtime)
  set(loglinear_compiled_files chunks.cpp kernels.cpp learning.cpp sequence.cpp streams_double.cpp
                               streams_float.cpp)
  set(loglinear_runtime_files attention_double.cpp attention_float.cpp)
  foreach(part IN ITEMS compiled runtime)
    list(TRANSFORM loglinear_${part}_files PREPEND "${CMAKE_CURRENT_LIST_DIR}/runtime/")
    add_library(loglinear_${part} STATIC EXCLUDE_FROM_ALL ${loglinear_${part}_files})
    unset(loglinear_${part}_files)
  endforeach()
  target_link_libraries(loglinear_compiled PUBLIC loglinear::loglinear)
  target_compile_definitions(loglinear_compiled PUBLIC LOGLINEAR_COMPILED)
  target_link_libraries(loglinear_runtime PUBLIC loglinear_compiled)
  target_compile_definitions(loglinear_runtime PUBLIC LOGLINEAR_RUNTIME)
  add_library(loglinear::runtime ALIAS loglinear_runtime)
endif()
