// SPDX-License-Identifier: MIT
// States whose levels are stored narrow against float ones, with numbers that both hold exactly: so
// whatever reads and rewrites levels must give the same, whatever the width of a row.
#include "catch.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

// Less than a packet, whole packets, with a rest, and rows longer than any piece.
constexpr Index widths[] = {1, 2, 3, 5, 8, 13, 16, 17, 31, 33, 64, 70, 257, 300};

/// Whole numbers from -1 to 1.
Eigen::VectorXf whole(test::Random& random, Index size) {
  return random.vector<float>(size).array().round();
}

template <class Narrow, class Wide>
void check_same(const Narrow& narrow, const Wide& wide, test::Random& random) {
  REQUIRE(narrow.size() == wide.size());
  CHECK(narrow.template cast<float>() == wide);
  const Eigen::VectorXf q = whole(random, wide.d_k()), lambda = whole(random, wide.max_levels());
  Eigen::VectorXf got(wide.d_v());
  Eigen::VectorXf expected(wide.d_v());
  narrow.query_mixed(q, lambda, got);
  wide.query_mixed(q, lambda, expected);
  CHECK(got == expected);
}

template <class Stored, LastLevel overflow = LastLevel::fold>
void compare(Index d_k, Index d_v) {
  CAPTURE(d_k, d_v);
  using Dynamic = LogLinearState<float, -1, -1, -1, overflow>;
  Dynamic wide(4, d_k, d_v);
  LogLinearState<Stored, -1, -1, -1, overflow> narrow(4, d_k, d_v);
  test::Random random(7);
  KeyDecay<float> decay(d_k, d_v);
  decay.decay.setOnes();
  decay.decay[0] = 0.5F;
  RankOneUpdate<ScalarDecay<float>> update(d_k, d_v);
  update.diagonal.decay = 1;
  update.p.setZero();
  update.u.setZero();
  update.p[0] = 1;
  update.u[d_k - 1] = 1;
  for (int n = 0; n < 19; ++n) {
    const Eigen::VectorXf k = whole(random, d_k), v = whole(random, d_v);
    wide.push_leaf(k, v);
    narrow.push_leaf(k, v);
    if (n == 5) {
      wide.undergo(decay);
      narrow.undergo(decay);
      wide.undergo(update);
      narrow.undergo(update);
    }
    check_same(narrow, wide, random);
  }
  Dynamic later(4, d_k, d_v);
  later.advance_to(19);
  later.push_leaf(whole(random, d_k), whole(random, d_v));
  wide.advance_to(20);
  narrow.advance_to(20);
  check_same(narrow, wide, random);
  wide.add(later);
  narrow.add(later.template cast<Stored>());
  check_same(narrow, wide, random);
}

}  // namespace

TEMPLATE_TEST_CASE("narrow levels hold what float ones do", "", Eigen::half, Eigen::bfloat16) {
  for (const Index d_v : widths) compare<TestType>(3, d_v);
  compare<TestType>(70, 1);
  compare<TestType>(5, 9);
}

TEMPLATE_TEST_CASE("narrow levels fade as float ones do", "", Eigen::half, Eigen::bfloat16) {
  for (const Index d_v : widths) compare<TestType, LastLevel::halve>(3, d_v);
}

TEMPLATE_TEST_CASE("a read of narrow levels goes where its output lies", "", Eigen::half,
                   Eigen::bfloat16) {
  LogLinearState<TestType> state(3, 2, 20);
  test::Random random(3);
  for (int n = 0; n < 7; ++n) state.push_leaf(whole(random, 2), whole(random, 20));
  const Eigen::VectorXf q = Eigen::VectorXf::Ones(2), lambda = Eigen::VectorXf::Ones(3);
  Eigen::VectorXf expected(20);
  state.query_mixed(q, lambda, expected);
  Eigen::MatrixXf outputs = Eigen::MatrixXf::Constant(3, 20, 5);
  state.query_mixed(q, lambda, outputs.row(1));
  CHECK(outputs.row(1).transpose() == expected);
  CHECK((outputs.row(0).array() == 5).all());
  CHECK((outputs.row(2).array() == 5).all());
  state.reset();
  state.query_mixed(q, lambda, expected);
  CHECK(expected.isZero(0));
}

TEST_CASE("half levels are measured before anything is refused", "") {
  // One coefficient grows; bounds by the largest coefficient would soon say 16 times as much.
  LogLinearState<Eigen::half> state(1, 16, 16);
  Eigen::VectorXf k = Eigen::VectorXf::Zero(16), v = Eigen::VectorXf::Zero(16);
  k[3] = 1;
  v[15] = 8;
  int taken = 0;
  while (test::error_of([&] { state.push_leaf(k, v); }).empty() && taken < 100000) ++taken;
  // 65504 / 4, less the bound of one more leaf, 8 times 16.
  CHECK(taken == (16376 - 128) / 8 + 1);
  CHECK(static_cast<float>(state.level(0)(3, 15)) == 8.0F * static_cast<float>(taken));
  // What cancels never grows.
  LogLinearState<Eigen::half> cancels(1, 16, 16);
  v.setConstant(100);
  std::string error;
  for (int n = 0; n < 200 && error.empty(); ++n) {
    v = -v;
    error = test::error_of([&] { cancels.push_leaf(k, v); });
  }
  CHECK(error.empty());
}

TEST_CASE("a half state refuses when the sums of a stream grow too large", "") {
  struct Case {
    Index d;
    float size;
    int taken;
  };
  // The same key and value at every token, all coefficients of one size: T d size^2 <= 65504 / 4.
  for (const auto [d, size, taken] :
       {Case{16, 1, 1023}, Case{64, 1, 255}, Case{128, 1, 127}, Case{64, 0.125F, 16376}}) {
    CAPTURE(d, size);
    LogLinearState<Eigen::half> half(20, d, d);
    LogLinearState<Eigen::bfloat16> bfloat16(20, d, d);
    const Eigen::VectorXf k = Eigen::VectorXf::Constant(d, size);
    int tokens = 0;
    while (tokens < 20000 && test::error_of([&] { half.push_leaf(k, k); }).empty()) {
      bfloat16.push_leaf(k, k);
      ++tokens;
    }
    CHECK(tokens == taken);
    CHECK(half.size() == static_cast<std::uint64_t>(taken));
    bfloat16.push_leaf(k, k);
  }
  // Random signs: sums of T tokens are about sqrt(T), and their norms d sqrt(T) in the widest
  // level.
  LogLinearState<Eigen::half> random_signs(20, 128, 128);
  test::Random random(1);
  const auto signs = [&] { return random.vector<float>(128).array().sign().matrix().eval(); };
  int tokens = 0;
  while (tokens < 20000 &&
         test::error_of([&] { random_signs.push_leaf(signs(), signs()); }).empty()) {
    ++tokens;
  }
  CHECK(tokens > 3000);
  CHECK(tokens < 4200);
}
