# The target loglinear::model: the library with language models (loglinear/model.hpp) compiled once
# for float and double. It is built in the project that links it, with that project's flags, and not
# at all where nothing does. The installed package does the same with this very file.

if(NOT TARGET loglinear_model)
  add_library(loglinear_model STATIC EXCLUDE_FROM_ALL
              "${CMAKE_CURRENT_LIST_DIR}/model/model_double.cpp"
              "${CMAKE_CURRENT_LIST_DIR}/model/model_float.cpp")
  target_link_libraries(loglinear_model PUBLIC loglinear_compiled)
  target_compile_definitions(loglinear_model PUBLIC LOGLINEAR_MODEL)
  add_library(loglinear::model ALIAS loglinear_model)
endif()
