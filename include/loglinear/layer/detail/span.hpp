// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_SPAN_HPP
#define LOGLINEAR_LAYER_DETAIL_SPAN_HPP

// What a head does with a span of T tokens at once: the numbers of T single tokens, to rounding,
// computed chunk by chunk with matrix products (see chunks/chunkwise_run.hpp), in every read order;
// and backpropagation through the whole span.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/layer/detail/layer_source.hpp"
#include "loglinear/layer/span_gradient.hpp"
#include "loglinear/sequence/array.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/stream/detail/streaming.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear::detail {

inline constexpr Index span_chunk_size = 64;

/// Puts `value` back as it was at its construction, unless `keep` is called.
template <class Type>
class Rollback {
  /// Views of a head's weights and references to a head of several stay valid.
  template <class Value>
  static void put_back(Value& value, Value& before) noexcept {
    if constexpr (requires { value.put_back(before); }) {
      value.put_back(before);
    } else {
      value = std::move(before);
    }
  }
  template <class Layer>
  static void put_back(std::vector<Layer>& layers, std::vector<Layer>& before) noexcept {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i].as_head().put_back(before[i].as_head());
    }
  }

 public:
  explicit Rollback(Type& value) : value_(value), before_(value) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    if (!keeps_) put_back(value_, before_);
  }
  void keep() noexcept { keeps_ = true; }
  [[nodiscard]] const Type& before() const noexcept { return before_; }

 private:
  Type& value_;
  Type before_;
  bool keeps_ = false;
};

/// The span as it is worked on, to come after `before` tokens. \throws std::invalid_argument for
/// another width, numbers that are not finite, or more tokens than can be counted
template <class Scalar, class In>
[[nodiscard]] RowMajorMatrix<Scalar> checked_span(const Eigen::MatrixBase<In>& x, Index d_model,
                                                  std::uint64_t before) {
  static_assert(std::is_same_v<typename In::Scalar, Scalar>,
                "the span must have the layer's scalar: convert it with .cast<Scalar>()");
  require_size("x (columns)", x.cols(), d_model);
  require_finite("x", x);
  if (static_cast<std::uint64_t>(x.rows()) > UINT64_MAX - before) {
    fail("the number of tokens", x.rows(), "at most 2^64 - 1 together with those before");
  }
  return RowMajorMatrix<Scalar>(x);
}

/// Reads and writes a span. The chunkwise form takes the tokens between two moments at which the
/// stream has nothing buffered; `one_token(t)` takes the others, and all of them if the chunkwise
/// form does not know the kind of transition. Where this throws, the stream is to be put back.
template <class Preparation, class Stream, class OneToken>
void read_span(const Preparation& preparation, const typename Preparation::Read& workspace,
               Stream& stream, const RowMajorMatrix<typename Stream::Scalar>& x, ReadOrder order,
               RowMajorMatrix<typename Stream::Scalar>& reads, OneToken one_token) {
  static_assert(Stream::overflow == LastLevel::fold,
                "spans of tokens need a layer whose last level folds: LastLevel::fold; give the "
                "tokens one by one to a layer whose last level forgets or halves");
  using Scalar = typename Stream::Scalar;
  const Index length = x.rows();
  if constexpr (HasSteps<typename Preparation::Kind>) {
    const Index head = (std::min)(stream.until_flushed(), length),
                tail = (length - head) % stream.capacity(), middle = length - head - tail;
    for (Index t = 0; t < head; ++t) one_token(t);
    if (middle > 0) {
      const RowsView<Scalar> rows(x.data() + head * x.cols(), middle, x.cols(),
                                  Eigen::OuterStride<>(x.cols()));
      settle_stream(stream);
      auto& levels = stream.levels();
      LayerSource source(preparation, rows, order, workspace);
      source.read_into(reads, head);
      Hierarchy<Scalar> states = hierarchy_of(levels);
      forward_chunks<Scalar>(source, span_chunk_size, preparation.weight_count(), states, nullptr,
                             true);
      levels.replace(
          states.count(), [&](int l) -> const auto& { return states.level(l); });
    }
    for (Index t = length - tail; t < length; ++t) one_token(t);
  } else {
    for (Index t = 0; t < length; ++t) one_token(t);
  }
}

/// The gradient of x and every weight, from that of the raw reads of a span, read in the given
/// order from the state `before` it. \throws std::invalid_argument for a state or a gradient of
/// another shape, and where the gradient is not finite
template <class Preparation, class State, class Scalar, class DReads>
[[nodiscard]] SpanGradient<Scalar> pull_back_span(const Preparation& preparation,
                                                  const typename Preparation::Read& workspace,
                                                  const typename Preparation::Gradient& training,
                                                  const State& before,
                                                  const RowMajorMatrix<Scalar>& x, ReadOrder order,
                                                  const DReads& d_reads) {
  static_assert(HasSteps<typename Preparation::Kind>,
                "gradients of a span need the steps of the rule's kind of transition: give it "
                "the member visit_steps of loglinear/transitions/steps.hpp, or build it from the "
                "kinds of the library");
  const Layout& layout = preparation.layout();
  require_size("max_levels of the state before the span", before.max_levels(),
               workspace.max_levels);
  require_size("d_k of the state before the span", before.d_k(), layout.key_rows);
  require_size("d_v of the state before the span", before.d_v(), layout.d_v);
  require_size("the gradient of the reads (rows)", d_reads.rows(), x.rows());
  require_size("the gradient of the reads (columns)", d_reads.cols(), layout.d_v);
  const SequenceArray<Scalar> d_rows(d_reads);  // a copy, unless they lie row by row
  SpanGradient<Scalar> gradient{zeros<RowMajorMatrix<Scalar>>(x.rows(), x.cols()),
                                preparation.parameters().zeros()};
  if (x.rows() == 0) return gradient;
  LayerSource source(preparation, view_of(x), order, workspace);
  source.differentiate(view_of(d_rows), training, gradient);
  Hierarchy<Scalar> states = hierarchy_of(before),
                    d_states(before.max_levels(), before.d_k(), before.d_v(),
                             before.size() + static_cast<std::uint64_t>(x.rows()));
  for (int l : d_states.active()) d_states.set_zero(l);
  const Index weights = preparation.weight_count();
  ChunkwiseTape<Scalar> tape;
  forward_chunks<Scalar>(source, span_chunk_size, weights, states, &tape, false);
  pull_back_chunks<Scalar>(source, span_chunk_size, weights, tape, d_states);
  require_finite("coefficient # of the gradient of x", gradient.x);
  gradient.weights.require_finite_gradient();
  return gradient;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_SPAN_HPP
