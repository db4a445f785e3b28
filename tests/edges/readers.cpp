// SPDX-License-Identifier: MIT
// Many threads read what nobody writes; the thread sanitizer looks on in `tests/sanitize thread`.

#include <atomic>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/mode/attention.hpp"
#include "mixers_cases.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

/// Whether `read(thread)` is true in all of eight threads, again and again.
template <class Read>
bool all_read(Read read) {
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      bool all = true;
      for (int round = 0; round < 5; ++round) all = read(i) && all;
      if (all) ++right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return right == 8;
}

}  // namespace

TEMPLATE_TEST_CASE("Everything const of a layer can be called from many threads", "",
                   LogLinearAttention<GLA>, LogLinearAttention<GatedDeltaNet>,
                   LogLinearAttention<DeltaProduct<2>>, LinearAttention<Hawk>) {
  using Layer = TestType;
  Layer mine({.d_model = 5, .d_k = 8, .d_v = 9});
  test::Random random(81);
  for (int t = 0; t < 27; ++t) mine.forward(random.vector<double>(5));
  const Eigen::MatrixXd xs = random.matrix<double>(5, 8), span = random.matrix<double>(12, 5),
                        d_span = random.matrix<double>(12, 9);
  std::vector<Eigen::VectorXd> expected;
  for (Index i = 0; i < 8; ++i) expected.push_back(mine.query_readonly(xs.col(i)));
  const Layer& layer = mine;
  const auto state = layer.log_linear_state();
  const auto gradient = layer.span_gradient(span, d_span);
  const std::string file = test::saved(layer);
  const auto moment = layer.snapshot();
  CHECK(all_read([&](int i) {
    auto workspace = layer.make_workspace();
    bool same = test::same_bits(layer.query_readonly(xs.col(i), workspace),
                                expected[static_cast<std::size_t>(i)]);
    typename Layer::State out(state.max_levels(), state.d_k(), state.d_v());
    layer.log_linear_state(out);
    same = same && out == state && test::saved(layer) == file;
    same = same && layer.weight("w_key").allFinite() && layer.size() == 27;
    if (i % 2 == 0) {
      same = same && test::same_bits(layer.span_gradient(span, d_span).x, gradient.x);
    } else {
      Layer copy(layer);
      copy.forward(xs.col(i));
      copy.restore(moment);
      same = same && test::saved(copy) == file;
    }
    return same;
  }));
}

TEST_CASE("Everything const of several heads, a state and a mixer likewise") {
  using Heads = MultiHeadAttention<LogLinearAttention<GatedDeltaNet>>;
  Heads mine({.d_model = 5, .d_k = 8, .d_v = 9});
  test::Random random(82);
  LogLinearState<double> state(5, 8, 9);
  for (int t = 0; t < 27; ++t) {
    mine.forward(random.vector<double>(5));
    state.push_leaf(random.vector<double>(8), random.vector<double>(9));
  }
  const Heads& heads = mine;
  const auto& readable = state;
  const LogLinearMamba2<double> mixer(
      {.hidden_size = 6, .expand = 1, .num_heads = 2, .head_dim = 3, .state_size = 4});
  const Eigen::MatrixXd x = random.matrix<double>(9, 6);
  const auto out = mixer.forward(x);
  const Eigen::VectorXd q = random.vector<double>(8), lambda = random.vector<double>(5);
  Eigen::VectorXd read(9);
  readable.query_mixed(q, lambda, read);
  std::vector<Eigen::VectorXd> answers;
  for (Index i = 0; i < 5; ++i) answers.push_back(mine.query_readonly(x.row(i).head(5)));
  const auto chosen = make_attention<double>({.d_model = 5, .mode = LogLinear{.inner = GLA{}}});
  for (int t = 0; t < 9; ++t) chosen->forward(random.vector<double>(5));
  std::vector<Eigen::VectorXd> chosen_answers;
  for (Index i = 0; i < 5; ++i) chosen_answers.push_back(chosen->query_readonly(x.row(i).head(5)));
  const Attention<double>& readable_chosen = *chosen;
  const std::string file = test::saved(heads);
  const Eigen::VectorXd flat = heads.state();
  CHECK(all_read([&](int) {
    auto workspace = heads.make_workspace();
    auto chosen_workspace = readable_chosen.make_workspace();
    bool same = true;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const auto input = x.row(static_cast<Index>(i)).head(5);
      same = same && test::same_bits(heads.query_readonly(input, workspace), answers[i]) &&
             test::same_bits(readable_chosen.query_readonly(input, chosen_workspace),
                             chosen_answers[i]);
    }
    if (!same) return false;
    Eigen::VectorXd mine_read(9);
    readable.query_mixed(q, lambda, mine_read);
    auto cache = mixer.make_cache();
    return test::same_bits(mine_read, read) && test::saved(heads) == file &&
           test::same_bits(heads.state(), flat) &&
           test::same_bits(heads.span_gradient(x.leftCols(5), x.leftCols(5)).w_out,
                           Heads(heads).span_gradient(x.leftCols(5), x.leftCols(5)).w_out) &&
           test::same_bits(mixer.forward(x), out) && mixer.step(x.row(0), cache).allFinite() &&
           cache.size() == 1;
  }));
}
