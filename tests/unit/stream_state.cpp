// SPDX-License-Identifier: MIT
// The state as layers keep it against the straightforward form in the next wider scalar: reads,
// their pullback and the plain form, token by token, for every kind of transition, over streams
// long enough that levels of every tier are merged, and past the last level.
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/log_linear_state.hpp"

#include <cmath>
#include <span>
#include <type_traits>

#include "catch.hpp"
#include "oracles/eager_state.hpp"
#include "random_kinds.hpp"
#include "support.hpp"

namespace {

using Eigen::Index;
using namespace loglinear;
using namespace loglinear::test;

/// A decay comes after an update.
template <class Scalar>
using TwoDeltas = TransitionProduct<Delta<Scalar>, Delta<Scalar>>;

struct Shape {
  Index key_rows, d_v;
  int max_levels, tokens;
};
// One level, in packets and less; no buffer; buffers of 1, 2, 4 and 16 leaves; levels enough for
// three tiers; overflow.
constexpr Shape shapes[] = {{2, 3, 1, 20},  {17, 21, 1, 60}, {9, 75, 1, 60},  {2, 1, 12, 200},
                            {3, 2, 9, 700}, {5, 4, 4, 300},  {4, 6, 12, 900}, {17, 21, 12, 700}};

template <template <class> class KindOf, class Scalar, class Stored,
          LastLevel overflow = LastLevel::fold>
void compare_one(bool gentle, std::span<const Shape> sizes = shapes) {
  using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;
  using Kind = KindOf<Scalar>;
  using Plain = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, overflow>;
  for (const auto [key_rows, d_v, max_levels, tokens] : sizes) {
    CAPTURE(key_rows, d_v, max_levels, gentle);
    test::Random random(11);
    RandomKind fill{random, gentle};
    detail::StreamState<Kind, Stored, overflow> state(max_levels, key_rows, d_v, 1);
    detail::ReadMemory<Kind> w(state.read_shape());
    detail::PullbackMemory<Kind> t(state.read_shape());
    detail::Vector<Scalar> lambda_in, query, read(d_v), d_lambda_out(max_levels);
    test::EagerState<Wide> oracle(max_levels, key_rows, d_v,
                                  static_cast<Wide>(kept_fraction(overflow, 1)));
    using WideVector = detail::Vector<Wide>;
    WideVector expected(d_v);
    Token<Kind> token(key_rows, d_v, 1);
    KindOf<Wide> wide_kind(key_rows, d_v);
    // A token's products are of key_rows terms, and a coefficient is rewritten at most so often.
    const double rewritten = detail::is_narrow<Stored> ? 24 : 8 * std::sqrt(tokens);
    const double epsilon = test::epsilon<Stored>();
    const double rounding = rewritten * std::sqrt(static_cast<double>(key_rows)) * epsilon;
    detail::RowMajorMatrix<Scalar> apart(max_levels, d_v), d_apart(max_levels, d_v);
    double worst = 0, worst_apart = 0, worst_pullback = 0, worst_lambda = 0, worst_level = 0,
           worst_settled = 0;
    bool exact = true;
    for (int n = 0; n < tokens; ++n) {
      token.keys = random.matrix<Scalar>(key_rows, 1);
      token.values = random.matrix<Scalar>(d_v, 1);
      fill.fill(token.transition);
      lambda_in = random.vector<Scalar>(max_levels);
      query = random.vector<Scalar>(key_rows);
      const WideVector q = query.template cast<Wide>(), lambda = lambda_in.template cast<Wide>();
      double size = 1;  // of what is read
      for (const auto& level : oracle.levels()) size += static_cast<double>(level.norm());

      const detail::LevelQuery<Scalar> asked{query.data(), lambda_in.data(),
                                             ReadOrder::before_push};
      state.read(asked, w, read.data());
      const detail::Vector<Scalar> alone = read;
      state.read(asked, w, read.data(), token.transition, w.looked_up);
      exact &= test::same_bits(alone, read);
      oracle.read(q, lambda, expected);
      const double scale = size * static_cast<double>(q.norm());
      const auto error = [](const auto& got, const auto& right) {
        return static_cast<double>((got.template cast<Wide>() - right).cwiseAbs().maxCoeff());
      };
      worst = std::max(worst, error(read, expected) / scale);

      t.d_old_read = random.vector<Scalar>(d_v);
      d_lambda_out.setZero();
      state.pull_back(asked, w, {t.d_old_read.data()}, t, d_lambda_out.data());
      const WideVector d = t.d_old_read.template cast<Wide>();
      WideVector d_query = WideVector::Zero(key_rows), d_lambda = WideVector::Zero(max_levels);
      for (int l = 0; l < max_levels; ++l) {
        const auto& level = oracle.levels()[static_cast<std::size_t>(l)];
        d_query += lambda[l] * (level * d);
        d_lambda[l] = q.dot(level * d);
      }
      const double d_scale = size * static_cast<double>(d.norm());
      worst_pullback = std::max(worst_pullback, error(t.d_old_query, d_query) / d_scale);
      worst_lambda = std::max(worst_lambda, error(d_lambda_out, d_lambda) /
                                                (d_scale * static_cast<double>(q.norm() + 1)));

      // Each level for itself, and under a cotangent of its own.
      apart.setZero();
      state.read_apart(asked, w, apart.data(), &token.transition, &w.looked_up);
      d_apart = random.matrix<Scalar>(max_levels, d_v);
      state.pull_back(asked, w, {d_apart.data(), d_v}, t, d_lambda_out.data());
      d_query.setZero();
      for (int l = 0; l < max_levels; ++l) {
        const auto& level = oracle.levels()[static_cast<std::size_t>(l)];
        const WideVector of_level = lambda[l] * (level.transpose() * q);
        worst_apart = std::max(worst_apart, error(apart.row(l).transpose(), of_level) / scale);
        d_query += lambda[l] * (level * d_apart.row(l).transpose().template cast<Wide>());
      }
      worst_pullback = std::max(worst_pullback, error(t.d_old_query, d_query) /
                                                    (size * static_cast<double>(d_apart.norm())));

      state.write(token, state.admit(token), w.looked_up);
      widen(token.transition, wide_kind);
      oracle.write(wide_kind, token.keys.template cast<Wide>().eval(),
                   token.values.template cast<Wide>().eval());
      if (n % 5 != 0 && n % 16 != 15) continue;
      Plain plain(max_levels, key_rows, d_v);
      state.copy_to(detail::levels_of(plain));
      auto settled = state;
      static_cast<void>(settled.settled_levels());
      Plain settled_plain(max_levels, key_rows, d_v);
      settled.copy_to(detail::levels_of(settled_plain));
      exact &= plain.size() == static_cast<std::uint64_t>(n) + 1 && state.size() == plain.size();
      for (int l = 0; l < max_levels; ++l) {
        const auto& level = oracle.levels()[static_cast<std::size_t>(l)];
        exact &= plain.is_active(l) == oracle.is_active(static_cast<std::size_t>(l));
        const auto got = plain.level(l).template cast<Scalar>().eval();
        if (!plain.is_active(l)) exact &= got.isZero(0);
        worst_level = std::max(worst_level, error(got, level) / size);
        const auto other = settled_plain.level(l).template cast<Scalar>().eval();
        worst_settled = std::max(worst_settled, error(other, level) / size);
      }
    }
    CHECK(exact);
    CHECK(worst <= rounding);
    CHECK(worst_apart <= rounding);
    CHECK(worst_pullback <= rounding);
    CHECK(worst_lambda <= rounding);
    CHECK(worst_level <= rounding);
    CHECK(worst_settled <= rounding);
    CHECK(worst > 0);
  }
}

template <template <class> class KindOf, class Scalar, class Stored = Scalar>
void compare() {
  compare_one<KindOf, Scalar, Stored>(false);
  compare_one<KindOf, Scalar, Stored>(true);
}

}  // namespace

TEST_CASE("diagonal kinds: the state of layers is the straightforward one") {
  compare<Identity, double>();
  compare<ScalarDecay, double>();
  compare<KeyDecay, double>();
  compare<ValueDecay, double>();
  compare<ScalarDecay, float>();
  compare<KeyDecay, float>();
}

TEST_CASE("updates of rank one: the state of layers is the straightforward one") {
  compare<PlainDelta, double>();
  compare<Delta, double>();
  compare<RowDelta, double>();
  compare<Householder, double>();
  compare<TwoLeaves, double>();
  compare<TwoDeltas, double>();
  compare<Delta, float>();
}

TEST_CASE("updates of rank one of long keys: levels undergo some of them between carries") {
  constexpr Shape sizes[] = {{130, 33, 10, 300}, {66, 65, 10, 300}};  // 16 updates at a time
  compare_one<Delta, double, double>(true, sizes);
  compare_one<Delta, double, double>(false, sizes);  // states grow, so that products are bounded
  compare_one<TwoDeltas, double, double>(true, sizes);
  compare_one<RowDelta, float, float>(true, sizes);
}

TEST_CASE("any kind: the state of layers is the straightforward one") {
  compare<RowsAndColumns, double>();
  compare<DeltaAndColumns, double>();
  compare<Turn, double>();
}

TEST_CASE("narrow levels: the state of layers is the straightforward one, rounded") {
  compare<ScalarDecay, float, Eigen::bfloat16>();
  compare<KeyDecay, float, Eigen::bfloat16>();
  compare<Delta, float, Eigen::bfloat16>();
  compare<ScalarDecay, float, Eigen::half>();
}

TEST_CASE("last levels that forget or halve: the state of layers is the straightforward one") {
  compare_one<ScalarDecay, double, double, LastLevel::forget>(true);
  compare_one<ScalarDecay, double, double, LastLevel::halve>(true);
  compare_one<KeyDecay, double, double, LastLevel::halve>(true);
  compare_one<Delta, double, double, LastLevel::forget>(true);
  compare_one<TwoDeltas, double, double, LastLevel::halve>(true);
  compare_one<ScalarDecay, float, Eigen::bfloat16, LastLevel::halve>(true);
}
