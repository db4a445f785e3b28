// SPDX-License-Identifier: MIT
// Whole sequences, and the mixers of the paper with their caches, without memory.

#include "loglinear/sequence.hpp"
#include "checkpoint/bytes.hpp"
#include "exceptions/refusing_allocator.hpp"
#include "mixers_cases.hpp"
#include "sequence/tokens.hpp"

namespace exceptions_sequence {

namespace {

using namespace loglinear;
using Eigen::Index;
using State = LogLinearState<double>;

const auto saved = [](const auto& object) { return test::saved(object); };

/// 27 tokens before, so that the first of several chunks is partial, and so is the last.
State before() {
  State state(7, 4, 3);
  test::Random random(51);
  for (int t = 0; t < 27; ++t) {
    state.push_leaf(random.vector<double>(4), random.vector<double>(3));
  }
  return state;
}

template <class Mixer>
void check_mixer(const Mixer& mixer) {
  test::Random random(53);
  const test::Array<double> x = random.matrix<double>(30, mixer.options().hidden_size),
                            d_out = random.matrix<double>(30, mixer.options().hidden_size);
  auto cache = mixer.make_cache();
  static_cast<void>(mixer.forward(x.topRows(11), cache));
  using Cache = decltype(cache);
  const auto check = [&](const char* name, auto operation) {
    test::check_without_memory(name, cache, saved, operation);
  };
  check("Mixer::forward", [&](Cache& any) { static_cast<void>(mixer.forward(x, any)); });
  check("Mixer::step", [&](Cache& any) { static_cast<void>(mixer.step(x.row(1), any)); });
  check("Mixer::gradient", [&](Cache& any) { static_cast<void>(mixer.gradient(x, d_out, any)); });
  check("Mixer::make_cache", [&](Cache& any) { any = mixer.make_cache(); });
  check("copy of a cache", [](Cache& any) { Cache copy(any); });
}

}  // namespace

TEST_CASE("Without memory the state of a sequence stays as it was") {
  const State state = before();
  using test::Decay, test::Update;
  for (const test::Kind& kind :
       {test::Kind{}, test::Kind{Decay::scalar}, test::Kind{Decay::key_rows, true},
        test::Kind{Decay::scalar, false, Update::delta},
        test::Kind{Decay::none, false, Update::delta, 3},
        test::Kind{Decay::key_rows, true, Update::rank_one, 2, 2}}) {
    INFO(test::name_of(kind));
    test::Random random(52);
    const Index length = 45;
    const auto tokens = test::random_tokens<double>(random, kind, length, 4, 3, 8);
    const auto d_out = random.matrix<double>(length, 3);
    const auto in = tokens.inputs();
    const auto check = [&](const char* name, auto operation) {
      test::check_without_memory(name, state, saved, operation);
    };
    check("chunkwise", [&](State& any) { chunkwise(in, any, {.chunk_size = 16}); });
    check("chunkwise with a tape", [&](State& any) {
      SequenceTape<double> kept;
      chunkwise(in, any, {.chunk_size = 16}, &kept);
    });
    check("chunkwise into a matrix of another size", [&](State& any) {
      test::Array<double> out(7, 2);
      chunkwise(in, any, out, {.chunk_size = 16});
    });
    SequenceTape<double> tape;
    State after = state;
    chunkwise(in, after, {.chunk_size = 16}, &tape);
    check("chunkwise_gradient into matrices of other sizes", [&](State&) {
      SequenceGradients<double> gradients;
      for (auto* array : {&gradients.q, &gradients.lambda, &gradients.g, &gradients.state}) {
        array->resize(2, 3);
      }
      chunkwise_gradient<double>(in, tape, d_out, gradients);
    });
    check("chunkwise_gradient", [&](State& any) {
      static_cast<void>(chunkwise_gradient<double>(in, any, d_out, {.chunk_size = 16}));
    });
    check("chunkwise of packed sequences", [&](State& any) {
      std::vector<State> states(2, any);
      chunkwise(in, std::vector<Index>{0, 20, length}, states, {.chunk_size = 16});
      any = std::move(states.back());
    });
    const auto few = in.slice(0, 6);  // these allocate for every pair of tokens
    check("dense", [&](State& any) { static_cast<void>(dense(few, any)); });
  }
}

TEST_CASE("Without memory a tape stays as it was") {
  test::Random random(54);
  const auto tokens = test::random_tokens<double>(random, {test::Decay::scalar}, 45, 4, 3, 8);
  const auto d_out = random.matrix<double>(45, 3);
  const auto in = tokens.inputs();
  State state = before();
  SequenceTape<double> tape;
  chunkwise(in, state, {.chunk_size = 8}, &tape);
  const auto bytes = [&](const SequenceTape<double>& any) {
    return test::file_of([&] {
      Tensors tensors;
      tensors.add("q", chunkwise_gradient<double>(in, any, d_out).q);
      return tensors;
    }());
  };
  test::check_without_memory("chunkwise", tape, bytes, [&](SequenceTape<double>& any) {
    State again = before();
    chunkwise(in, again, {.chunk_size = 16}, &any);
  });
}

TEST_CASE("Without memory the cache of a mixer stays as it was") {
  check_mixer(LogLinearGatedDeltaNet<double>(
      {.hidden_size = 6, .expand_v = 1, .num_heads = 2, .head_dim = 3, .num_levels = 6}));
  check_mixer(LogLinearMamba2<double>(
      {.hidden_size = 6, .expand = 1, .num_heads = 2, .head_dim = 3, .state_size = 4}));
}

}  // namespace exceptions_sequence
