// SPDX-License-Identifier: MIT
#include "workers.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#ifdef LEARNING_HAS_MPI
#  include <loglinear/mpi/environment.hpp>
#  include <loglinear/mpi/ranks.hpp>
#endif

namespace learning {

#ifdef LEARNING_HAS_MPI
namespace {

using loglinear::detail::int_of;
using loglinear::detail::require_mpi;

class MpiWorkers final : public Workers {
 public:
  MpiWorkers(int& argc, char**& argv) : environment_(argc, argv) {}

  [[nodiscard]] std::int64_t rank() const override { return ranks_.rank(); }
  [[nodiscard]] std::int64_t count() const override { return ranks_.count(); }
  void add_up(std::span<float> numbers) const override { add_up(numbers, MPI_FLOAT); }
  void add_up(std::span<double> numbers) const override { add_up(numbers, MPI_DOUBLE); }
  void broadcast(std::string& text) const override {
    auto size = static_cast<std::uint64_t>(text.size());
    require_mpi(MPI_Bcast(&size, 1, MPI_UINT64_T, 0, ranks_.comm()), "MPI_Bcast");
    text.resize(size);
    require_mpi(
        MPI_Bcast(text.data(), int_of("the bytes to broadcast", size), MPI_CHAR, 0, ranks_.comm()),
        "MPI_Bcast");
  }

 private:
  /// To the first and back: an MPI_Allreduce need not give all ranks the same bits.
  template <class Number>
  void add_up(std::span<Number> numbers, MPI_Datatype type) const {
    const int size = int_of("the numbers to add up", numbers.size());
    const void* const own = ranks_.is_first() ? MPI_IN_PLACE : numbers.data();
    require_mpi(MPI_Reduce(own, numbers.data(), size, type, MPI_SUM, 0, ranks_.comm()),
                "MPI_Reduce");
    require_mpi(MPI_Bcast(numbers.data(), size, type, 0, ranks_.comm()), "MPI_Bcast");
  }

  loglinear::mpi::Environment environment_;
  loglinear::mpi::Ranks ranks_{};
};

}  // namespace

std::unique_ptr<Workers> ranks_of_mpi(int& argc, char**& argv) {
  return std::make_unique<MpiWorkers>(argc, argv);
}
#else
std::unique_ptr<Workers> ranks_of_mpi(int&, char**&) {
  throw std::runtime_error("this program was built without MPI (Debian: libopenmpi-dev)");
}
#endif

void end_all(const Workers& workers, const char* why) {
  if (workers.are_many()) {
    std::fprintf(stderr, "rank %lld: %s\n", static_cast<long long>(workers.rank()), why);
#ifdef LEARNING_HAS_MPI
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
#endif
  } else {
    std::fprintf(stderr, "%s\n", why);
  }
  std::exit(1);
}

}  // namespace learning
