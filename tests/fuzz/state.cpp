// SPDX-License-Identifier: MIT
#include "loglinear/stream/log_linear_state.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "operations.hpp"
#include "oracles/dense_transition.hpp"
#include "oracles/leaf_list.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using test::row_major;

/// One state and the list of leaves that says what it should be.
template <class State>
class Pair {
 public:
  using Scalar = typename State::Scalar;

  Pair(test::Random& random, int max_levels, int d_k, int d_v)
      : random_(random),
        state_(max_levels, d_k, d_v),
        leaves_(max_levels, d_k, d_v),
        d_k_(d_k),
        d_v_(d_v) {}

  /// One random operation. Returns its name, for the message should the two disagree.
  const char* step(std::size_t longest) {
    const int choice = random_.below(100);
    if (leaves_.size() >= longest || choice < 1) return reset();
    if (choice < 45) return push();
    if (choice < 80) return undergo();
    if (choice < 88) return query();
    if (choice < 92) return copy_and_move();
    if (choice < 96) return convert();
    return be_refused();
  }

  std::uint64_t pushes() const { return pushes_; }

  bool agree() const {
    const auto expected = leaves_.levels();
    const auto flat = state_.flat_state();
    bool same = agreed_ && state_.size() == leaves_.size() &&
                flat.size() == static_cast<Index>(expected.size());
    const double tolerance = leaves_.tolerance(epsilon);
    for (std::size_t i = 0; same && i < expected.size(); ++i) {
      same = std::abs(static_cast<double>(flat[static_cast<Index>(i)]) - expected[i]) <= tolerance;
    }
    std::vector<bool> held(static_cast<std::size_t>(state_.max_levels()), false);
    for (std::size_t leaf = 0; leaf < leaves_.size(); ++leaf) {
      held[static_cast<std::size_t>(leaves_.level_of(leaf))] = true;
    }
    int active = 0;
    for (int level = 0; level < state_.max_levels(); ++level) {
      const bool is_held = held[static_cast<std::size_t>(level)];
      active += is_held ? 1 : 0;
      same =
          same && state_.is_active(level) == is_held && (is_held || state_.level(level).isZero(0));
    }
    return same && state_.active_level_count() == active;
  }

 private:
  static constexpr double epsilon = static_cast<double>(std::numeric_limits<Scalar>::epsilon());

  const char* reset() {
    state_.reset();
    leaves_.clear();
    return "reset";
  }

  const char* push() {
    const Index n = random_.below(4) == 0 ? 1 + random_.below(3) : 1;
    const auto k = random_.matrix<Scalar>(d_k_, n), v = random_.matrix<Scalar>(d_v_, n);
    if (n == 1) {
      const test::Vector<Scalar> key = k.col(0);
      switch (random_.below(3)) {
        case 0:
          state_.push_leaf(key, v.col(0));
          break;
        case 1:
          state_.push_leaf(key.transpose(), v);
          break;
        default:
          state_.push_leaf(Scalar(0.5) * (key + key), v.col(0).transpose());
          break;
      }
    } else {
      state_.push_leaf(k, v);
    }
    std::vector<double> leaf(static_cast<std::size_t>(d_k_ * d_v_), 0.0);
    for (Index i = 0; i < d_k_; ++i) {
      for (Index j = 0; j < d_v_; ++j) {
        for (Index c = 0; c < n; ++c) {
          leaf[static_cast<std::size_t>(i * d_v_ + j)] +=
              static_cast<double>(k(i, c)) * static_cast<double>(v(j, c));
        }
      }
    }
    leaves_.push(leaf, static_cast<double>(k.norm()) * static_cast<double>(v.norm()));
    ++pushes_;
    return "push";
  }

  template <class Kind>
  void undergo_with(const Kind& kind) {
    state_.undergo(kind);
    const auto [l, r] = test::dense(kind, d_k_, d_v_);
    leaves_.undergo(row_major<Scalar>(l), row_major<Scalar>(r));
  }

  /// Numbers in [-limit, limit] for every member, or sometimes 0.
  template <class Kind>
  Kind drawn(double limit) {
    Kind kind(d_k_, d_v_);
    test::visit_members(kind, [&](Scalar& member) {
      member = random_.below(10) == 0 ? Scalar(0) : static_cast<Scalar>(limit * random_.number());
    });
    return kind;
  }

  /// a (I - b p p^T), p of length 1 or 0, 0 <= b <= 2, as the delta rules have it.
  template <class Kind>
  Kind delta(double a) {
    Kind kind(d_k_, d_v_);
    kind.p = random_.vector<Scalar>(d_k_).normalized();
    if (random_.below(20) == 0) kind.p.setZero();
    kind.u = static_cast<Scalar>(a * random_.number(0, 2)) * kind.p;
    return kind;
  }

  // All of norm 1 at most, but for rounding.
  const char* undergo() {
    using Delta = RankOneUpdate<Identity<Scalar>>;
    using GatedDelta = RankOneUpdate<ScalarDecay<Scalar>>;
    switch (random_.below(8)) {
      case 0:
        undergo_with(Identity<Scalar>(d_k_, d_v_));
        return "identity";
      case 1:
        undergo_with(drawn<ScalarDecay<Scalar>>(1));
        return "scalar decay";
      case 2:
        undergo_with(drawn<KeyDecay<Scalar>>(1));
        return "key decay";
      case 3:
        undergo_with(drawn<ValueDecay<Scalar>>(1));
        return "value decay";
      case 4:
        undergo_with(delta<Delta>(1));
        return "delta";
      case 5: {
        auto kind = delta<GatedDelta>(0.75);
        kind.diagonal.decay = Scalar(0.75);
        undergo_with(kind);
        return "gated delta";
      }
      case 6: {  // |D| <= 1/2 and |u| |p| <= 1/2
        auto kind = drawn<RankOneUpdate<KeyDecay<Scalar>>>(0.5);
        kind.u /= Scalar(d_k_);
        undergo_with(kind);
        return "key decay and rank one";
      }
      default: {
        TransitionProduct<Delta, ValueDecay<Scalar>, Delta, KeyDecay<Scalar>> product(d_k_, d_v_);
        std::get<0>(product.factors) = delta<Delta>(1);
        std::get<1>(product.factors) = drawn<ValueDecay<Scalar>>(1);
        std::get<2>(product.factors) = delta<Delta>(1);
        std::get<3>(product.factors) = drawn<KeyDecay<Scalar>>(1);
        undergo_with(product);
        return "product";
      }
    }
  }

  const char* query() {
    const auto q = random_.vector<Scalar>(d_k_);
    const auto lambdas = random_.vector<Scalar>(state_.max_levels());
    test::Vector<Scalar> out(d_v_);
    state_.query_mixed(q, lambdas, out);
    const auto levels = leaves_.levels();
    for (Index j = 0; j < d_v_; ++j) {
      double expected = 0;
      for (Index l = 0; l < state_.max_levels(); ++l) {
        for (Index i = 0; i < d_k_; ++i) {
          expected += static_cast<double>(lambdas[l]) * static_cast<double>(q[i]) *
                      levels[static_cast<std::size_t>((l * d_k_ + i) * d_v_ + j)];
        }
      }
      // |lambda| <= 1 and |q_i| <= 1: the state's error d_k times for each level.
      agreed_ &= std::abs(static_cast<double>(out[j]) - expected) <=
                 leaves_.tolerance(epsilon) * static_cast<double>(d_k_) *
                     static_cast<double>(state_.max_levels());
    }
    return "query";
  }

  const char* copy_and_move() {
    State copy = state_;
    State moved = std::move(copy);
    agreed_ &= moved == state_;
    copy = moved;
    state_.reset();
    state_ = random_.below(2) == 0 ? copy : State(std::move(moved));
    agreed_ &= state_ == copy;
    return "copy and move";
  }

  const char* convert() {
    using Wider = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;
    const State back = state_.template cast<Wider>().template cast<Scalar>();
    agreed_ &= back == state_;
    state_ = back;
    return "cast";
  }

  const char* be_refused() {
    const State before = state_;
    auto k = random_.vector<Scalar>(d_k_);
    auto v = random_.vector<Scalar>(d_v_);
    std::string error;
    switch (random_.below(4)) {
      case 0:
        k[random_.below(static_cast<int>(d_k_))] = std::numeric_limits<Scalar>::quiet_NaN();
        error = test::error_of([&] { state_.push_leaf(k, v); });
        break;
      case 1:
        v[random_.below(static_cast<int>(d_v_))] = std::numeric_limits<Scalar>::infinity();
        error = test::error_of([&] { state_.push_leaf(k, v); });
        break;
      case 2:
        error = test::error_of([&] { state_.push_leaf(k, test::Vector<Scalar>::Ones(91)); });
        break;
      default: {
        ScalarDecay<Scalar> decay(d_k_, d_v_);
        decay.decay = -std::numeric_limits<Scalar>::infinity();
        error = test::error_of([&] { state_.undergo(decay); });
      }
    }
    agreed_ &= !error.empty() && state_ == before;
    return "refusal";
  }

  test::Random& random_;
  State state_;
  test::LeafList leaves_;
  Index d_k_, d_v_;
  bool agreed_ = true;
  std::uint64_t pushes_ = 0;
};

/// `operations` steps, over states of new random shapes every few hundred of them.
template <class State>
void fuzz_states(std::uint64_t seed, int operations, int fixed_d_k = 0, int fixed_d_v = 0,
                 int fixed_max_levels = 0) {
  constexpr int all_max_levels[] = {1, 2, 3, 5, 10};
  test::Random random(seed);
  std::uint64_t pushes = 0;
  for (int done = 0; done < operations;) {
    const int max_levels =
        fixed_max_levels > 0 ? fixed_max_levels : all_max_levels[random.below(5)];
    // Now and then far beyond the overflow of ten levels, or wider than any block of columns.
    const bool is_long = random.below(100) == 0, is_wide = random.below(50) == 0;
    const int d_k = fixed_d_k > 0 ? fixed_d_k : 1 + random.below(is_wide ? 9 : 4);
    const int d_v = fixed_d_v > 0 ? fixed_d_v : 1 + random.below(is_wide ? 90 : 4);
    const std::size_t longest = is_wide ? 12 : is_long ? 1100 : 40;
    Pair<State> pair(random, max_levels, d_k, d_v);
    const int length = std::min(operations - done, is_long ? 2500 : 300);
    for (int i = 0; i < length; ++i, ++done) {
      const char* operation = pair.step(longest);
      if (is_long && i % 64 != 0) continue;
      if (pair.agree()) continue;
      CAPTURE(seed, done, operation, max_levels, d_k, d_v);
      FAIL("the state is not what its leaves say");
    }
    pushes += pair.pushes();
  }
  CHECK(pushes > static_cast<std::uint64_t>(operations) * 4 / 10);  // it did what it says
}

}  // namespace

TEST_CASE("Random operations on states in double") {
  fuzz_states<LogLinearState<double>>(101, test::state_double_operations);
}

TEST_CASE("Random operations on states in float") {
  fuzz_states<LogLinearState<float>>(102, test::state_float_operations);
}

TEST_CASE("Random operations on states of a fixed shape") {
  fuzz_states<LogLinearState<double, 3, 2, 3>>(103, test::state_fixed_operations, 3, 2, 3);
}
