# The target loglinear::mpi: the library with MPI, which mpi.hpp needs. Absent where MPI is;
# loglinear_MPI_PROBLEM then says so. The installed package does the same with this very file.

unset(loglinear_MPI_PROBLEM)
set(MPI_CXX_SKIP_MPICXX TRUE)  # MPI's own C++ classes, which are no longer part of it
find_package(MPI QUIET GLOBAL COMPONENTS CXX)
# The target alone says nothing: where LibTorch has looked for MPI in vain, it is there, without a header.
if(MPI_CXX_FOUND)
  if(NOT TARGET loglinear::mpi)
    add_library(loglinear::mpi INTERFACE IMPORTED GLOBAL)
    target_link_libraries(loglinear::mpi INTERFACE loglinear::loglinear MPI::MPI_CXX)
  endif()
else()
  set(loglinear_MPI_PROBLEM
      "loglinear's component mpi needs MPI, and find_package(MPI COMPONENTS CXX) found none: install it (Debian: libopenmpi-dev) or set MPI_CXX_COMPILER")
endif()
