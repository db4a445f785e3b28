// SPDX-License-Identifier: MIT
// Nothing that is documented raises a floating-point exception: programs that let the processor
// trap on invalid operations, divisions by zero and overflow keep running. The flags say what would
// have trapped.
#include <cfenv>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/rules.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

/// What `work` would trap on.
template <class Work>
int raised(Work work) {
  constexpr int watched = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW;
  std::feclearexcept(FE_ALL_EXCEPT);
  work();
  return std::fetestexcept(watched);
}

template <class Scalar>
using Rows = typename SequenceInputs<Scalar>::Matrix;

template <class Scalar>
Rows<Scalar> rows(test::Random& random, Index count, Index columns) {
  Rows<Scalar> m(count, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = random.template vector<Scalar>(1)[0];
  return m;
}

/// Log decays with every kind of gate among them.
template <class Scalar>
Rows<Scalar> gates(test::Random& random, Index tokens, Index columns) {
  constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
  const Scalar kinds[] = {0,     Scalar(-0.1),  -infinity,   Scalar(-90),
                          -1000, Scalar(-1e30), Scalar(0.25)};
  Rows<Scalar> g = rows<Scalar>(random, tokens, columns);
  for (Index i = 0; i < g.size(); ++i) g.data()[i] = kinds[(i * 5 + i / 7) % 7];
  return g;
}

/// The largest number that is finite as a double too, in which magnitudes are measured.
template <class Scalar>
constexpr Scalar largest_double = sizeof(Scalar) > 8
                                      ? static_cast<Scalar>((std::numeric_limits<double>::max)())
                                      : (std::numeric_limits<Scalar>::max)();

}  // namespace

TEMPLATE_TEST_CASE("Checks of numbers raise nothing", "", float, double, long double) {
  using Limits = std::numeric_limits<TestType>;
  for (const TestType special : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(),
                                 largest_double<TestType>, Limits::denorm_min()}) {
    for (const Index size : {1, 3, 8, 17, 64, 600}) {
      CAPTURE(special, size);
      test::Vector<TestType> values = test::Vector<TestType>::Zero(size);
      for (const Index at : {Index{0}, size / 2, size - 1}) {
        values.setZero();
        values[at] = special;
        bool finite = false;
        double largest = 0;
        CHECK(raised([&] {
                finite = detail::all_finite(values);
                largest = detail::max_abs(values);
              }) == 0);
        CHECK(finite == std::isfinite(special));
        CHECK(std::isfinite(largest) == std::isfinite(special));
      }
    }
  }
}

TEST_CASE("A NaN is refused without a trap") {
  LogLinearState<float> state(4, 3, 3);
  Eigen::Vector3f v(1, 2, 3);
  v[1] = std::numeric_limits<float>::quiet_NaN();
  std::string error;
  CHECK(raised([&] { error = test::error_of([&] { state.push_leaf(v, v); }); }) == 0);
  CHECK(error == "loglinear: k[1] is nan; it must be finite");
  CHECK(raised([&] {
          error = test::error_of([&] {
            LogLinearAttention<RetNet> layer(
                {.d_model = 2,
                 .d_k = 2,
                 .d_v = 2,
                 .learning_rate = std::numeric_limits<double>::quiet_NaN()});
          });
        }) == 0);
  CHECK(test::mentions(error, {"learning_rate is nan"}));
}

TEMPLATE_TEST_CASE("The sequence form takes every log decay without a trap", "", float, double) {
  using Scalar = TestType;
  constexpr Index tokens = 37, d_k = 5, d_v = 9;
  test::Random random(5);
  const Rows<Scalar> q = rows<Scalar>(random, tokens, d_k), v = rows<Scalar>(random, tokens, d_v);
  const Rows<Scalar> k = q.colwise().reverse(), none, d_out = v.colwise().reverse();
  const Rows<Scalar> lambda = rows<Scalar>(random, tokens, 8);
  const Rows<Scalar> one = gates<Scalar>(random, tokens, 1);
  const Rows<Scalar> by_key = gates<Scalar>(random, tokens, d_k);
  const Rows<Scalar> by_value = gates<Scalar>(random, tokens, d_v);
  Rows<Scalar> beta = Rows<Scalar>::Zero(tokens, 1), u = k / 4, p = k / 4;
  for (Index t = 0; t < tokens; ++t) beta(t, 0) = Scalar(t % 3) / 2;
  for (const Rows<Scalar>* g : {&none, &one, &by_key}) {
    for (const Rows<Scalar>* g_value : {&none, &by_value}) {
      for (const int removal : {0, 1, 2}) {
        const SequenceInputs<Scalar> in{.q = q,
                                        .k = k,
                                        .v = v,
                                        .lambda = lambda,
                                        .g = *g,
                                        .g_value = *g_value,
                                        .beta = removal == 1 ? beta : none,
                                        .u = removal == 2 ? u : none,
                                        .p = removal == 2 ? p : none};
        CAPTURE(g->cols(), g_value->cols(), removal);
        LogLinearState<Scalar> state(7, d_k, d_v), other(state);
        CHECK(raised([&] { in.validate(0, 7); }) == 0);
        CHECK(raised([&] { (void)dense(in); }) == 0);
        CHECK(raised([&] { recurrent(in, state); }) == 0);
        for (const Index chunk : {1, 4, 16, 64}) {
          CAPTURE(chunk);
          const ChunkwiseOptions options{.chunk_size = chunk};
          CHECK(raised([&] { (void)chunkwise(in, options); }) == 0);
          CHECK(raised([&] { (void)chunkwise_gradient(in, d_out, options); }) == 0);
        }
        CHECK(raised([&] { chunkwise(in, other); }) == 0);
        CHECK(raised([&] { (void)chunkwise(in, other); }) == 0);
        CHECK(raised([&] { (void)chunkwise_gradient(in, other, d_out); }) == 0);
      }
    }
  }
}

TEMPLATE_TEST_CASE("Rules take small and large inputs without a trap", "",
                   (LogLinearAttention<RetNet, float>), (LogLinearAttention<GLA, float>),
                   (LogLinearAttention<Mamba2, double>), (LogLinearAttention<GatedDeltaNet, float>),
                   (LogLinearAttention<Hawk, float>), (LogLinearAttention<HGRN2, double>),
                   (LogLinearAttention<RWKV, float>), (LogLinearAttention<RWKV7, float>),
                   (LogLinearAttention<DeltaProduct<2>, float>), (LogLinearAttention<MLSTM, float>),
                   (LogLinearAttention<GLA, float, SoftplusWeights>),
                   (LogLinearAttention<GLA, double, NormalizedMixture>)) {
  using Scalar = typename TestType::Scalar;
  for (const double size : {0.0, 1e-30, 1.0, 300.0}) {
    CAPTURE(size);
    // The keys of RWKV are exp(k), which overflows where k does not.
    if (size > 1 && std::is_same_v<typename TestType::Head::Inner, RWKV>) continue;
    TestType layer({.d_model = 6, .d_k = 4, .d_v = 4});
    test::Random random(3);
    CHECK(raised([&] {
            for (int t = 0; t < 20; ++t) {
              const test::Vector<Scalar> x = random.template vector<Scalar>(6) * Scalar(size);
              layer.forward(x);
              layer.train_one(x, test::Vector<Scalar>::Ones(4));
            }
          }) == 0);
  }
}

TEMPLATE_TEST_CASE("Mixers take small and large inputs without a trap", "", LogLinearMamba2<float>,
                   LogLinearMamba2<double>, LogLinearGatedDeltaNet<float>,
                   LogLinearGatedDeltaNet<double>) {
  using Scalar = typename TestType::Scalar;
  const TestType mixer = [] {
    if constexpr (std::is_same_v<TestType, LogLinearMamba2<Scalar>>) {
      return TestType({.hidden_size = 8, .num_heads = 2, .head_dim = 8, .state_size = 4});
    } else {
      return TestType({.hidden_size = 8, .num_heads = 2, .head_dim = 4});
    }
  }();
  test::Random random(3);
  for (const double size : {0.0, 1e-20, 1.0, 1e4}) {
    CAPTURE(size);
    const Rows<Scalar> x = rows<Scalar>(random, 19, 8) * Scalar(size);
    CHECK(raised([&] { (void)mixer.forward(x); }) == 0);
    CHECK(raised([&] { (void)mixer.gradient(x, x); }) == 0);
    auto cache = mixer.make_cache();
    CHECK(raised([&] {
            for (Index t = 0; t < x.rows(); ++t) (void)mixer.step(x.row(t), cache);
          }) == 0);
  }
}
