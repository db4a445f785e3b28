# `generate` and `score` need Eigen and nlohmann-json; the model is compiled once, in
# loglinear::model.
add_library(language_model_bytes STATIC ${CMAKE_CURRENT_LIST_DIR}/byte_model.cpp)
target_include_directories(language_model_bytes PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(language_model_bytes PUBLIC loglinear_development loglinear::model
                                                  loglinear::checkpoint)
foreach(program IN ITEMS generate score)
  add_executable(language_model_${program} ${CMAKE_CURRENT_LIST_DIR}/${program}.cpp)
  set_target_properties(
    language_model_${program} PROPERTIES OUTPUT_NAME ${program} RUNTIME_OUTPUT_DIRECTORY
                                                     ${CMAKE_CURRENT_BINARY_DIR}/language_model)
  target_link_libraries(language_model_${program} PRIVATE language_model_bytes CLI11::CLI11)
endforeach()
