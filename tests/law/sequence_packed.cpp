// SPDX-License-Identifier: MIT
// Sequences packed into one call are the sequences one by one.

#include <vector>

#include "catch.hpp"
#include "rules.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Rows = detail::RowMajorMatrix<double>;
using State = LogLinearState<double>;

struct Packed {
  std::vector<Eigen::Index> cu_seqlens{0, 5, 5, 75, 206};
  Rows q, k, v, lambda, g, beta;

  Packed() {
    Normal normal(5);
    const Eigen::Index tokens = cu_seqlens.back();
    q = normal.matrix<double>(tokens, 4, 1);
    k = normal.matrix<double>(tokens, 4, 0.5);
    v = normal.matrix<double>(tokens, 3, 1);
    lambda = normal.matrix<double>(tokens, 10, 1);
    g = -normal.matrix<double>(tokens, 1, 0.1).cwiseAbs();
    beta = normal.matrix<double>(tokens, 1, 0.5).cwiseAbs();
  }
  [[nodiscard]] SequenceInputs<double> inputs() const {
    return {.q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta};
  }
  /// States that are at different positions already.
  [[nodiscard]] std::vector<State> states() const {
    std::vector<State> states;
    for (Eigen::Index n = 0; n + 1 < static_cast<Eigen::Index>(cu_seqlens.size()); ++n) {
      State state(9, 4, 3);
      recurrent(inputs().slice(0, 7 * n), state);
      states.push_back(state);
    }
    return states;
  }
};

}  // namespace

TEST_CASE("packed sequences do not see each other", "[law]") {
  const Packed packed;
  auto states = packed.states();
  const auto initial = states;
  Normal normal(8);
  const Rows d_out = normal.matrix<double>(206, 3, 1);
  const Rows out = chunkwise(packed.inputs(), packed.cu_seqlens, states);
  const auto gradients =
      chunkwise_gradient(packed.inputs(), packed.cu_seqlens, initial, d_out, {16});
  REQUIRE(gradients.state.rows() == 9 * 4);
  for (std::size_t n = 0; n < states.size(); ++n) {
    INFO("sequence " << n);
    const Eigen::Index first = packed.cu_seqlens[n], count = packed.cu_seqlens[n + 1] - first;
    const auto one = packed.inputs().slice(first, count);
    State state = initial[n];
    const Rows alone = recurrent(one, state);
    CHECK(detail::max_abs(out.middleRows(first, count) - alone) <=
          1e-12 * (1 + detail::max_abs(alone)));
    CHECK(detail::max_abs(states[n].flat_state() - state.flat_state()) <= 1e-12);
    CHECK(states[n].size() == state.size());
    const auto gradient =
        chunkwise_gradient(one, initial[n], Rows(d_out.middleRows(first, count)), {16});
    CHECK(gradients.q.middleRows(first, count) == gradient.q);
    CHECK(gradients.k.middleRows(first, count) == gradient.k);
    CHECK(gradients.v.middleRows(first, count) == gradient.v);
    CHECK(gradients.lambda.middleRows(first, count) == gradient.lambda);
    CHECK(gradients.g.middleRows(first, count) == gradient.g);
    CHECK(gradients.beta.middleRows(first, count) == gradient.beta);
    CHECK(gradients.state.middleRows(9 * static_cast<Eigen::Index>(n), 9) == gradient.state);
  }
}

TEST_CASE("what is not a packing changes nothing", "[bad_input]") {
  const Packed packed;
  auto states = packed.states();
  const auto before = states;
  const auto throws = [&](std::vector<Eigen::Index> cuts) {
    CHECK_THROWS_AS(chunkwise(packed.inputs(), cuts, states), std::invalid_argument);
  };
  throws({0, 5, 5, 75});
  throws({1, 5, 5, 75, 206});
  throws({0, 5, 4, 75, 206});
  throws({0, 5, 5, 75, 205});
  throws({0, 5, 5, 75, 207});
  // The last sequence fails: the first ones must not have been taken.
  auto broken = packed;
  broken.v(205, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(chunkwise(broken.inputs(), broken.cu_seqlens, states), std::invalid_argument);
  CHECK(states == before);

  // Nor may a tape, where one sequence fails.
  SequenceTape<double> tape;
  State state = before.front();
  chunkwise(packed.inputs(), state, {}, &tape);
  CHECK_THROWS_AS(chunkwise(broken.inputs(), state, {8}, &tape), std::invalid_argument);
  CHECK(tape.chunk_size == 64);
  CHECK(tape.start == before.front().size());
}
