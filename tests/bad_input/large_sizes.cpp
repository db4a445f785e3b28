// SPDX-License-Identifier: MIT
// Sizes and counts near the largest integers, and numbers of levels that do not exist: refused by
// name, or taken for what they say. Meant to be run under the sanitizer for undefined behaviour.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "mixers_cases.hpp"
#include "read_orders.hpp"
#include "support.hpp"

using namespace loglinear;
using Eigen::Index;

namespace {

constexpr Index most = std::numeric_limits<Index>::max(), least = std::numeric_limits<Index>::min();
constexpr int most_int = std::numeric_limits<int>::max(),
              least_int = std::numeric_limits<int>::min();
constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();

/// Sizes that no layer can have.
std::vector<Index> impossible_sizes() {
  return {0,
          -1,
          least,
          least + 1,
          (Index{1} << 26) + 1,
          Index{1} << 31,
          Index{1} << 32,
          Index{1} << 40,
          Index{1} << 61,
          Index{1} << 62,
          most / 2,
          most - 1,
          most};
}

/// Each member in turn; the error names it and its value.
template <class Options, class Make>
void refused(const Options& good, Index Options::*member, const char* name, Make make) {
  for (const Index size : impossible_sizes()) {
    Options bad = good;
    bad.*member = size;
    const std::string error = test::error_of([&] { make(bad); });
    CAPTURE(name, size, error);
    CHECK(test::mentions(error, {std::string(name) + " is " + std::to_string(size) + ";", "at "}));
  }
}

template <class Layer>
void refused_by_layer() {
  using Options = typename Layer::Options;
  const Options good{.d_model = 3, .d_k = 2, .d_v = 2};
  const auto make = [](const Options& options) { Layer layer(options); };
  refused(good, &Options::d_model, "d_model", make);
  refused(good, &Options::d_k, "d_k", make);
  refused(good, &Options::d_v, "d_v", make);
}

struct RowsOfOwn {
  Index rows = 1, key_rows_of = 2;
  bool is_projection = true;
  int leaf_count = 1;
  template <class Scalar>
  using Transition = Identity<Scalar>;
  [[nodiscard]] int leaves() const { return leaf_count; }
  [[nodiscard]] std::vector<Parameter> parameters(Index, Index) const {
    return {is_projection ? projection("w_own", rows) : free_vector("w_own", rows)};
  }
  [[nodiscard]] Index key_rows(Index) const { return key_rows_of; }
  void prepare(const auto&, auto&) const {}
  void prepare_query(const auto&, auto&) const {}
  void pullback(const auto&, const auto&, auto&, auto&) const {}
};

}  // namespace

TEMPLATE_TEST_CASE("large sizes: of layers and heads", "", float, double) {
  refused_by_layer<LogLinearAttention<GLA, TestType>>();
  refused_by_layer<LogLinearAttention<GatedDeltaNet, TestType>>();
  refused_by_layer<LinearAttention<Hawk, TestType>>();
  using Heads = MultiHeadAttention<LogLinearAttention<GLA, TestType>>;
  refused_by_layer<Heads>();
  const auto error = [](int n_heads, Index d_v) {
    return test::error_of([&] { Heads({.d_model = 3, .d_k = 2, .d_v = d_v, .n_heads = n_heads}); });
  };
  for (const int n_heads : {0, -1, least_int}) {
    CHECK(test::mentions(error(n_heads, 2), {"n_heads is " + std::to_string(n_heads)}));
  }
  CHECK(test::mentions(error(most_int, 2), {"n_heads * d_v is 4294967294", "at most 67108864"}));
  CHECK(test::mentions(error(most_int, Index{1} << 26), {"n_heads * d_v is 144115188008747008"}));
  CHECK(test::mentions(error(2, Index{1} << 26), {"n_heads * d_v is 134217728"}));
}

TEST_CASE("large sizes: of a rule's own weights, keys and leaves") {
  const auto error = [](const RowsOfOwn& rule, Index d_model = 3) {
    return test::error_of([&] {
      LogLinearAttention<RowsOfOwn>({.inner = rule, .d_model = d_model, .d_k = 2, .d_v = 2});
    });
  };
  CHECK(error({}).empty());
  for (const int leaves : {0, -1, least_int, most_int}) {
    CHECK(test::mentions(error({.leaf_count = leaves}),
                         {"leaves of the rule is " + std::to_string(leaves)}));
  }
  for (const Index rows : {Index{-1}, least, Index{1} << 59, Index{1} << 62, most - 1, most}) {
    for (const bool is_projection : {false, true}) {
      if (!is_projection && rows == Index{1} << 59) continue;
      CHECK(test::mentions(error({.rows = rows, .is_projection = is_projection}),
                           {"rows of w_own is " + std::to_string(rows), "between 0 and"}));
    }
  }
  CHECK(test::mentions(error({.rows = Index{1} << 40}, Index{1} << 26), {"rows of w_own is"}));
  for (const Index rows : impossible_sizes()) {
    CHECK(test::mentions(error({.key_rows_of = rows}),
                         {"key_rows(d_k) of the rule is " + std::to_string(rows)}));
  }
}

TEMPLATE_TEST_CASE("large sizes: of the mixers", "", float, double) {
  using Mamba = LogLinearMamba2Options;
  using Delta = LogLinearGatedDeltaNetOptions;
  const auto mamba = [](const Mamba& options) { LogLinearMamba2<TestType> mixer(options); };
  const auto delta = [](const Delta& options) { LogLinearGatedDeltaNet<TestType> mixer(options); };
  const Mamba good_mamba{.hidden_size = 8, .num_heads = 2, .head_dim = 8, .state_size = 4};
  const Delta good_delta{.hidden_size = 8, .num_heads = 2, .head_dim = 4};
  mamba(good_mamba);
  delta(good_delta);
  const auto refused_each = [](const auto& good, auto make, auto... members) {
    for (const auto& [member, name] : {members...}) {
      for (const Index size : {Index{-1}, least, (Index{1} << 20) + 1, Index{1} << 32, most}) {
        auto bad = good;
        bad.*member = size;
        const std::string error = test::error_of([&] { make(bad); });
        CAPTURE(name, size, error);
        CHECK(test::mentions(error, {std::string(name) + " is " + std::to_string(size)}));
      }
    }
  };
  refused_each(good_mamba, mamba, std::pair{&Mamba::hidden_size, "hidden_size"},
               std::pair{&Mamba::num_heads, "num_heads"}, std::pair{&Mamba::head_dim, "head_dim"},
               std::pair{&Mamba::state_size, "state_size"}, std::pair{&Mamba::n_groups, "n_groups"},
               std::pair{&Mamba::conv_kernel, "conv_kernel"});
  refused_each(good_delta, delta, std::pair{&Delta::hidden_size, "hidden_size"},
               std::pair{&Delta::num_heads, "num_heads"},
               std::pair{&Delta::num_v_heads, "num_v_heads"},
               std::pair{&Delta::head_dim, "head_dim"}, std::pair{&Delta::conv_size, "conv_size"});
  for (const double factor : {1e300, 1e18, -1.0, 0.3, std::numeric_limits<double>::infinity()}) {
    auto bad_mamba = good_mamba;
    bad_mamba.expand = factor;
    CHECK(test::mentions(test::error_of([&] { mamba(bad_mamba); }), {"expand is"}));
    auto bad_delta = good_delta;
    bad_delta.expand_v = factor;
    CHECK(test::mentions(test::error_of([&] { delta(bad_delta); }), {"expand_v is"}));
  }
  constexpr Index largest = Index{1} << 20;
  CHECK(test::mentions(test::error_of([&] {
                         mamba({.hidden_size = largest,
                                .expand = 1,
                                .num_heads = largest,
                                .head_dim = 1,
                                .state_size = largest,
                                .n_groups = largest});
                       }),
                       {"n_groups * state_size is 1099511627776"}));
  CHECK(test::mentions(
      test::error_of([&] {
        delta({.hidden_size = largest, .expand_v = 1, .num_heads = largest, .head_dim = largest});
      }),
      {"num_heads * head_dim is 1099511627776"}));
  CHECK(test::mentions(test::error_of([&] {
                         delta({.hidden_size = 8,
                                .expand_v = 1 << 19,
                                .num_heads = 1,
                                .num_v_heads = largest,
                                .head_dim = 2});
                       }),
                       {"value heads", "1099511627776"}));
  for (const Index chunk_size : {Index{1}, Index{1} << 62, most}) {
    auto options = good_mamba;
    options.chunk_size = chunk_size;
    LogLinearMamba2<TestType> mixer(options);
    CHECK(mixer.forward(test::Random(1).matrix<TestType>(70, 8)).allFinite());
  }
}

TEMPLATE_TEST_CASE("large sizes: of a readout", "", float, double) {
  using Readout = RecursiveLeastSquares<TestType>;
  using Options = typename Readout::Options;
  const auto make = [](const Options& options) { Readout readout(options); };
  refused(Options{.features = 2}, &Options::features, "features", make);
  refused(Options{.features = 2}, &Options::outputs, "outputs", make);
}

TEMPLATE_TEST_CASE("large sizes: of a state", "", float, double) {
  for (const Index size : impossible_sizes()) {
    for (const int max_levels : {1, 64}) {
      CHECK(test::mentions(test::error_of([&] { LogLinearState<TestType>(max_levels, size, 2); }),
                           {"d_k is " + std::to_string(size)}));
      CHECK(test::mentions(test::error_of([&] { LogLinearState<TestType>(max_levels, 2, size); }),
                           {"d_v is " + std::to_string(size)}));
    }
  }
  for (const int max_levels : {0, -1, 65, most_int, least_int}) {
    CHECK(test::mentions(test::error_of([&] { LogLinearState<TestType>(max_levels, 2, 2); }),
                         {"max_levels is " + std::to_string(max_levels), "between 1 and 64"}));
  }
}

TEST_CASE("large counts: a stream's last tokens") {
  const auto fill = [](auto layer) {
    using Scalar = typename decltype(layer)::Scalar;
    const test::Vector<Scalar> x = test::Vector<Scalar>::Constant(3, Scalar(0.5));
    for (int i = 0; i < 5; ++i) layer.forward(x);
    for (const std::uint64_t count : {std::uint64_t{1} << 32, std::uint64_t{1} << 63, last - 9}) {
      layer.advance_to(count);
      CHECK(layer.size() == count);
    }
    for (int i = 0; i < 9; ++i) layer.forward(x);
    CHECK(layer.size() == last);
    CHECK(test::mentions(test::error_of([&] { layer.forward(x); }), {"size", "below 2^64 - 1"}));
    CHECK(test::mentions(test::error_of([&] { layer.advance_to(last - 1); }), {"count"}));
    layer.advance_to(last);
    CHECK(layer.size() == last);
    CHECK(layer.query_readonly(x).allFinite());
    const auto span = test::Matrix<Scalar>::Ones(2, 3);
    CHECK(test::error_of([&] { layer.forward_span(span); }) != "");
    CHECK(layer.size() == last);
  };
  for (const int max_levels : {1, 5, 64}) {
    fill(LogLinearAttention<GLA>({.d_model = 3, .d_k = 4, .d_v = 4, .max_levels = max_levels}));
    fill(LogLinearAttention<GatedDeltaNet, float>(
        {.d_model = 3, .d_k = 1, .d_v = 4, .max_levels = max_levels}));
  }
  fill(MultiHeadAttention<LogLinearAttention<GLA>>({.d_model = 3, .d_k = 4, .d_v = 4}));
}

TEST_CASE("large counts: level weights that a sequence reads") {
  using Inputs = SequenceInputs<double>;
  CHECK(Inputs::levels_read(last, 0, 64) == 0);
  CHECK(Inputs::levels_read(last - 5, 5, 64) == 65);
  CHECK(Inputs::levels_read(0, most, 64) == 64);
  CHECK(Inputs::levels_read(last - static_cast<std::uint64_t>(most), most, 3) == 4);
  const auto error = [](std::uint64_t start, Index length, int max_levels) {
    return test::error_of(
        [&] { static_cast<void>(Inputs::levels_read(start, length, max_levels)); });
  };
  CHECK(test::mentions(error(last - 5, 6, 64), {"number of tokens", "is 6", "at most 5"}));
  CHECK(test::mentions(error(last, most, 64), {"number of tokens", "at most 0"}));
  CHECK(test::mentions(error(0, -1, 64), {"number of tokens", "is -1", "at least 0"}));
  CHECK(test::mentions(error(0, least, 64), {"number of tokens", "at least 0"}));
  for (const int levels : {0, -1, 65, most_int, least_int}) {
    CHECK(test::mentions(error(3, 3, levels), {"max_levels is " + std::to_string(levels)}));
  }
}

TEST_CASE("large sizes: packed sequences, chunks and slices") {
  const test::Matrix<double> rows = test::Random(4).matrix<double>(6, 2),
                             lambda = test::Matrix<double>::Ones(6, 4);
  const SequenceInputs<double> in{rows, rows, rows, lambda};
  for (const Index cut : {Index{-1}, least, Index{7}, most - 1, most}) {
    std::vector<LogLinearState<double>> states(2, LogLinearState<double>(3, 2, 2));
    CHECK(test::mentions(test::error_of([&] {
                           chunkwise(in, {0, cut, 6}, states);
                         }),
                         {"cu_seqlens[1] is " + std::to_string(cut)}));
    CHECK(test::error_of([&] { chunkwise(in, {cut, 3, 6}, states); }) != "");
    CHECK(test::error_of([&] { chunkwise(in, {0, 3, cut}, states); }) != "");
    CHECK(states[0].size() == 0);
  }
  const auto expected = chunkwise(in);
  for (const Index size : {Index{1} << 40, Index{1} << 62, most - 1, most}) {
    CHECK(chunkwise(in, {.chunk_size = size}).isApprox(expected));
    CHECK(chunkwise_gradient(in, rows, {.chunk_size = size}).q.allFinite());
  }
}

TEST_CASE("large sizes: a rewindable stream") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  const Layer::Options options{.d_model = 3, .d_k = 3, .d_v = 2, .max_levels = 12};
  const auto input = [](int n) {
    return test::Random(static_cast<std::uint64_t>(n + 1)).vector<double>(3);
  };
  for (const Index depth : {Index{1}, Index{5}, Index{2000}, Index{1} << 40, most - 1, most}) {
    for (const Index every : {Index{1}, Index{7}, Index{1} << 40, most - 1, most}) {
      CAPTURE(depth, every);
      Rewindable<Layer> stream(Layer(options), {.depth = depth, .snapshot_every = every});
      Layer plain(options);
      constexpr int tokens = 2300, back = 1700;
      for (int n = 0; n < tokens; ++n) stream.forward(input(n));
      const Index kept = std::min<Index>(depth, tokens);
      CHECK(stream.rewindable() == kept);
      const int rewound = static_cast<int>(std::min<Index>(kept, back));
      stream.rewind(rewound);
      for (int n = 0; n < tokens - rewound; ++n) plain.forward(input(n));
      for (int n = 0; n < 3; ++n) {
        CHECK(test::same_bits(stream.forward(input(9000 + n)), plain.forward(input(9000 + n))));
      }
      CHECK(test::error_of([&] { stream.rewind(most); }) != "");
      CHECK(test::error_of([&] { stream.rewind(least); }) != "");
    }
  }
  for (const Index bad : {Index{0}, Index{-1}, least}) {
    CHECK(test::mentions(test::error_of([&] { Rewindable<Layer>(Layer(options), {.depth = bad}); }),
                         {"depth is " + std::to_string(bad)}));
    CHECK(test::mentions(test::error_of([&] {
                           Rewindable<Layer>(Layer(options), {.depth = 1, .snapshot_every = bad});
                         }),
                         {"snapshot_every is " + std::to_string(bad)}));
  }
}

TEST_CASE("levels that do not exist") {
  constexpr std::uint64_t count = 1000;
  const auto refused = [](const char* name, int value, auto call) {
    CAPTURE(name, value);
    CHECK(test::mentions(test::error_of(call),
                         {std::string(name) + " is " + std::to_string(value), "between"}));
  };
  for (const int m : {0, -1, 65, 64 + 64, most_int, least_int}) {
    for (const ReadOrder order : test::read_orders) {
      refused("max_levels", m, [&] { static_cast<void>(level_weight_count(order, m)); });
      refused("max_levels", m, [&] { static_cast<void>(level_of(3, 9, order, m)); });
      refused("max_levels", m, [&] { static_cast<void>(seen_level(order, 0, count, m)); });
      refused("max_levels", m, [&] { static_cast<void>(seen_leaf_level(order, count, m)); });
    }
    refused("max_levels", m, [&] { static_cast<void>(landed_level(count, m)); });
    refused("max_levels", m, [&] { static_cast<void>(active_mask(count, m)); });
    refused("max_levels", m, [&] { static_cast<void>(is_active_level(count, 0, m)); });
    refused("max_levels", m, [&] { static_cast<void>(active_level_count(count, m)); });
    refused("max_levels", m, [&] { static_cast<void>(bucket_of(count, 0, m)); });
    refused("max_levels", m, [&] { static_cast<void>(ActiveLevels(count, m)); });
  }
  for (const int m : {1, 10, 64}) {
    for (const int level : {-1, m, m + 1, 64, 65, most_int, least_int}) {
      refused("level", level, [&] { static_cast<void>(is_active_level(count, level, m)); });
      refused("level", level, [&] { static_cast<void>(bucket_of(count, level, m)); });
      refused("level", level,
              [&] { static_cast<void>(seen_level(ReadOrder::after_push, level, count, m)); });
    }
  }
  static_assert(active_level_count(last, 64) == 64);
  static_assert(bucket_of(last, 63, 64).size == std::uint64_t{1} << 63);
}
