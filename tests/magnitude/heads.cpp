// SPDX-License-Identifier: MIT
// No operation of several heads meets a denormal number, on whichever thread it runs, and the
// threads that the library keeps are left in the mode of the program.

#include "loglinear/layer/multi_head_attention.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "loglinear/stream/rewindable.hpp"
#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr int threads = 3;

/// Calls `work` on every thread of a team: nobody goes on before all have come.
template <class Work>
void on_each_thread(int team, Work work) {
  set_thread_count(team);
  std::atomic<int> here{0};
  const auto pass = [&](Eigen::Index) {
    here.fetch_add(1);
    while (here.load() < team) std::this_thread::yield();
    work();
  };
  REQUIRE(detail::run_on_threads(team, team, LoopBody(pass)));
}

/// Calls what may refuse a token.
template <class Operation>
void attempt(Operation operation) {
  try {
    operation();
  } catch (const std::invalid_argument&) {
  }
}

/// Whether any thread of the team met a denormal number in `operation`.
template <class Operation>
void watch_team(DenormalWatch& watch, int team, const char* name, Operation operation) {
  on_each_thread(team, [] { test::clear_exception_flags(); });
  watch(name, [&] {
    attempt(operation);
    std::atomic<bool> any = false;
    on_each_thread(team, [&] {
      if (test::met_a_denormal()) any = true;
    });
    test::clear_exception_flags();
    if (any) {  // an operation that the watch sees
      volatile float denormal = std::numeric_limits<float>::denorm_min();
      denormal = denormal * 3.0F;
    }
  });
}

template <class Layer>
void check_heads(int team) {
  using Scalar = typename Layer::Scalar;
  using Heads = MultiHeadAttention<Layer>;
  Heads heads({.d_model = 5, .d_k = 8, .d_v = 9, .threads = team});
  test::Normal normal(12);
  for (int weights = 0; weights < 2; ++weights) {
    DenormalWatch watch;
    test::Random random(13);
    bool is_normal = true;
    for (const test::Fading& fading : test::fading_streams<Scalar>()) {
      auto x = fading.inputs<Scalar>(random, 5);
      x.resize(std::min<std::size_t>(x.size(), 400));
      Heads layer = heads;
      auto workspace = layer.make_workspace();
      test::Vector<Scalar> out = test::Vector<Scalar>::Zero(5);
      for (std::size_t first = 0; first < x.size(); first += 50) {
        const std::size_t end = std::min(first + 50, x.size());
        // One watch for many tokens: the team meets twice for each watch, and the flag of a thread
        // that has met a denormal number stays raised until then.
        watch_team(watch, team, "tokens", [&] {
          for (std::size_t t = first; t < end; ++t) {
            attempt([&] { out = layer.forward(x[t]); });
            is_normal = is_normal && test::has_no_denormals(out);
            attempt([&] { out = layer.query_readonly(x[t]); });
            is_normal = is_normal && test::has_no_denormals(out);
            const test::Vector<Scalar> expected = out;
            attempt([&] { out = std::as_const(layer).query_readonly(x[t], workspace); });
            is_normal = is_normal && out == expected;
            if (t % 3 == 0) attempt([&] { layer.train_one(x[t], 0.5 * x[t]); });
          }
        });
        if (end - first == 50) {
          const auto span = rows_of(x, first, 50);
          watch_team(watch, team, "span_gradient", [&] {
            is_normal = is_normal && test::has_no_denormals(layer.span_gradient(span, span).x);
          });
          watch_team(watch, team, "forward_span", [&] { layer.forward_span(span); });
          watch_team(watch, team, "train_span", [&] { layer.train_span(span, span); });
        }
      }
      watch_team(watch, team, "advance_to", [&] { layer.advance_to(layer.size() + 77); });
      watch_team(watch, team, "state",
                 [&] { is_normal = is_normal && test::has_no_denormals(layer.state()); });
    }
    CHECK(watch.met() == "");
    CHECK(is_normal);
    test::set_order_one_weights(heads, normal);
  }
}

}  // namespace

TEST_CASE("The watch sees what other threads meet", "[magnitude]") {
  if (!test::sees_denormals) return;
  DenormalWatch watch;
  watch_team(watch, threads, "one of them", [&] {
    std::atomic<int> number{0};
    on_each_thread(threads, [&] {
      if (number.fetch_add(1) != threads - 1) return;
      volatile float denormal = std::numeric_limits<float>::denorm_min();
      denormal = denormal * 3.0F;
    });
  });
  CHECK(watch.met() == "one of them");
}

TEMPLATE_TEST_CASE("No operation of several heads meets a denormal number", "[magnitude]", float,
                   double) {
  for (const int team : {1, threads}) {
    check_heads<LogLinearAttention<GLA, TestType>>(team);
    check_heads<LogLinearAttention<GatedDeltaNet, TestType>>(team);
    check_heads<LinearAttention<GLAVector, TestType>>(team);
  }
}

TEST_CASE("The threads of a team stay in the mode of the program", "[magnitude]") {
  // The first loop on this many threads starts some of them.
  constexpr int team = 7;
  set_thread_count(team);
  MultiHeadAttention<LogLinearAttention<GLA, float>> heads(
      {.d_model = 5, .d_k = 8, .d_v = 9, .n_heads = team, .threads = team});
  const test::Vector<float> x = test::Vector<float>::Ones(5);
  heads.forward(x);
  heads.train_one(x, x);
  heads.query_readonly(x);
  static_cast<void>(heads.forward_span(test::Matrix<float>::Ones(9, 5)));
  std::atomic<int> changed = 0;
  on_each_thread(team, [&] {
    volatile float denormal = std::numeric_limits<float>::denorm_min();
    denormal = denormal * 3.0F;
    changed += denormal != 0 ? 0 : 1;
  });
  CHECK(changed == 0);
}

TEMPLATE_TEST_CASE("Nor does a stream that can be taken back", "[magnitude]", float, double) {
  using Layer = LogLinearAttention<GatedDeltaNet, TestType>;
  DenormalWatch watch;
  test::Random random(14);
  for (const test::Fading& fading : test::fading_streams<TestType>()) {
    Rewindable<Layer> stream(Layer({.d_model = 5, .d_k = 8, .d_v = 9}), {.depth = 20});
    int t = 0;
    for (const auto& x : fading.inputs<TestType>(random, 5)) {
      watch("forward", [&] { stream.forward(x); });
      if (++t % 20 == 0) watch("rewind", [&] { stream.rewind(stream.rewindable() / 2); });
    }
  }
  CHECK(watch.met() == "");
}
