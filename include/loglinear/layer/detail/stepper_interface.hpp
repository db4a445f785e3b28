// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_STEPPER_INTERFACE_HPP
#define LOGLINEAR_LAYER_DETAIL_STEPPER_INTERFACE_HPP

// The class `Stepper`. Include stepper.hpp, which defines the members.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/layer/detail/adam_kernel.hpp"
#include "loglinear/layer/detail/input_scales.hpp"
#include "loglinear/layer/detail/parameters_interface.hpp"
#include "loglinear/layer/step.hpp"

namespace loglinear::detail {

/// Steps the weights of one head, or the W_out of several, by a `Step`, and keeps what that
/// remembers. A training step first looks at its input, then is admitted, then taken: only the last
/// changes anything, and it does not throw.
template <class Scalar>
class Stepper {
 public:
  /// \param follows  whether the rule `normalized` divides drawn weights and steps by the scales
  /// of the inputs
  Stepper(const Parameters<Scalar>& parameters, const Step& step, double rate, bool follows);

  [[nodiscard]] const Step& step() const { return step_; }
  [[nodiscard]] double rate() const { return rate_; }
  void set_rate(double rate) {
    if (!is_finite(rate) || rate < 0) fail("learning_rate", rate, "finite and at least 0");
    rate_ = rate;
  }
  /// Weights are drawn anew: forgets everything.
  void reset();
  /// A weight has been set: none follows the inputs any more.
  void settle() { scales_.settle(); }

  /// \name A token
  /// \{

  /// Looks at the input of a token to learn from. If the step is going to rescale the weights, x
  /// becomes the input with which the present weights give what the rescaled ones give with the old
  /// x.
  void look(Vector<Scalar>& x) {
    if (is_plain()) return;
    if (stays()) return scales_.see(x);
    scales_.look(x);
  }
  /// Looks at an input whose projections have been made already: no weight is rescaled.
  void see(const Vector<Scalar>& x) {
    if (!is_plain()) scales_.see(x);
  }

  /// Throws unless the step leaves every weight finite, for the gradient d_raw x^T and d_free.
  void admit(Parameters<Scalar>& parameters, const Vector<Scalar>& d_raw, const Vector<Scalar>& x,
             const Vector<Scalar>& d_free);
  /// The step; d_raw is scaled on the way.
  void take(Parameters<Scalar>& parameters, Vector<Scalar>& d_raw, const Vector<Scalar>& x,
            const Vector<Scalar>& d_free);
  /// \}

  /// \name A span of tokens
  /// \{

  /// Looks at the inputs of a span to learn from, and rescales the weights at once.
  void look_at_rows(Parameters<Scalar>& parameters, const RowMajorMatrix<Scalar>& x);
  /// The step. Throws for the gradient of other arrays, or where a weight would not be finite;
  /// nothing is changed then.
  void take(Parameters<Scalar>& parameters, const Parameters<Scalar>& gradient);
  /// \}

  /// Becomes another one, in this scalar. \throws std::invalid_argument where a number is out of
  /// its range; nothing is changed then
  template <class Other>
  void assign(const Stepper<Other>& other) {
    Stepper next(*this);
    next.scales_.assign(other.scales_);
    next.mean_ = other.mean_.template cast<Scalar>();
    next.square_ = other.square_.template cast<Scalar>();
    next.free_mean_ = other.free_mean_.template cast<Scalar>();
    next.free_square_ = other.free_square_.template cast<Scalar>();
    next.count_ = other.count_;
    next.require_legal();
    *this = std::move(next);
  }

  /// For checkpoints; plain gradient descent has nothing to store.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if (self.is_plain()) return;
    part("step.count", self.count_);
    if (self.has_mean()) part("step.mean", self.mean_);
    part("step.square", self.square_);
    if (self.has_mean()) part("step.free_mean", self.free_mean_);
    part("step.free_square", self.free_square_);
    part("step.inputs", self.scales_);
    if constexpr (is_written<Self>) self.require_legal();
  }

 private:
  template <class>
  friend class Stepper;

  [[nodiscard]] bool is_plain() const { return step_.rule == StepRule::sgd; }
  /// Whether the rate is 0: weights, and what their steps remember, stay.
  [[nodiscard]] bool stays() const { return is_exactly(rate_, 0.0); }
  [[nodiscard]] bool has_mean() const { return step_.rule == StepRule::adam; }
  /// The decay of the mean; 0 where there is none.
  [[nodiscard]] double beta1() const { return has_mean() ? step_.beta1 : 0; }

  /// Throws for numbers that no step leaves behind, and from which the next one would make NaN.
  void require_legal() const;
  static void require_finite_gradient(const Vector<Scalar>& d_raw, const Vector<Scalar>& d_free) {
    require_finite("the gradient", d_raw);
    require_finite("the gradient", d_free);
  }
  void shorten(double norm) {
    if (norm > step_.clip) shortened_ = step_.clip / norm;
  }
  /// An upper bound of |m'| / sqrt(v'), by the inequality of Cauchy and Schwarz.
  [[nodiscard]] double reach() const {
    const double b1 = beta1(), b2 = step_.beta2;
    const double sums = b1 > 0 ? 1 / (1 - b1 * b1 / b2) : 1;
    return 1 + std::sqrt(sums / (1 - b2)) * (std::max)(1 - b1, std::sqrt(1 - b2));
  }
  /// What v is multiplied by, after `count` steps, to be the mean of the squares.
  [[nodiscard]] double correction(std::uint64_t count) const {
    return 1 / (1 - std::pow(step_.beta2, static_cast<double>(count)));
  }
  /// \param largest  bounds the gradient, in the units of the rule
  void admit_adaptive(Parameters<Scalar>& parameters, double largest);
  /// The numbers of the step that is about to be taken.
  void begin_step();
  /// Steps some weights, whose means and squares begin at `first`.
  template <class Numbers>
  void update(const Scalar& factor, const Scalar* d, Index size, Index first, Numbers& mean,
              Numbers& square, Scalar* weights) {
    adam_update(adam_, factor, d, size, has_mean() ? mean.data() + first : nullptr,
                square.data() + first, weights);
  }
  void step_free(Parameters<Scalar>& parameters, const Vector<Scalar>& d_free) {
    adam_.size = size_;
    update(factor_, d_free.data(), d_free.size(), 0, free_mean_, free_square_,
           parameters.free_data());
  }

  /// Steps are counted up to this number. Long before that nothing depends on the count any more.
  static constexpr std::uint64_t most_steps = std::uint64_t{1} << 53;

  Step step_;
  double rate_ = 0, shortened_ = 1;
  std::uint64_t count_ = 0;  // steps
  InputScales<Scalar> scales_;
  Matrix<Scalar> mean_{}, square_{};            // m and v of the projections
  Vector<Scalar> free_mean_{}, free_square_{};  // of the free vectors
  AdamNumbers<Scalar> adam_{};                  // of the step in hand
  Scalar size_{0}, factor_{1};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_STEPPER_INTERFACE_HPP
