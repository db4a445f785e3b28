// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SEQUENCE_CHECKS_HPP
#define LOGLINEAR_BENCH_SEQUENCE_CHECKS_HPP

// Whether what bench_sequence times is right, within the rounding of float.

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <utility>

#include "loglinear/sequence.hpp"
#include "sequence_data.hpp"
#include "softmax_attention.hpp"

namespace bench {

template <class A, class B>
[[nodiscard]] bool is_close(const A& ours, const B& expected, double tolerance) {
  const double scale = static_cast<double>(expected.cwiseAbs().maxCoeff());
  const double error = static_cast<double>((ours - expected).cwiseAbs().maxCoeff());
  return scale > 0 && error <= tolerance * scale;
}

/// The first reads against the definition; the last ones, which see every level, against the
/// recurrence from the state that the chunkwise form leaves before them.
[[nodiscard]] inline bool are_reads_right(const SequenceData<float>& data,
                                          const SequenceData<float>::Matrix& out, int max_levels) {
  const Index length = out.rows(), d = data.q.cols();
  const Index begin = std::min<Index>(length, 320), end = std::min<Index>(length, 48);
  const loglinear::LogLinearState<float> empty(max_levels, d, d);
  const auto in = data.inputs();
  if (!is_close(out.topRows(begin), loglinear::dense(in.slice(0, begin), empty), 1e-4)) {
    return false;
  }
  loglinear::LogLinearState<float> state = empty;
  loglinear::chunkwise(in.slice(0, length - end), state);
  const auto last = loglinear::recurrent(in.slice(length - end, end), state);
  return is_close(out.bottomRows(end), last, 1e-4);
}

/// sum(d_out * out), in double, and what that is in the small.
template <class D, class Out>
[[nodiscard]] double loss(const D& d_out, const Out& out) {
  return d_out.template cast<double>().cwiseProduct(out.template cast<double>()).sum();
}

/// Reads are linear in q, v and lambda each: sum(d_x * x) = sum(d_out * out), over all tokens.
[[nodiscard]] inline bool are_gradients_linear(
    const SequenceData<float>& data, const SequenceData<float>::Matrix& d_out,
    const loglinear::SequenceGradients<float>& gradients) {
  const auto out = loglinear::chunkwise(data.inputs());
  const double expected = loss(d_out, out);
  const double tolerance = 1e-4 * static_cast<double>(out.norm());  // d_out has coefficients near 1
  return std::abs(loss(gradients.q, data.q) - expected) <= tolerance &&
         std::abs(loss(gradients.v, data.v) - expected) <= tolerance &&
         std::abs(loss(gradients.lambda, data.lambda) - expected) <= tolerance;
}

/// Every gradient of a sequence's first tokens against central differences of the definition in
/// double, along one random direction an array.
[[nodiscard]] inline bool are_gradients_right(const SequenceData<float>& whole,
                                              const SequenceData<float>::Matrix& whole_d_out) {
  const Index length = std::min<Index>(whole.q.rows(), 144);
  const auto data = whole.head(length);
  const SequenceData<float>::Matrix d_out = whole_d_out.topRows(length);
  const auto gradients = loglinear::chunkwise_gradient(data.inputs(), d_out);
  SequenceData<double> moved = whole.head<double>(length);
  constexpr double step = 1e-4;
  const auto is_right = [&](const auto& gradient, SequenceData<double>::Matrix& array) {
    if (array.size() == 0) return true;
    const SequenceData<double>::Matrix at = array, direction = SequenceData<double>::Matrix::Random(
                                                       array.rows(), array.cols());
    array = at + step * direction;
    double difference = loss(d_out, loglinear::dense(moved.inputs()));
    array = at - step * direction;
    difference -= loss(d_out, loglinear::dense(moved.inputs()));
    array = at;
    const double scale = static_cast<double>(gradient.norm());
    return scale > 0 &&
           std::abs(loss(gradient, direction) - difference / (2 * step)) <= 1e-3 * scale;
  };
  return is_right(gradients.q, moved.q) && is_right(gradients.k, moved.k) &&
         is_right(gradients.v, moved.v) && is_right(gradients.lambda, moved.lambda) &&
         is_right(gradients.g, moved.g) && is_right(gradients.beta, moved.beta);
}

/// The rival against its definition, at a length that fills no block.
[[nodiscard]] inline bool is_softmax_right(const SequenceData<float>& data) {
  const auto part = data.head(std::min<Index>(data.q.rows(), 333));
  const SoftmaxAttention::Matrix q = 10 * part.q;  // far from equal weights
  SoftmaxAttention::Matrix out;
  SoftmaxAttention{}(q, part.k, part.v, out);
  return is_close(out, naive_softmax_attention(q, part.k, part.v), 1e-5);
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SEQUENCE_CHECKS_HPP
