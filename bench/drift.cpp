// SPDX-License-Identifier: MIT
// How far streams in float, and with levels in bfloat16 and half, are from the same stream in
// double, after 10^3, 10^4, ... tokens: the root mean square difference of 64 reads over the root
// mean square of what double reads. One head, d = 16, random keys and values of order 1.
//
// Usage: drift [tokens = 1000000]; docs/numerics.md shows what it prints.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include "loglinear/random.hpp"
#include "loglinear/stream/detail/stream_state.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
constexpr Index d = 16;
constexpr int levels = 32;

template <class Scalar>
using Delta = RankOneUpdate<ScalarDecay<Scalar>>;

struct Settings {
  const char* name;
  double decay, strength;
};

/// The same random token for every form, in its own scalar.
template <class Kind>
void fill(Token<Kind>& token, const Settings& settings, const Eigen::MatrixXd& random) {
  using Scalar = typename Kind::Scalar;
  token.keys = random.col(0).cast<Scalar>();
  token.values = random.col(1).cast<Scalar>();
  token.query = random.col(2).cast<Scalar>();
  if constexpr (std::is_same_v<Kind, ScalarDecay<Scalar>>) {
    token.transition.decay = static_cast<Scalar>(settings.decay);
  } else if constexpr (std::is_same_v<Kind, KeyDecay<Scalar>>) {
    token.transition.decay.setConstant(static_cast<Scalar>(settings.decay));
  } else {
    token.transition.diagonal.decay = static_cast<Scalar>(settings.decay);
    token.keys.col(0).normalize();
    token.transition.p = token.keys.col(0);
    token.transition.u =
        static_cast<Scalar>(settings.decay * settings.strength) * token.keys.col(0);
    token.keys *= static_cast<Scalar>(settings.strength);
  }
}

template <class Kind, class Stored>
class Form {
 public:
  using Scalar = typename Kind::Scalar;
  Form()
      : state_(levels, d, d, 1),
        token_(d, d, 1),
        lambda_(detail::Vector<Scalar>::Constant(levels, Scalar(1))),
        read_(d),
        memory_(state_.read_shape()) {}
  void step(const Settings& settings, const Eigen::MatrixXd& random) {
    fill(token_, settings, random);
    state_.read({token_.query.data(), lambda_.data(), ReadOrder::before_push}, memory_,
                read_.data(), token_.transition, memory_.looked_up);
    state_.write(token_, state_.admit(token_), memory_.looked_up);
  }
  [[nodiscard]] Eigen::VectorXd read() const { return read_.template cast<double>(); }

 private:
  detail::StreamState<Kind, Stored> state_;
  Token<Kind> token_;
  detail::Vector<Scalar> lambda_, read_;
  detail::ReadMemory<Kind> memory_;
};

template <template <class> class KindOf>
void row(const Settings& settings, std::uint64_t tokens) {
  Form<KindOf<double>, double> exact;
  Form<KindOf<float>, float> single;
  Form<KindOf<float>, Eigen::bfloat16> brain;
  Form<KindOf<float>, Eigen::half> half;
  Xorshift64 normal(1);
  Eigen::MatrixXd random(d, 3);
  double squares = 0, errors[3] = {};
  bool half_fits = true;
  std::uint64_t next = 1000;
  for (std::uint64_t t = 1; t <= tokens; ++t) {
    for (double& x : random.reshaped()) x = 0.25 * normal.normal();
    exact.step(settings, random);
    single.step(settings, random);
    brain.step(settings, random);
    if (half_fits) {
      try {
        half.step(settings, random);
      } catch (const std::exception&) {
        half_fits = false;  // half ends at 65504
      }
    }
    if (t + 64 <= next) continue;
    const Eigen::VectorXd right = exact.read();
    squares += right.squaredNorm();
    errors[0] += (single.read() - right).squaredNorm();
    errors[1] += (brain.read() - right).squaredNorm();
    errors[2] += half_fits ? (half.read() - right).squaredNorm() : NAN;
    if (t < next) continue;
    std::printf("| %s | %llu |", settings.name, static_cast<unsigned long long>(t));
    for (const double error : errors) std::printf(" %.1e |", std::sqrt(error / squares));
    std::puts("");
    std::fflush(stdout);
    squares = errors[0] = errors[1] = errors[2] = 0;
    next *= 10;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t tokens = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  std::puts("| stream | tokens | float | bfloat16 levels | half levels |\n|---|--:|--:|--:|--:|");
  row<ScalarDecay>({"no decay", 1, 0}, tokens);
  row<ScalarDecay>({"decay 0.999", 0.999, 0}, tokens);
  row<ScalarDecay>({"decay 1 - 2^-20", 1 - std::ldexp(1, -20), 0}, tokens);
  row<KeyDecay>({"decay 0.999 per key row", 0.999, 0}, tokens);
  row<Delta>({"delta rule, strength 1/2", 1, 0.5}, tokens);
  row<Delta>({"delta rule, strength 0.01", 1, 0.01}, tokens);
}
