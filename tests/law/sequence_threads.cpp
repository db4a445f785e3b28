// SPDX-License-Identifier: MIT
// One long sequence on several threads has the bits of one thread: reads, states, what is kept for
// the gradient, and errors.

#include <limits>

#include "catch.hpp"
#include "loglinear/parallel.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Index length = 300, d_k = 5, d_v = 7, chunk_size = 4;
constexpr Index wide_d_v = 17;  // which two threads share out by columns alone

struct Pass {
  Array<double> reads{}, fresh_reads{};
  LogLinearState<double> state;
  SequenceGradients<double> gradients{};
};

Pass pass_on(int threads, const SequenceInputs<double>& in, const LogLinearState<double>& initial,
             const Array<double>& d_out) {
  set_thread_count(threads);
  Pass pass{.state = initial};
  SequenceTape<double> tape;
  pass.reads = chunkwise(in, pass.state, {chunk_size}, &tape);
  pass.fresh_reads = chunkwise(in, {chunk_size});
  pass.gradients = chunkwise_gradient(in, tape, d_out);
  return pass;
}

}  // namespace

TEST_CASE("a long sequence has the same bits on any number of threads", "[law]") {
  std::uint64_t seed = 900;
  for (const Kind& kind : test::all_kinds()) {
    for (const std::uint64_t start : {0u, 13u}) {
      test::Random random(++seed);
      const Index columns = start == 0 ? d_v : wide_d_v;
      INFO(name_of(kind) << ", from token " << start);
      const auto tokens = test::random_tokens<double>(random, kind, length, d_k, columns, 10);
      const auto initial = test::random_state<double>(random, start, 9, d_k, columns);
      const Array<double> d_out = random.matrix<double>(length, columns);
      const auto in = tokens.inputs();
      const Pass one = pass_on(1, in, initial, d_out);
      for (const int threads : {2, 3, 8}) {
        CAPTURE(threads);
        const Pass several = pass_on(threads, in, initial, d_out);
        CHECK(test::same_bits(several.reads, one.reads));
        CHECK(test::same_bits(several.fresh_reads, one.fresh_reads));
        CHECK(several.state == one.state);
        test::visit_arrays(several.gradients, one.gradients,
                           [](const char* name, const auto& a, const auto& b) {
                             INFO(name);
                             CHECK(test::same_bits(a, b));
                           });
        CHECK(test::same_bits(several.gradients.state, one.gradients.state));
      }
    }
  }
}

TEST_CASE("and if one thread runs all passes, the last first, from far into a stream", "[law]") {
  constexpr std::uint64_t start = (std::uint64_t{1} << 40) + 21;
  constexpr int levels = 6;  // of which the last one takes what is older
  std::uint64_t seed = 950;
  for (const Kind& kind : test::all_kinds()) {
    test::Random random(++seed);
    INFO(name_of(kind));
    const auto tokens = test::random_tokens<double>(random, kind, length, d_k, d_v, 10);
    const auto initial = test::random_state<double>(random, start, levels, d_k, d_v);
    const Array<double> d_out = random.matrix<double>(length, d_v);
    const Pass one = pass_on(1, tokens.inputs(), initial, d_out);
    set_executor([](Index n, const LoopBody& body) {
      for (Index i = n; i-- > 0;) body(i);
    });
    const Pass backwards = pass_on(4, tokens.inputs(), initial, d_out);
    set_executor({});
    CHECK(test::same_bits(backwards.reads, one.reads));
    CHECK(backwards.state == one.state);
    CHECK(test::same_bits(backwards.gradients.state, one.gradients.state));
  }
}

TEST_CASE("and the same errors, which change nothing", "[law]") {
  test::Random random(7);
  const Kind kind{};
  auto tokens = test::random_tokens<double>(random, kind, length, d_k, d_v, 10);
  const auto initial = test::random_state<double>(random, 13, 9, d_k, d_v);
  const auto error_on = [&](int threads) {
    set_thread_count(threads);
    LogLinearState<double> state = initial;
    const std::string message =
        test::error_of([&] { chunkwise(tokens.inputs(), state, {chunk_size}); });
    CHECK(state == initial);
    return message;
  };
  const auto check_all = [&](std::initializer_list<std::string_view> parts) {
    const std::string one = error_on(1);
    CHECK(test::mentions(one, parts));
    for (const int threads : {2, 3, 8}) CHECK(error_on(threads) == one);
  };
  tokens.v(211, 3) = std::numeric_limits<double>::quiet_NaN();
  tokens.v(90, 1) = std::numeric_limits<double>::infinity();
  check_all({"v[90, 1]", "finite"});
  tokens.v(211, 3) = tokens.v(90, 1) = 0;
  tokens.lambda.row(100).setConstant(1e200);
  tokens.lambda.row(103).setConstant(1e200);
  tokens.q.row(100).setConstant(1e200);
  tokens.q.row(103).setConstant(1e200);
  check_all({"the read of token 100"});
  tokens.v(110, 2) = std::numeric_limits<double>::quiet_NaN();  // of a chunk that nobody comes to
  check_all({"the read of token 100"});
}
