# The target loglinear::torch: the library with LibTorch, which torch.hpp needs. Absent where LibTorch
# is; loglinear_TORCH_PROBLEM then says so. The installed package does the same with this very file.

unset(loglinear_TORCH_PROBLEM)
if(NOT TARGET torch)
  # QUIET leaves a dozen lines about the parts of LibTorch.
  set(loglinear_log_level "${CMAKE_MESSAGE_LOG_LEVEL}")
  set(CMAKE_MESSAGE_LOG_LEVEL NOTICE)
  find_package(Torch QUIET GLOBAL)
  set(CMAKE_MESSAGE_LOG_LEVEL "${loglinear_log_level}")
  unset(loglinear_log_level)
endif()
if(TARGET torch)
  if(NOT TARGET loglinear::torch)
    add_library(loglinear::torch INTERFACE IMPORTED GLOBAL)
    target_link_libraries(loglinear::torch INTERFACE loglinear::loglinear torch)
  endif()
else()
  set(loglinear_TORCH_PROBLEM
      "loglinear's component torch needs LibTorch, and no TorchConfig.cmake was found: install it (Debian: libtorch-dev) or set Torch_DIR")
endif()
