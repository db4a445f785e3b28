// SPDX-License-Identifier: MIT
// What a token costs in the streaming layer, beside one-state linear attention with the same rule
// and beside one Eigen matrix-vector product, all in turn in one process. Key-only rule, default
// options (32 levels, d_model = d_k = d_v = d), tokens 3584 to 4607 of a stream: 6.5 active levels
// on average.
//
// Counters (medians over the rounds): ns_per_token; active_levels; linear_ns, the rival's time;
// vs_linear, its ratio; gemv_ns, one product S^T q, S 64 x 64 float row-major, rotating over 32
// matrices, and vs_gemv, the token's time over it; vs_gemv_dot, the same over the product S q;
// vs_forward, the time of train_one over that of forward; spread, half the interquartile range of
// ns_per_token relative to its median.

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "loglinear/loglinear.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Rule = KeyOnly<GLA>;

constexpr std::uint64_t window_begin = 3584, window = 1024;
constexpr int gemv_products = 512;

enum class Call { forward, train_one };

/// The yardstick: Eigen's own products with 32 matrices of 64 x 64 floats, 512 KiB.
class Gemv {
 public:
  Gemv() : matrices_(32, Matrix::Random(64, 64)), q_(Eigen::VectorXf::Random(64)), out_(64) {}

  double transposed_ns() {
    return time([&](const Matrix& s) { out_.noalias() = s.transpose() * q_; });
  }
  double dot_ns() {
    return time([&](const Matrix& s) { out_.noalias() = s * q_; });
  }

 private:
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  template <class Product>
  double time(Product product) {
    return bench::processor_nanoseconds([&] {
             for (std::size_t i = 0; i < gemv_products; ++i) {
               product(matrices_[i % matrices_.size()]);
               benchmark::DoNotOptimize(out_.data());
               benchmark::ClobberMemory();
             }
           }) /
           gemv_products;
  }

  std::vector<Matrix> matrices_;
  Eigen::VectorXf q_, out_;
};

/// A layer at the beginning of the window, and the input that it gets in the window.
template <class Layer>
class Stream {
 public:
  using Scalar = typename Layer::Scalar;
  using Vector = detail::Vector<Scalar>;

  Stream(Eigen::Index d, Call call)
      : call_(call),
        begin_({.d_model = d, .d_k = d, .d_v = d, .learning_rate = 0.05}),
        layer_(begin_),
        target_(d) {
    std::srand(1);
    for (int i = 0; i < 64; ++i) inputs_.push_back(Vector::Random(d));
    target_ = Vector::Random(d) * Scalar(0.5);
    for (std::uint64_t t = 0; t < window_begin; ++t) begin_.forward(input(t));
  }

  /// Nanoseconds a token over the window, from the same beginning each time.
  double ns_per_token() {
    layer_ = begin_;
    return bench::processor_nanoseconds([&] {
             for (std::uint64_t t = window_begin; t < window_begin + window; ++t) {
               const Vector& o = call_ == Call::forward ? layer_.forward(input(t))
                                                        : layer_.train_one(input(t), target_);
               benchmark::DoNotOptimize(o.data());
             }
           }) /
           static_cast<double>(window);
  }

  /// Whether the layer reads what the plain state reads with the same query and weights.
  bool is_right() {
    const Vector& x = input(0);
    layer_.query_readonly(x);
    const Vector q = layer_.weight("w_query") * x;
    Vector expected(layer_.output_dim());
    layer_.log_linear_state().query_mixed(q, layer_.lambda(), expected);
    const double scale = expected.cwiseAbs().maxCoeff();
    return layer_.log_linear_state().size() == window_begin + window && scale > 0 &&
           (expected - layer_.raw_read()).cwiseAbs().maxCoeff() <=
               1e3 * scale * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  }

 private:
  [[nodiscard]] const Vector& input(std::uint64_t t) const { return inputs_[t % inputs_.size()]; }

  Call call_;
  Layer begin_, layer_;
  std::vector<Vector> inputs_;
  Vector target_;
};

template <class Scalar>
void token(benchmark::State& state, Call call) {
  const auto d = static_cast<Eigen::Index>(state.range(0));
  Stream<LogLinearAttention<Rule, Scalar>> ours(d, call);
  Stream<LogLinearAttention<Rule, Scalar>> forward(d, Call::forward);
  Stream<LinearAttention<Rule, Scalar>> linear(d, call);
  Gemv gemv;
  bench::Samples ns, linear_ns, gemv_ns, vs_linear, vs_gemv, vs_dot, vs_forward;
  double levels = 0;
  for (std::uint64_t n = window_begin; n < window_begin + window; ++n) {
    levels += active_level_count(n, 32) / static_cast<double>(window);
  }
  for (auto _ : state) {
    const double mine = ours.ns_per_token(), rival = linear.ns_per_token();
    const double product = gemv.transposed_ns(), dot = gemv.dot_ns();
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    linear_ns.add(rival);
    gemv_ns.add(product);
    vs_linear.add(mine / rival);
    vs_gemv.add(mine / product);
    vs_dot.add(mine / dot);
    if (call == Call::train_one) vs_forward.add(mine / forward.ns_per_token());
  }
  if (!ours.is_right() || !linear.is_right()) state.SkipWithError("the read is wrong");
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["active_levels"] = levels;
  state.counters["linear_ns"] = linear_ns.median();
  state.counters["vs_linear"] = vs_linear.median();
  state.counters["gemv_ns"] = gemv_ns.median();
  state.counters["vs_gemv"] = vs_gemv.median();
  state.counters["vs_gemv_dot"] = vs_dot.median();
  if (call == Call::train_one) state.counters["vs_forward"] = vs_forward.median();
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("d")->Arg(16)->Arg(64)->Arg(128)->UseManualTime()->Iterations(101)->Unit(
      benchmark::kNanosecond);
}

void token_float(benchmark::State& state, Call call) {
  token<float>(state, call);
}
void token_double(benchmark::State& state, Call call) {
  token<double>(state, call);
}

BENCHMARK_CAPTURE(token_float, forward, Call::forward)->Apply(sizes);
BENCHMARK_CAPTURE(token_float, train_one, Call::train_one)->Apply(sizes);
BENCHMARK_CAPTURE(token_double, forward, Call::forward)->Apply(sizes);
BENCHMARK_CAPTURE(token_double, train_one, Call::train_one)->Apply(sizes);

}  // namespace
