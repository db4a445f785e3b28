// SPDX-License-Identifier: MIT
// An MPI that supports no threads is refused by name: its answer is changed on its way, through the
// names that MPI has for that purpose. A program of its own, for MPI begins but once.

#include <mpi.h>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "loglinear/mpi/environment.hpp"

extern "C" int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  const int code = PMPI_Init_thread(argc, argv, required, provided);
  *provided = MPI_THREAD_SINGLE;
  return code;
}

int main(int argc, char** argv) {
  std::string message = "no refusal";
  try {
    const loglinear::mpi::Environment environment(argc, argv);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  int is_over = 0;
  MPI_Finalized(&is_over);
  const bool is_named = message.find("MPI_THREAD_SINGLE") != message.npos &&
                        message.find("MPI_THREAD_FUNNELED") != message.npos;
  if (!is_named || is_over == 0)
    std::printf("%s; MPI has%s ended\n", message.c_str(), is_over ? "" : " not");
  return is_named && is_over != 0 ? 0 : 1;
}
