# The target loglinear::checkpoint: the library with nlohmann-json, which checkpoint.hpp needs, and with
# safetensors files, compiled once. It is built in the project that links it, and not at all where
# nothing does. Absent where nlohmann-json is; loglinear_CHECKPOINT_PROBLEM then says so. The installed
# package does the same with this very file.

unset(loglinear_CHECKPOINT_PROBLEM)
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json QUIET GLOBAL)
endif()
if(TARGET nlohmann_json::nlohmann_json)
  if(NOT TARGET loglinear_checkpoint)
    add_library(loglinear_checkpoint STATIC EXCLUDE_FROM_ALL
                "${CMAKE_CURRENT_LIST_DIR}/checkpoint/safetensors.cpp")
    target_link_libraries(loglinear_checkpoint PUBLIC loglinear::loglinear nlohmann_json::nlohmann_json)
    target_compile_definitions(loglinear_checkpoint PUBLIC LOGLINEAR_CHECKPOINT)
    add_library(loglinear::checkpoint ALIAS loglinear_checkpoint)
  endif()
else()
  set(loglinear_CHECKPOINT_PROBLEM
      "loglinear's component checkpoint needs nlohmann-json, and no nlohmann_jsonConfig.cmake was found: install it (Debian: nlohmann-json3-dev) or set nlohmann_json_DIR")
endif()
