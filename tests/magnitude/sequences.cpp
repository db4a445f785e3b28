// SPDX-License-Identifier: MIT
// No sequence form meets a denormal number, and all of them give the same numbers where some of
// theirs are.

#include <algorithm>
#include <array>
#include <limits>

#include "catch.hpp"
#include "loglinear/sequence.hpp"
#include "magnitude/denormals.hpp"
#include "sequence/settings.hpp"

namespace {

using namespace loglinear;
using namespace loglinear::test;
using test::DenormalWatch;
using test::Fading;

/// Gates that fade fast: as drawn, one half a token, e^-5, e^-80, none at all left.
constexpr std::array<double, 5> log_decays = {0, -0.6931471805599453, -5, -80,
                                              -std::numeric_limits<double>::infinity()};

/// Scales queries, keys and values by what fades.
template <class Scalar>
void fade(Tokens<Scalar>& tokens, const Fading& fading, bool keys, bool values, bool queries) {
  const Index length = tokens.q.rows();
  const auto scale_rows = [&](Array<Scalar>& rows) {
    const Index each = rows.rows() / length;
    double scale = fading.first;
    for (Index t = 0; t < length; ++t, scale *= fading.factor) {
      rows.middleRows(t * each, each) *= static_cast<Scalar>(scale);
    }
  };
  if (keys) scale_rows(tokens.k);
  if (values) scale_rows(tokens.v);
  if (queries) scale_rows(tokens.q);
}

template <class Gradients>
bool are_normal(const Gradients& g) {
  return test::has_no_denormals(g.q) && test::has_no_denormals(g.k) &&
         test::has_no_denormals(g.v) && test::has_no_denormals(g.lambda) &&
         test::has_no_denormals(g.g) && test::has_no_denormals(g.g_value) &&
         test::has_no_denormals(g.beta) && test::has_no_denormals(g.u) &&
         test::has_no_denormals(g.p) && test::has_no_denormals(g.state);
}

/// A sequence of each kind, magnitude and decay, and a state before it.
template <class Scalar, class Use>
void for_each_sequence(Use use) {
  constexpr Index length = 100;
  test::Random random(8);
  std::vector<Fading> fadings = test::fading_streams<Scalar>();
  fadings.push_back({1, std::is_same_v<Scalar, float> ? 0.3 : 1e-5, 0});  // within some 70 tokens
  std::size_t n = 0;
  for (const Kind& kind : test::all_kinds()) {
    for (const Fading& fading : fadings) {
      for (const double log_decay : log_decays) {
        auto tokens = test::random_tokens<Scalar>(random, kind, length, 4, 3, 9);
        if (log_decay != 0) {
          for (auto* gates : {&tokens.g, &tokens.g_value}) {
            gates->setConstant(static_cast<Scalar>(log_decay));
          }
        }
        const bool is_rule = kind.update == test::Update::delta;  // whose keys have length 1
        fade(tokens, fading, !is_rule, n % 2 == 0, n % 3 == 0);
        auto initial = test::random_state<Scalar>(random, 45, 8, 4, 3);
        if (n % 4 == 0 && fading.first < 1) {
          initial.replace(45, [&](int l) {
            return (static_cast<Scalar>(fading.first) * initial.level(l)).eval();
          });
        }
        use(tokens, initial, n);
        ++n;
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("No sequence form meets a denormal number", "[magnitude]", float, double) {
  using Scalar = TestType;
  DenormalWatch watch;
  bool is_normal = true;
  for_each_sequence<Scalar>([&](const Tokens<Scalar>& tokens, const LogLinearState<Scalar>& initial,
                                std::size_t n) {
    const auto in = tokens.inputs();
    const ChunkwiseOptions options{.chunk_size = n % 2 == 0 ? 64 : 16};
    test::Random random(n);
    const Array<Scalar> d_out = random.matrix<Scalar>(tokens.q.rows(), 3);
    LogLinearState<Scalar> by_tokens = initial, by_chunks = initial;
    Array<Scalar> out = Array<Scalar>::Zero(1, 1);
    const auto note = [&](const auto&... arrays) {
      is_normal = is_normal && (test::has_no_denormals(arrays) && ...);
    };
    watch("validate", [&] { in.validate(45, 8); });
    if (n % 5 == 0) {
      watch("dense", [&] { out = dense(in, initial); });
      note(out);
    }
    if (n % 5 == 1) {
      watch("recurrent", [&] { out = recurrent(in, by_tokens); });
      note(out);
    }
    watch("chunkwise", [&] {
      out = chunkwise(in, by_chunks, options);
      note(by_chunks.flat_state());
    });
    note(out);
    watch("chunkwise_gradient", [&] {
      is_normal = is_normal && are_normal(chunkwise_gradient<Scalar>(in, initial, d_out, options));
    });
    watch("chunkwise_gradient, faint", [&] {
      is_normal =
          is_normal && are_normal(chunkwise_gradient<Scalar>(in, initial, tokens.v.topRows(100)));
    });
    if (n % 7 != 0) return;
    SequenceTape<Scalar> tape;
    watch("chunkwise, no state", [&] {
      out = chunkwise(in, options, &tape);
      is_normal = is_normal && are_normal(chunkwise_gradient<Scalar>(in, tape, d_out));
      is_normal = is_normal && are_normal(chunkwise_gradient<Scalar>(in, d_out, options));
    });
    note(out);
    std::vector<LogLinearState<Scalar>> states(3, initial);
    watch("packed", [&] { out = chunkwise(in, {0, 30, 31, 100}, states, options); });
    note(out);
    watch("packed gradient", [&] {
      const std::vector<LogLinearState<Scalar>> before(3, initial);
      is_normal = is_normal && are_normal(chunkwise_gradient<Scalar>(in, {0, 30, 31, 100}, before,
                                                                     d_out, options));
    });
  });
  CHECK(watch.met() == "");
  CHECK(is_normal);
}

TEMPLATE_TEST_CASE("All sequence forms give the same numbers where some are denormal",
                   "[magnitude]", float, double) {
  using Scalar = TestType;
  int compared = 0;
  for_each_sequence<Scalar>(
      [&](const Tokens<Scalar>& tokens, const LogLinearState<Scalar>& initial, std::size_t n) {
        if (n % 3 != 0 || detail::max_abs(tokens.v) > 1 || detail::max_abs(tokens.q) > 1) return;
        if (detail::max_abs(tokens.k) > 1) return;
        const auto in = tokens.inputs();
        LogLinearState<Scalar> by_tokens = initial, by_chunks = initial;
        const Array<Scalar> oracle = dense(in, initial), tokenwise = recurrent(in, by_tokens),
                            chunked = chunkwise(in, by_chunks);
        // Where a number is denormal all of it is lost, in any of some sums of products.
        constexpr double smallest = static_cast<double>(std::numeric_limits<Scalar>::min());
        const double scale = std::max(detail::max_abs(oracle), largest_term(tokens, initial));
        const double allowed = sequence_rounding<Scalar>(100, 4) * scale + 1000 * smallest;
        CHECK(static_cast<double>(test::difference(tokenwise, oracle)) <= allowed);
        CHECK(static_cast<double>(test::difference(chunked, oracle)) <= allowed);
        ++compared;
      });
  CHECK(compared > 500);
}
