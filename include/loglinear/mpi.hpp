// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_HPP
#define LOGLINEAR_MPI_HPP

/// \file
/// Sequences, streams and training shared out to many processes, on one machine or many.
///
/// Needs MPI (Debian: libopenmpi-dev), CMake target `loglinear::mpi`. Neither loglinear.hpp nor the
/// single header includes it.

#include "loglinear/mpi/chunkwise.hpp"
#include "loglinear/mpi/chunkwise_gradient.hpp"
#include "loglinear/mpi/environment.hpp"
#include "loglinear/mpi/options.hpp"
#include "loglinear/mpi/ranks.hpp"
#include "loglinear/mpi/shared_pool.hpp"
#include "loglinear/mpi/stream_parts.hpp"
#include "loglinear/mpi/tape.hpp"

#endif  // LOGLINEAR_MPI_HPP
