# loglinear_compile_as_one(target): compiles the sources that the target has so far as one file, so that
# what they share is parsed and instantiated once. CMake's UNITY_BUILD does the same, but the file that it
# writes names the folder of the tree, so that ccache would not know it again in another clone. Properties
# of single source files are lost.
function(loglinear_compile_as_one target)
  get_target_property(sources ${target} SOURCES)
  set(text "")
  foreach(source IN LISTS sources)
    if(NOT source MATCHES "^[^$]+[.]cpp$")
      message(FATAL_ERROR "${target}: ${source} is no source file that another one can include")
    endif()
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
    string(APPEND text "#include \"${source}\"\n")
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/${target}_as_one.cpp)
  file(GENERATE OUTPUT ${file} CONTENT "${text}")
  set_target_properties(${target} PROPERTIES SOURCES ${file})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()
