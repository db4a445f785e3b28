// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP
#define LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP

#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/layer/detail/parameters.hpp"
#include "loglinear/layer/detail/stepper.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/random.hpp"

namespace loglinear {

/// Where a multi-head layer bounds its output by a tanh; its heads do not bound theirs.
enum class OutputBound {
  none,     ///< nowhere: `output = W_out [o_1; ..; o_H]`
  forward,  ///< in `forward` and `train_one`, not in `query_readonly`
  always,   ///< everywhere
};

/// The name of a bound in texts.
[[nodiscard]] constexpr std::string_view name_of(OutputBound bound) noexcept {
  return bound == OutputBound::none ? "none" : bound == OutputBound::forward ? "forward" : "always";
}

namespace detail {

/// The way from the reads of all heads to the output: W_out, then at most one tanh.
template <class Scalar>
class OutputProjection {
  using Rows = RowMajorMatrix<Scalar>;

 public:
  /// From reads of length `width` to outputs of length `d_model`, with weights that `random` draws.
  OutputProjection(Index width, Index d_model, OutputBound bound, const Step& step, double rate,
                   Xorshift64& random)
      : bound_(bound),
        weights_(drawn(width, d_model, random)),
        stepper_(weights_, step, rate, false) {}

  [[nodiscard]] OutputBound bound() const { return bound_; }
  [[nodiscard]] Index width() const { return weights_.d_model(); }
  [[nodiscard]] Index output_dim() const { return weights_.projected_size(); }
  [[nodiscard]] const Parameters<Scalar>& weights() const { return weights_; }
  [[nodiscard]] Parameters<Scalar>& weights() { return weights_; }
  /// The steps of W_out. They do not normalise the reads, whose scale the heads learn.
  [[nodiscard]] Stepper<Scalar>& stepper() { return stepper_; }
  [[nodiscard]] const Stepper<Scalar>& stepper() const { return stepper_; }

  /// output = W_out reads of a token, bounded where the layer says so. \throws
  /// std::invalid_argument where that is not finite
  void apply(const Vector<Scalar>& reads, Vector<Scalar>& output) const {
    apply(reads, output, bound_ != OutputBound::none);
  }
  /// The same of a token that is not written.
  void apply_readonly(const Vector<Scalar>& reads, Vector<Scalar>& output) const {
    apply(reads, output, bound_ == OutputBound::always);
  }
  /// The same, a row a token.
  [[nodiscard]] Rows apply(const Rows& reads) const {
    Rows output(reads.rows(), output_dim());
    weights_.project_rows(reads, output);
    require_finite("coefficient # of the output", output);
    if (bound_ != OutputBound::none) tanh_of(output.data(), output.size(), output.data());
    return output;
  }

  /// Turns the gradient of the output, of any number of tokens, into that of W_out times the reads.
  void pull_back_bound(const Scalar* output, Index size, Scalar* d_output) const {
    if (bound_ != OutputBound::none) tanh_pullback(output, size, d_output);
  }

 private:
  static Parameters<Scalar> drawn(Index width, Index d_model, Xorshift64& random) {
    Parameters<Scalar> weights(width);
    weights.append(projection("w_out", d_model));
    weights.draw(random);
    return weights;
  }
  void apply(const Vector<Scalar>& reads, Vector<Scalar>& output, bool bounded) const {
    weights_.project(reads, output);
    require_finite("coefficient # of the output", output);
    if (bounded) tanh_of(output.data(), output.size(), output.data());
  }

  OutputBound bound_;
  Parameters<Scalar> weights_;
  Stepper<Scalar> stepper_;
};

}  // namespace detail
}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP
