// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_DIFFERENCES_HPP
#define LOGLINEAR_TESTS_ORACLES_DIFFERENCES_HPP

// Derivatives by differences, what gradients are held to.

namespace loglinear::test {

/// The derivative of f at 0 by differences of fourth order: wrong by some step^4 and by the
/// rounding of f over the step.
template <class Function>
[[nodiscard]] auto derivative(double step, Function f) {
  using Value = decltype(f(step));
  return Value((8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step));
}

/// The derivative of `loss()` with respect to the number x, which it refers to.
template <class Loss>
[[nodiscard]] double derivative(double step, double& x, Loss loss) {
  const double at = x;
  const double result = derivative(step, [&](double by) {
    x = at + by;
    return static_cast<double>(loss());
  });
  x = at;
  return result;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_DIFFERENCES_HPP
