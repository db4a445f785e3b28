// SPDX-License-Identifier: MIT
#ifndef LEARNING_WORKERS_HPP
#define LEARNING_WORKERS_HPP

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace learning {

/// The processes that share one training: each computes some sequences of every batch, and all take
/// the same step. This class is one process alone.
class Workers {
 public:
  Workers() = default;
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  virtual ~Workers() = default;

  [[nodiscard]] virtual std::int64_t rank() const { return 0; }   ///< of this process
  [[nodiscard]] virtual std::int64_t count() const { return 1; }  ///< of processes
  /// Whether this one speaks and writes files.
  [[nodiscard]] bool is_first() const { return rank() == 0; }
  /// Whether there are others.
  [[nodiscard]] bool are_many() const { return count() > 1; }

  /// Every number becomes its sum over all processes, with the same bits on all of them.
  virtual void add_up(std::span<float>) const {}
  virtual void add_up(std::span<double>) const {}  ///< the same
  /// What the first has goes to all.
  virtual void broadcast(std::string&) const {}

  /// The first `of` items are shared out as evenly as can be; where those of a rank begin.
  [[nodiscard]] std::int64_t begin(std::int64_t of, std::int64_t rank) const {
    return rank * (of / count()) + (rank < of % count() ? rank : of % count());
  }
};

/// One process alone.
[[nodiscard]] inline const Workers& alone() {
  static const Workers workers;
  return workers;
}

/// The ranks of MPI, of which this process is one; MPI ends with the object. \throws
/// std::runtime_error where the program was built without MPI
[[nodiscard]] std::unique_ptr<Workers> ranks_of_mpi(int& argc, char**& argv);
/// Prints why and ends all processes that share a training with this one.
[[noreturn]] void end_all(const Workers& workers, const char* why);

}  // namespace learning

#endif  // LEARNING_WORKERS_HPP
