# The target loglinear::checkpoint: the library with nlohmann-json, which checkpoint.hpp needs. Absent
# where nlohmann-json is; loglinear_CHECKPOINT_PROBLEM then says so. The installed package does the
# same with this very file.

unset(loglinear_CHECKPOINT_PROBLEM)
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json QUIET GLOBAL)
endif()
if(TARGET nlohmann_json::nlohmann_json)
  if(NOT TARGET loglinear::checkpoint)
    add_library(loglinear::checkpoint INTERFACE IMPORTED GLOBAL)
    target_link_libraries(loglinear::checkpoint INTERFACE loglinear::loglinear
                                                          nlohmann_json::nlohmann_json)
  endif()
else()
  set(loglinear_CHECKPOINT_PROBLEM
      "loglinear's component checkpoint needs nlohmann-json, and no nlohmann_jsonConfig.cmake was found: install it (Debian: nlohmann-json3-dev) or set nlohmann_json_DIR")
endif()
