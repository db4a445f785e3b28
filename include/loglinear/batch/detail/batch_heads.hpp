// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP
#define LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP

// Every head of a batch as a sequence of its own, where its numbers lie.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/batch_checks.hpp"
#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"
#include "loglinear/sequence/detail/finite_tokens.hpp"
#include "loglinear/sequence/inputs.hpp"

namespace loglinear::detail {

/// Rows [first, first + count) of a head of an array, head numbers counted in `heads`.
struct HeadRows {
  Index batch = 0, head = 0, heads = 1, first = 0, count = 0;

  template <class Number>
  [[nodiscard]] Number* row(const HeadArray<Number>& array, Index i) const {
    return array.row(batch, first + i, head / (heads / array.heads()));
  }
};

/// Whether Eigen can view these rows where they lie.
template <class Number>
[[nodiscard]] bool has_rows(const HeadArray<Number>& array) {
  return (array.columns() <= 1 || array.strides()[3] == 1) &&
         (array.rows() <= 1 || array.strides()[1] > 0);
}

/// The rows as a sequence has them, `each` of them side by side; a view where that can be.
template <class Scalar>
[[nodiscard]] SequenceArray<Scalar> sequence_rows(const HeadArray<const Scalar>& array,
                                                  const HeadRows& at, Index each = 1) {
  if (array.is_absent() || at.count == 0) return {};
  const Index columns = array.columns(), stride = array.strides()[1];
  if (each == 1 && has_rows(array)) {
    return RowsView<Scalar>(at.row(array, 0), at.count, columns,
                            Eigen::OuterStride<>(array.rows() > 1 ? stride : columns));
  }
  RowMajorMatrix<Scalar> copy(at.count / each, each * columns);
  for (Index i = 0, n = 0; i < at.count; ++i) {
    const Scalar* const row = at.row(array, i);
    for (Index j = 0; j < columns; ++j) copy.data()[n++] = row[j * array.strides()[3]];
  }
  return copy;
}

/// Writes the rows of a head, as a sequence has them.
template <class Scalar>
void put_rows(const RowMajorMatrix<Scalar>& from, const HeadArray<Scalar>& array,
              const HeadRows& at) {
  const Index columns = array.columns(), stride = array.strides()[3];
  for (Index i = 0; i < at.count; ++i) {
    Scalar* const row = at.row(array, i);
    const Scalar* const numbers = from.data() + i * columns;
    if (stride == 1) {
      copy(numbers, columns, row);
    } else {
      for (Index j = 0; j < columns; ++j) row[j * stride] = numbers[j];
    }
  }
}

/// Whether the views of all heads are made at once or when they are asked for.
enum class Views { at_once, on_demand };

/// All heads, those of the first sequence first.
template <class Scalar>
class BatchHeads {
 public:
  /// `in` must outlive it. \throws std::invalid_argument where arrays do not fit together
  explicit BatchHeads(const BatchInputs<Scalar>& in, Views views = Views::at_once)
      : in_(in), shape_(checked_shape(in)) {
    if (in.lambda.is_absent()) ones_.setOnes(shape_.tokens, 2);
    for (Index n = 0; views == Views::at_once && n < count(); ++n) heads_.push_back(sequence(n));
  }
  BatchHeads(const BatchHeads&) = delete;
  BatchHeads& operator=(const BatchHeads&) = delete;

  [[nodiscard]] const BatchShape& shape() const { return shape_; }
  [[nodiscard]] Index count() const { return shape_.sequences * shape_.heads; }
  [[nodiscard]] bool has_levels() const { return !in_.lambda.is_absent(); }
  [[nodiscard]] const SequenceInputs<Scalar>& operator[](Index n) const {
    return heads_[static_cast<std::size_t>(n)];
  }
  /// The same sequence, made anew.
  [[nodiscard]] SequenceInputs<Scalar> sequence(Index n) const {
    SequenceInputs<Scalar> head{};
    for_each_array(
        [&](const char*, const HeadArray<const Scalar>& array, SequenceArray<Scalar>& to) {
          if (array.is_absent()) return;
          const Index each = array.rows() / shape_.tokens;
          to = sequence_rows<Scalar>(array, rows(n, each), &array == &in_.beta ? each : 1);
        },
        in_, head);
    if (!has_levels()) head.lambda = view_of(ones_.topRows(rows(n).count));
    return head;
  }
  /// Where head number n has its rows in an array of `each` rows a token.
  [[nodiscard]] HeadRows rows(Index n, Index each = 1) const {
    const Index sequence = n / shape_.heads, head = n % shape_.heads;
    if (!shape_.is_packed) return {sequence, head, shape_.heads, 0, shape_.tokens * each};
    const auto at = static_cast<std::size_t>(sequence);
    const Index first = in_.cu_seqlens[at], end = in_.cu_seqlens[at + 1];
    return {0, head, shape_.heads, first * each, (end - first) * each};
  }
  /// Throws where a head's level weights are too few, or a number is not finite; `start(n)` and
  /// `max_levels(n)` are those of its state.
  template <class Start, class MaxLevels>
  void validate(Start start, MaxLevels max_levels) const {
    for_each(
        [&](Index n) {
          const SequenceInputs<Scalar>& in = (*this)[n];
          in.require_shapes(start(n), max_levels(n));
          const int levels = in.levels_read(start(n), in.length(), max_levels(n));
          constexpr Index piece = 1024;
          std::atomic<bool> finite{true};
          parallel_for<Scalar>((in.length() + piece - 1) / piece, thread_count(), [&](Index i) {
            const Index first = i * piece, tokens = (std::min)(piece, in.length() - first);
            if (!are_finite(in, levels, first, tokens)) finite.store(false);
          });
          if (!finite.load()) in.require_numbers(levels);
        },
        threads());
  }
  /// Whether each head does better on all threads than all heads on a thread each.
  [[nodiscard]] bool are_few_and_long() const {
    return count() < thread_count() && shape_.tokens >= 4096;
  }
  /// How many threads heads go to.
  [[nodiscard]] int threads() const { return are_few_and_long() ? 1 : thread_count(); }
  /// Calls `work(n)` for all heads, on at most `threads` threads; an error names its head.
  template <class Work>
  void for_each(Work work, int threads = thread_count()) const {
    parallel_for<Scalar>(count(), threads, [&](Index n) {
      handling<std::invalid_argument>([&] { work(n); },
                                      [&](const std::invalid_argument& error) {
                                        raise(std::invalid_argument(error.what() + name(n)));
                                      });
    });
  }

 private:
  [[nodiscard]] std::string name(Index n) const {
    return (shape_.is_packed ? " (sequence " : " (batch ") + std::to_string(n / shape_.heads) +
           ", head " + std::to_string(n % shape_.heads) + ")";
  }
  const BatchInputs<Scalar>& in_;
  BatchShape shape_;
  RowMajorMatrix<Scalar> ones_{};  // level weights of one state
  std::vector<SequenceInputs<Scalar>> heads_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP
