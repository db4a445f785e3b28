// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_HANDLES_HPP
#define LOGLINEAR_MPI_DETAIL_HANDLES_HPP

// What MPI hands out and wants back, as objects that give it back.

#include <mpi.h>

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/error.hpp"

namespace loglinear::detail {

/// Throws where a call of MPI has failed. MPI itself ends the program then, with a message of its
/// own, unless the caller has told it to return errors.
inline void require_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  raise(std::runtime_error(std::string("loglinear: ") + call +
                           " has failed: " + std::string(text, text + length)));
}

/// A count as MPI takes it. \throws std::invalid_argument beyond the range of int
template <class Number>
[[nodiscard]] int int_of(const char* what, Number count) {
  constexpr int most = (std::numeric_limits<int>::max)();
  if (static_cast<unsigned long long>(count) > static_cast<unsigned long long>(most)) {
    fail(what, static_cast<unsigned long long>(count), "at most ", most);
  }
  return static_cast<int>(count);
}

/// A block of bytes as one element, which MPI neither cuts nor looks into.
class BlockType {
 public:
  explicit BlockType(std::size_t bytes) {
    require_mpi(MPI_Type_contiguous(int_of("the bytes of one element of a message", bytes),
                                    MPI_BYTE, &type_),
                "MPI_Type_contiguous");
    require_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  BlockType(const BlockType&) = delete;
  BlockType& operator=(const BlockType&) = delete;
  ~BlockType() { MPI_Type_free(&type_); }

  [[nodiscard]] MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

/// A merge of two elements whose order matters: `later <- earlier, then later`.
class OrderedOperation {
 public:
  explicit OrderedOperation(MPI_User_function* merge) {
    require_mpi(MPI_Op_create(merge, 0, &operation_), "MPI_Op_create");
  }
  OrderedOperation(const OrderedOperation&) = delete;
  OrderedOperation& operator=(const OrderedOperation&) = delete;
  ~OrderedOperation() { MPI_Op_free(&operation_); }

  [[nodiscard]] MPI_Op get() const { return operation_; }

 private:
  MPI_Op operation_ = MPI_OP_NULL;
};

/// Messages on their way, with their memory; the destructor waits until they are sent.
class Sendings {
 public:
  Sendings() = default;
  Sendings(const Sendings&) = delete;
  Sendings& operator=(const Sendings&) = delete;
  ~Sendings() {
    MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
  }

  /// Makes room for `count` messages, so that `send` allocates nothing.
  void reserve(std::size_t count) {
    messages_.reserve(count);
    requests_.reserve(count);
  }
  /// Sends the message, which must not be larger than an int says.
  void send(std::vector<std::byte> message, int to, int tag, MPI_Comm comm) {
    messages_.push_back(std::move(message));
    requests_.push_back(MPI_REQUEST_NULL);
    require_mpi(MPI_Isend(messages_.back().data(),
                          int_of("the bytes of a message", messages_.back().size()), MPI_BYTE, to,
                          tag, comm, &requests_.back()),
                "MPI_Isend");
  }

 private:
  std::vector<std::vector<std::byte>> messages_{};
  std::vector<MPI_Request> requests_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_HANDLES_HPP
