// SPDX-License-Identifier: MIT
// What overflows inside a mixer of the paper is refused: no finite number comes out that is wrong.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using test::error_of;
using test::mentions;
using test::Random;

/// A magnitude whose square overflows, and one that overflows itself when it meets weights of order
/// 1 a few times.
template <class Scalar>
std::vector<Scalar> loud() {
  if constexpr (std::is_same_v<Scalar, float>) {
    return {1e20f, 1e30f, 3e38f};
  } else {
    return {1e160, 1e200, 1e308};
  }
}

/// A refusal says what was not finite, or what would become too large.
bool is_refusal(const std::string& message) {
  return message.starts_with("loglinear: ") && mentions(message, {"it must be"}) &&
         (mentions(message, {"finite"}) || mentions(message, {"magnitude"}));
}

/// Something that overflowed in silence is off by all of its size; roundings, amplified by large
/// numbers, are not.
constexpr double gross = 0.1;

/// A mixer and the same in a scalar of far more range, in which nothing overflows.
template <class Narrow, class Wide>
struct Pair {
  Narrow narrow;
  Wide wide;

  Pair(const typename Narrow::Options& options, std::uint64_t seed)
      : narrow(options), wide(options) {
    Random random(seed);
    test::randomise(narrow, random);
    for (const std::string& name : wide.weight_names()) set(name, narrow.weight(name));
  }
  template <class Value>
  void set(const std::string& name, const Value& value) {
    narrow.set_weight(name, value);
    wide.set_weight(name, value.template cast<typename Wide::Scalar>());
  }
  /// Whether outputs are those of the wide mixer, on from a cache of its own.
  [[nodiscard]] bool is_right(const typename Narrow::Matrix& out, const typename Wide::Matrix& x,
                              typename Wide::Cache cache) const {
    const typename Wide::Matrix right = wide.forward(x, cache);
    const auto error = (out.template cast<typename Wide::Scalar>() - right).cwiseAbs().maxCoeff();
    return error <= gross * right.cwiseAbs().maxCoeff();
  }
};

template <class Gradients>
bool all_finite(const Gradients& gradients) {
  bool finite = loglinear::detail::all_finite(gradients.x);
  for (const std::string& name : gradients.weights.names()) {
    finite = finite && loglinear::detail::all_finite(gradients.weights[name]);
  }
  return finite;
}

/// Every form refuses inputs that overflow on the way, or has the right numbers; what it refuses
/// leaves the cache as it was.
template <class Narrow, class Wide>
void check_loud_inputs(const typename Narrow::Options& options) {
  using Scalar = typename Narrow::Scalar;
  using Array = typename Narrow::Matrix;
  Random random(11);
  Pair<Narrow, Wide> mixers(options, 12);
  const Narrow untouched(mixers.narrow);
  const Index width = options.hidden_size;
  const Array prompt = random.matrix<Scalar>(6, width);
  auto cache = mixers.narrow.make_cache();
  auto wide_cache = mixers.wide.make_cache();
  static_cast<void>(mixers.narrow.forward(prompt, cache));
  static_cast<void>(mixers.wide.forward(prompt.template cast<typename Wide::Scalar>(), wide_cache));
  const auto before = cache;
  int refused = 0, calls = 0;
  const auto check = [&](const Array& x, const auto& start, const auto& call) {
    Array out;
    const std::string error = error_of([&] { out = call(); });
    ++calls;
    if (error.empty()) {
      CHECK(mixers.is_right(out, x.template cast<typename Wide::Scalar>(), start));
    } else {
      ++refused;
      CHECK(is_refusal(error));
      CHECK(cache == before);
    }
    cache = before;
  };
  for (const Scalar magnitude : loud<Scalar>()) {
    for (const Index tokens : {1, 2, 19}) {
      for (const bool all : {true, false}) {  // every token, or the last alone
        CAPTURE(magnitude, tokens, all);
        Array x = random.matrix<Scalar>(tokens, width);
        const Array d_out = random.matrix<Scalar>(tokens, width);
        if (all) x *= magnitude;
        x.row(tokens - 1) = (magnitude / 2) * Array::Ones(1, width) + x.row(tokens - 1) / 2;
        const Array last = x.bottomRows(1);
        check(x, mixers.wide.make_cache(), [&] { return mixers.narrow.forward(x); });
        check(x, wide_cache, [&] { return mixers.narrow.forward(x, cache); });
        check(last, wide_cache,
              [&] { return Array(mixers.narrow.step(last.row(0), cache).transpose()); });
        for (const bool streamed : {true, false}) {
          bool finite = true;
          const std::string error = error_of([&] {
            finite = all_finite(streamed ? mixers.narrow.gradient(x, d_out, cache)
                                         : mixers.narrow.gradient(x, d_out));
          });
          CHECK(finite);
          CHECK((error.empty() || is_refusal(error)));
          CHECK(cache == before);
        }
      }
    }
  }
  CHECK(2 * refused > calls);
  for (const std::string& name : untouched.weight_names()) {
    CHECK(mixers.narrow.weight(name) == untouched.weight(name));
  }
}

/// A gradient that comes back is finite, however large the one that goes in.
template <class Mixer>
void check_loud_cotangents(const typename Mixer::Options& options) {
  using Scalar = typename Mixer::Scalar;
  using Array = typename Mixer::Matrix;
  Random random(12);
  Mixer mixer(options);
  test::randomise(mixer, random);
  const Array x = random.matrix<Scalar>(7, options.hidden_size);
  const Array d_out = Array::Constant(7, options.hidden_size, (std::numeric_limits<Scalar>::max)());
  CHECK(is_refusal(error_of([&] { (void)mixer.gradient(x, d_out); })));
}

/// One weight after the other is multiplied by ever larger factors.
template <class Narrow, class Wide>
void check_loud_weights(const typename Narrow::Options& options) {
  using Scalar = typename Narrow::Scalar;
  using Array = typename Narrow::Matrix;
  Random random(13);
  Pair<Narrow, Wide> mixers(options, 14);
  const Array x = random.matrix<Scalar>(9, options.hidden_size);
  const typename Wide::Matrix wide_x = x.template cast<typename Wide::Scalar>();
  const Array d_out = random.matrix<Scalar>(9, options.hidden_size);
  const double most = std::log10(static_cast<double>((std::numeric_limits<Scalar>::max)()));
  int refused = 0, right = 0;
  for (const std::string& name : mixers.wide.weight_names()) {
    if (name == "A_log") continue;  // the logarithm of a factor
    const typename loglinear::NamedWeights<Scalar>::Matrix old = mixers.narrow.weight(name);
    for (const double part : {0.1, 0.25, 0.45, 0.52, 0.7, 0.98}) {
      const auto factor = static_cast<Scalar>(std::pow(10.0, part * most));
      CAPTURE(name, factor);
      mixers.set(name, (factor * old).eval());
      Array out(9, options.hidden_size);
      const std::string error = error_of([&] { out = mixers.narrow.forward(x); });
      if (error.empty()) {
        ++right;
        CHECK(mixers.is_right(out, wide_x, mixers.wide.make_cache()));
      } else {
        ++refused;
        CHECK(is_refusal(error));
      }
      auto cache = mixers.narrow.make_cache();
      const std::string streamed = error_of([&] {
        for (Index t = 0; t < 9; ++t) {
          out.row(t) = mixers.narrow.step(x.row(t), cache).transpose();
        }
      });
      if (streamed.empty()) {
        CHECK(mixers.is_right(out, wide_x, mixers.wide.make_cache()));
      } else {
        CHECK(is_refusal(streamed));
      }
      bool finite = true;
      const std::string of_gradient =
          error_of([&] { finite = all_finite(mixers.narrow.gradient(x, d_out)); });
      CHECK(finite);
      CHECK((of_gradient.empty() || is_refusal(of_gradient)));
    }
    mixers.set(name, old);
  }
  CHECK(refused > 10);
  CHECK(right > 10);
}

template <template <class> class Mixer, class Cases>
void check_all(const Cases& cases) {
  for (const auto& options : cases) {
    check_loud_inputs<Mixer<float>, Mixer<double>>(options);
    check_loud_inputs<Mixer<double>, Mixer<long double>>(options);
    check_loud_cotangents<Mixer<float>>(options);
    check_loud_cotangents<Mixer<double>>(options);
    check_loud_weights<Mixer<float>, Mixer<double>>(options);
    check_loud_weights<Mixer<double>, Mixer<long double>>(options);
  }
}

}  // namespace

TEST_CASE("LogLinearMamba2 refuses what overflows inside it") {
  check_all<loglinear::LogLinearMamba2>(test::mamba2_cases());
}

TEST_CASE("LogLinearGatedDeltaNet refuses what overflows inside it") {
  check_all<loglinear::LogLinearGatedDeltaNet>(test::gated_delta_net_cases());
}

TEST_CASE("Options that are none in the mixer's scalar are refused by name") {
  using Narrow = loglinear::LogLinearMamba2<float>;
  using Wide = loglinear::LogLinearMamba2<double>;
  using Delta = loglinear::LogLinearGatedDeltaNet<float>;
  const loglinear::LogLinearMamba2Options mamba2{
      .hidden_size = 4, .num_heads = 4, .head_dim = 2, .state_size = 2};
  const loglinear::LogLinearGatedDeltaNetOptions delta{
      .hidden_size = 4, .num_heads = 2, .head_dim = 2};
  const auto check = [&](auto change, const char* name, bool in_double) {
    auto narrow = mamba2;
    auto of_delta = delta;
    change(narrow);
    change(of_delta);
    const auto says = [&](const std::string& error) {
      return mentions(error, {name, "it must be", "finite"});
    };
    CHECK(says(error_of([&] { Narrow mixer(narrow); })));
    CHECK(says(error_of([&] { Delta mixer(of_delta); })));
    CHECK(says(error_of([&] { Wide mixer(narrow); })) == in_double);
  };
  check([](auto& o) { o.norm_eps = 1e-60; }, "norm_eps", false);
  check([](auto& o) { o.norm_eps = 1e39; }, "norm_eps", false);
  check([](auto& o) { o.norm_eps = HUGE_VAL; }, "norm_eps", true);
  check([](auto& o) { o.scale = -1e39; }, "scale", false);
  check([](auto& o) { o.scale = NAN; }, "scale", true);
  check([](auto& o) { o.initializer_range = 1e39; }, "initializer_range", false);
  check([](auto& o) { o.initializer_range = 1e308; }, "initializer_range", true);
  check([](auto& o) { o.dt_max = 1e39; }, "dt_max", false);
  check([](auto& o) { o.dt_init_floor = 1e39; }, "dt_init_floor", false);
}
