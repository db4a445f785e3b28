// SPDX-License-Identifier: MIT
#include "sequence/tokens.hpp"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"

namespace bad_input_sequence {

namespace {

using namespace loglinear;
using Eigen::Index;
using test::Array;
using Parts = std::vector<std::string>;
using Tokens = test::Tokens<double>;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

constexpr Index length = 6, d_k = 4, d_v = 3;
constexpr std::uint64_t start = 5;  // tokens 5 to 10 see levels 0 to 4
constexpr int max_levels = 7;

/// Sequences that hold every array: those of the delta rule, and those of rank-one updates.
Tokens good(test::Update update) {
  test::Random random(61);
  const test::Kind kind{test::Decay::key_rows, true, update, 2,
                        update == test::Update::rank_one ? 3 : 0};
  return test::random_tokens<double>(random, kind, length, d_k, d_v, 5);
}

LogLinearState<double> good_state() {
  test::Random random(62);
  return test::random_state<double>(random, start, max_levels, d_k, d_v);
}

/// What each form says of `in`; those that take a state leave every bit of it as it was.
void refused_by_all(const SequenceInputs<double>& in, const Parts& parts,
                    const LogLinearState<double>& initial = good_state()) {
  LogLinearState<double> state = initial;
  const Array<double> d_out = Array<double>::Zero(in.length(), in.d_v());
  const auto check = [&](const char* form, const std::string& error) {
    CAPTURE(form, error);
    CHECK(test::mentions(error, parts));
    CHECK(state.size() == initial.size());
    CHECK(test::same_bits(state.flat_state(), initial.flat_state()));
  };
  check("dense", test::error_of([&] { (void)dense(in, initial); }));
  check("recurrent", test::error_of([&] { recurrent(in, state); }));
  check("chunkwise", test::error_of([&] { chunkwise(in, state); }));
  check("gradient", test::error_of([&] { (void)chunkwise_gradient(in, initial, d_out); }));
}

/// The same after `change` of good arrays of either kind.
template <class Change>
void refused(test::Update update, Change change, const Parts& parts) {
  Tokens tokens = good(update);
  change(tokens);
  refused_by_all(tokens.inputs(), parts);
}

template <class Change>
void refused_with_either(Change change, const Parts& parts) {
  refused(test::Update::delta, change, parts);
  refused(test::Update::rank_one, change, parts);
}

Array<double> ones(Index rows, Index columns) {
  return Array<double>::Ones(rows, columns);
}

}  // namespace

TEST_CASE("sequence: good inputs are not refused") {
  for (const auto update : {test::Update::delta, test::Update::rank_one}) {
    const Tokens tokens = good(update);
    LogLinearState<double> by_recurrence = good_state(), by_chunks = good_state();
    CHECK_NOTHROW(tokens.inputs().validate(start, max_levels));
    CHECK_NOTHROW(recurrent(tokens.inputs(), by_recurrence));
    CHECK_NOTHROW(chunkwise(tokens.inputs(), by_chunks));
  }
}

TEST_CASE("sequence: shapes that do not fit together") {
  using test::Update;
  refused_with_either([](Tokens& t) { t.k = ones(2 * length, 5); },
                      {"size of k (columns) is 5;", "be 4"});
  refused_with_either([](Tokens& t) { t.k = ones(13, d_k); },
                      {"number of rows of k is 13;", "multiple", "tokens, 6"});
  refused_with_either([](Tokens& t) { t.k = ones(0, d_k); }, {"number of rows of k is 0;", "6"});
  refused_with_either([](Tokens& t) { t.v = ones(length, d_v); },
                      {"size of v (rows) is 6;", "be 12"});
  refused_with_either([](Tokens& t) { t.lambda = ones(5, 5); }, {"lambda (rows) is 5;", "be 6"});
  refused_with_either([](Tokens& t) { t.g = ones(5, d_k); }, {"size of g (rows) is 5;", "be 6"});
  refused_with_either([](Tokens& t) { t.g = ones(length, 3); },
                      {"size of g (columns, unless 1) is 3;", "be 4"});
  refused_with_either([](Tokens& t) { t.g_value = ones(7, d_v); },
                      {"g_value (rows) is 7;", "be 6"});
  refused_with_either([](Tokens& t) { t.g_value = ones(length, 1); },
                      {"g_value (columns) is 1;", "be 3"});

  refused(Update::delta, [](Tokens& t) { t.beta = ones(5, 2); }, {"beta (rows) is 5;", "be 6"});
  refused(Update::delta, [](Tokens& t) { t.beta = ones(length, 1); },
          {"beta (columns) is 1;", "be 2"});
  refused(Update::delta, [](Tokens& t) { t.u = t.p = ones(length, d_k); },
          {"u and p, with beta given,", "is 48;", "be 0"});
  refused(Update::delta, [](Tokens& t) { t.p = ones(length, d_k); }, {"u and p", "is 24;", "be 0"});

  refused(Update::rank_one, [](Tokens& t) { t.u = ones(length, 3); },
          {"u (columns) is 3;", "be 4"});
  refused(Update::rank_one, [](Tokens& t) { t.p = ones(18, 3); }, {"p (columns) is 3;", "be 4"});
  refused(Update::rank_one, [](Tokens& t) { t.u = ones(7, d_k); },
          {"number of rows of u is 7;", "multiple", "6"});
  refused(Update::rank_one, [](Tokens& t) { t.p = ones(length, d_k); },
          {"p (rows) is 6;", "be 18"});
  refused(Update::rank_one, [](Tokens& t) { t.p.resize(0, 0); }, {"p (columns) is 0;", "be 4"});
  refused(Update::rank_one, [](Tokens& t) { t.u.resize(0, 0); }, {"u (columns) is 0;", "be 4"});
}

TEST_CASE("sequence: no columns") {
  const Array<double> no_columns(length, 0), keys = ones(length, d_k), lambda = ones(length, 5);
  const auto error = [](const SequenceInputs<double>& in) {
    return test::error_of([&] { (void)chunkwise(in); });
  };
  CHECK(test::mentions(error({.q = no_columns, .k = no_columns, .v = keys, .lambda = lambda}),
                       {"d_k (columns of q) is 0;", "at least 1"}));
  CHECK(test::mentions(error({.q = keys, .k = keys, .v = no_columns, .lambda = lambda}),
                       {"d_v (columns of v) is 0;", "at least 1"}));
}

TEST_CASE("sequence: too few level weights") {
  refused_with_either([](Tokens& t) { t.lambda = ones(length, 4); },
                      {"columns of lambda) is 4;", "at least 5", "tokens 5 to 10"});
  refused_with_either([](Tokens& t) { t.lambda.resize(length, 0); },
                      {"columns of lambda) is 0;", "at least 5"});
  // From an empty state tokens 0 to 5 see levels 0 to 3.
  Tokens tokens = good(test::Update::delta);
  tokens.lambda = ones(length, 3);
  for (const std::string& error :
       {test::error_of([&] { (void)chunkwise(tokens.inputs()); }),
        test::error_of([&] { (void)dense(tokens.inputs()); }), test::error_of([&] {
          (void)chunkwise_gradient(tokens.inputs(), Array<double>::Zero(length, d_v).eval());
        })}) {
    CHECK(test::mentions(error, {"columns of lambda) is 3;", "at least 4", "tokens 0 to 5"}));
  }
  // Levels that overflow into the last are not asked for.
  const LogLinearState<double> small(2, d_k, d_v);
  CHECK(dense(tokens.inputs(), small).allFinite());
}

TEST_CASE("sequence: a number that is not finite, named with its place") {
  const std::vector<std::pair<const char*, Array<double> Tokens::*>> delta = {
      {"q", &Tokens::q},
      {"k", &Tokens::k},
      {"v", &Tokens::v},
      {"lambda", &Tokens::lambda},
      {"beta", &Tokens::beta},
      {"g", &Tokens::g},
      {"g_value", &Tokens::g_value}};
  const std::vector<std::pair<const char*, Array<double> Tokens::*>> rank_one = {{"u", &Tokens::u},
                                                                                 {"p", &Tokens::p}};
  for (const double bad : {not_a_number, infinity, -infinity}) {
    const auto check = [&](test::Update update, const char* name, Array<double> Tokens::*array) {
      const bool is_decay = array == &Tokens::g || array == &Tokens::g_value;
      if (is_decay && bad == -infinity) return;  // forgets everything
      const std::string value = bad == infinity    ? " is inf;"
                                : bad == -infinity ? " is -inf;"
                                                   : "nan;";
      const std::string legal = is_decay ? "finite or -infinity" : "finite";
      refused(update, [&](Tokens& t) { (t.*array)(4, 1) = bad; },
              {std::string(" ") + name + "[4, 1] is", value, legal});
      refused(update, [&](Tokens& t) { (t.*array)(0, 0) = bad; },
              {std::string(" ") + name + "[0, 0] is", value, legal});
    };
    for (const auto& [name, array] : delta) check(test::Update::delta, name, array);
    for (const auto& [name, array] : rank_one) check(test::Update::rank_one, name, array);
  }
  refused_with_either([](Tokens& t) { t.g = -ones(length, 1), t.g(3, 0) = infinity; },
                      {"g[3, 0] is inf;", "finite or -infinity"});
}

TEST_CASE("sequence: a chunk size below 1") {
  const Tokens tokens = good(test::Update::delta);
  LogLinearState<double> state = good_state();
  const Array<double> d_out = Array<double>::Zero(length, d_v);
  for (const Index size : {Index{0}, Index{-1}, std::numeric_limits<Index>::min()}) {
    const ChunkwiseOptions options{size};
    const Parts parts{"chunk_size is " + std::to_string(size), "at least 1"};
    CHECK(
        test::mentions(test::error_of([&] { chunkwise(tokens.inputs(), state, options); }), parts));
    CHECK(
        test::mentions(test::error_of([&] { (void)chunkwise(tokens.inputs(), options); }), parts));
    CHECK(test::mentions(
        test::error_of([&] { (void)chunkwise_gradient(tokens.inputs(), state, d_out, options); }),
        parts));
  }
  CHECK(state == good_state());
}

TEST_CASE("sequence: a state of another shape") {
  const Tokens tokens = good(test::Update::delta);
  refused_by_all(tokens.inputs(), {"q (columns, d_k of the state) is 4;", "be 5"},
                 LogLinearState<double>(max_levels, 5, d_v));
  refused_by_all(tokens.inputs(), {"v (columns, d_v of the state) is 3;", "be 2"},
                 LogLinearState<double>(max_levels, d_k, 2));
}

TEST_CASE("sequence: packed sequences with a state of another shape, though one has no token") {
  const test::Matrix<double> rows = test::Matrix<double>::Ones(6, 2),
                             lambda = test::Matrix<double>::Ones(6, 4);
  const SequenceInputs<double> in{rows, rows, rows, lambda};
  const std::vector<Eigen::Index> cuts{0, 3, 3, 6};
  const auto refused = [&](const LogLinearState<double>& middle, const char* message) {
    const LogLinearState<double> good(3, 2, 2);
    std::vector<LogLinearState<double>> states{good, middle, good};
    CHECK(test::mentions(test::error_of([&] { chunkwise(in, cuts, states); }), {message}));
    CHECK(states[0] == good);
    CHECK(test::mentions(
        test::error_of([&] { static_cast<void>(chunkwise_gradient(in, cuts, states, rows)); }),
        {message}));
  };
  refused(LogLinearState<double>(3, 5, 2), "d_k of state 1 is 5; it must be that of state 0, 2");
  refused(LogLinearState<double>(3, 2, 1), "d_v of state 1 is 1; it must be that of state 0, 2");
  const std::vector<LogLinearState<double>> of_other_levels{{3, 2, 2}, {1, 2, 2}, {5, 2, 2}};
  CHECK(chunkwise_gradient(in, cuts, of_other_levels, rows).state.rows() == 9);
}

TEST_CASE("sequence: a gradient refuses what was changed after its tape, wherever it is") {
  constexpr Index tokens = 45, chunk = 4;  // chunks between those on the tape are loaded twice
  for (const auto update : {test::Update::none, test::Update::delta}) {
    test::Random random(63);
    const test::Kind kind{test::Decay::scalar, false, update, 1, 0};
    Tokens all = test::random_tokens<double>(random, kind, tokens, d_k, d_v, 7);
    LogLinearState<double> state = good_state();
    SequenceTape<double> tape;
    chunkwise(all.inputs(), state, {chunk}, &tape);
    const Array<double> d_out = ones(tokens, d_v);
    CHECK_NOTHROW(chunkwise_gradient(all.inputs(), tape, d_out));
    for (Index t = 0; t < tokens; ++t) {
      const double before = std::exchange(all.k(t, 1), not_a_number);
      CHECK(test::mentions(
          test::error_of([&] { (void)chunkwise_gradient(all.inputs(), tape, d_out); }),
          {"k[" + std::to_string(t) + ", 1]", "nan", "finite"}));
      all.k(t, 1) = before;
    }
  }
}

TEST_CASE("sequence: cotangents of another shape or not finite") {
  const Tokens tokens = good(test::Update::delta);
  const LogLinearState<double> state = good_state();
  const Array<double> d_out = ones(length, d_v), d_final = ones(max_levels, d_k * d_v);
  const auto error = [&](const Array<double>& of_out, const Array<double>& of_final) {
    return test::error_of(
        [&] { (void)chunkwise_gradient(tokens.inputs(), state, of_out, {}, of_final); });
  };
  CHECK((error(d_out, d_final) + error(d_out, Array<double>())).empty());
  CHECK(test::mentions(error(ones(5, d_v), d_final), {"d_out (rows) is 5;", "be 6"}));
  CHECK(test::mentions(error(ones(length, 4), d_final), {"d_out (columns) is 4;", "be 3"}));
  CHECK(test::mentions(error(d_out, ones(6, d_k * d_v)), {"d_final (rows) is 6;", "be 7"}));
  CHECK(test::mentions(error(d_out, ones(max_levels, 11)), {"d_final (columns) is 11;", "be 12"}));
  for (const double bad : {not_a_number, infinity, -infinity}) {
    Array<double> wrong = d_out;
    wrong(5, 2) = bad;
    CHECK(test::mentions(error(wrong, d_final), {"d_out[5, 2] is", "finite"}));
    wrong = d_final;
    wrong(6, 11) = bad;
    CHECK(test::mentions(error(d_out, wrong), {"d_final[6, 11] is", "finite"}));
  }
}

TEST_CASE("sequence: a tape of other tokens") {
  const Tokens tokens = good(test::Update::delta);
  SequenceTape<double> tape;
  LogLinearState<double> state = good_state();
  chunkwise(tokens.inputs(), state, {}, &tape);
  const auto error = [&](const SequenceTape<double>& other) {
    return test::error_of(
        [&] { (void)chunkwise_gradient(tokens.inputs(), other, ones(length, d_v)); });
  };
  CHECK(error(tape).empty());
  CHECK(test::mentions(error(SequenceTape<double>()), {"the sequence (tokens) is 6;", "be 0"}));
  auto other = tape;
  other.d_k = 5;
  CHECK(test::mentions(error(other), {"q (columns) is 4;", "be 5"}));
  other = tape;
  other.d_v = 2;
  CHECK(test::mentions(error(other), {"v (columns) is 3;", "be 2"}));
  other = tape;
  other.start = 40;
  CHECK(test::mentions(error(other), {"columns of lambda) is 5;", "at least 7"}));
}

TEST_CASE("sequence: a tape that has been changed") {
  const test::Matrix<double> rows = test::Matrix<double>::Ones(37, 2),
                             lambda = test::Matrix<double>::Ones(37, 8);
  const SequenceInputs<double> in{rows, rows, rows, lambda};
  LogLinearState<double> state(7, 2, 2);
  SequenceTape<double> tape, shorter;
  chunkwise(in.slice(0, 20), state, {.chunk_size = 8}, &shorter);
  state.reset();
  chunkwise(in, state, {.chunk_size = 8}, &tape);
  const auto error = [&](auto change) {
    SequenceTape<double> changed = tape;
    change(changed);
    return test::error_of([&] { static_cast<void>(chunkwise_gradient(in, changed, rows)); });
  };
  CHECK(error([](auto&) {}).empty());
  for (const Eigen::Index size : {Index{0}, Index{-8}, Index{7}, Index{4}, Index{1} << 62}) {
    CHECK(error([&](auto& t) { t.chunk_size = size; }) != "");
  }
  CHECK(error([](auto& t) { t.start = 5; }) != "");
  CHECK(error([](auto& t) { t.max_levels = 9; }) != "");
  CHECK(error([](auto& t) { t.max_levels = 0; }) != "");
  CHECK(error([](auto& t) { t.states = {}; }) != "");
  CHECK(error([&](auto& t) { t.states = shorter.states; }) != "");
  CHECK(error([](auto& t) { t.states.interval = 0; }) != "");
  CHECK(error([](auto& t) { t.states.kept.pop_back(); }) != "");
  CHECK(error([](auto& t) { t.states.begins[1] = 3; }) != "");
}

TEST_CASE("sequence: finite tokens under which the state overflows") {
  // The state grows by a factor e^300 a token and passes the largest number at the third.
  const test::Kind kind{.decay = test::Decay::scalar};
  test::Random random(63);
  Tokens tokens = test::random_tokens<double>(random, kind, length, d_k, d_v, 5);
  tokens.g.setConstant(300);
  for (const Index chunk_size : {1, 2, 64}) {
    LogLinearState<double> state = good_state();
    const std::string error =
        test::error_of([&] { chunkwise(tokens.inputs(), state, {chunk_size}); });
    CAPTURE(error);
    // Whichever of the two is met first.
    CHECK((test::mentions(error, {"the read of token 2", "finite"}) ||
           test::mentions(error, {"the state after these tokens"})));
    CHECK(state.size() == start);
    CHECK(test::same_bits(state.flat_state(), good_state().flat_state()));
  }
  // The recurrent form takes back the tokens before the first that cannot be written.
  LogLinearState<double> state = good_state();
  CHECK(test::mentions(test::error_of([&] { recurrent(tokens.inputs(), state); }),
                       {"magnitude of the state after this token"}));
  CHECK(state == good_state());

  // So does one leaf that is too large by itself.
  Tokens huge = good(test::Update::delta);
  huge.k *= 1e200;
  huge.v *= 1e200;
  state = good_state();
  CHECK(test::mentions(test::error_of([&] { chunkwise(huge.inputs(), state); }),
                       {"the read of token 0", "finite"}));
  CHECK(test::same_bits(state.flat_state(), good_state().flat_state()));
}

TEST_CASE("sequence: more tokens than a stream can have") {
  // 2^64 - 1 in all.
  const Tokens tokens = good(test::Update::delta);
  const Array<double> level = ones(d_k, d_v);
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t room : {0u, 1u, 5u}) {
    LogLinearState<double> full(max_levels, d_k, d_v);
    full.replace(
        most - room, [&](int) -> const auto& { return level; });
    refused_by_all(tokens.inputs(),
                   {"number of tokens (rows of q) is 6;",
                    "at most " + std::to_string(room) + " after " + std::to_string(most - room)},
                   full);
  }
}

}  // namespace bad_input_sequence
