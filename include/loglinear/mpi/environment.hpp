// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_ENVIRONMENT_HPP
#define LOGLINEAR_MPI_ENVIRONMENT_HPP

#include <mpi.h>

#include <exception>

#include "loglinear/mpi/detail/handles.hpp"

namespace loglinear::mpi {

/// Begins MPI and ends it, for a program that does not do so itself: one object, the first of
/// `main`. The thread that makes it is the one that calls the functions of this room; they share
/// work out to other threads, which never call MPI.
///
/// Where an exception leaves its scope, the other ranks may be waiting for this one: the job is
/// then ended, `MPI_Abort`, and not only this process.
class Environment {
 public:
  /// \throws std::runtime_error where MPI cannot begin
  Environment(int& argc, char**& argv) : exceptions_(std::uncaught_exceptions()) {
    int provided = 0;
    detail::require_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided),
                        "MPI_Init_thread");
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (std::uncaught_exceptions() > exceptions_) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
  }

 private:
  int exceptions_;
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_ENVIRONMENT_HPP
