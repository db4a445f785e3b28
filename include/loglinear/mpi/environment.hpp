// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_ENVIRONMENT_HPP
#define LOGLINEAR_MPI_ENVIRONMENT_HPP

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/mpi/detail/handles.hpp"

namespace loglinear::mpi {

/// Begins MPI and ends it, for a program that does not do so itself. Make one object, the first of
/// `main`. Only the thread that makes it may call the functions of this room; they share work out
/// to other threads, which never call MPI.
///
/// A rank that gives up by itself has to say so, since the others may be waiting for it:
///
///     const loglinear::mpi::Environment environment(argc, argv);
///     try {
///       run();
///     } catch (const std::exception& error) {
///       environment.end_job(error.what());
///     }
///
/// If an exception leaves its scope all the same, it ends the job without a message.
class Environment {
 public:
  /// \throws std::runtime_error where MPI cannot begin, or supports no threads beside the one that
  /// calls it; MPI has ended then
  Environment(int& argc, char**& argv) : exceptions_(std::uncaught_exceptions()) {
    int provided = 0;
    detail::require_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided),
                        "MPI_Init_thread");
    if (provided >= MPI_THREAD_FUNNELED) return;
    MPI_Finalize();
    detail::raise(
        std::runtime_error("loglinear: MPI_Init_thread provides MPI_THREAD_SINGLE; it must provide "
                           "MPI_THREAD_FUNNELED or a higher level"));
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (std::uncaught_exceptions() > exceptions_) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
  }

  /// Prints why, with this rank's number, and ends the processes of all ranks with status 1.
  [[noreturn]] void end_job(const char* why) const noexcept {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::fprintf(stderr, "rank %d: %s\n", rank, why);
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    std::abort();
  }

 private:
  int exceptions_;
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_ENVIRONMENT_HPP
