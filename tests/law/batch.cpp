// SPDX-License-Identifier: MIT
// A batch is its heads, each a sequence of its own: the same bits for all layouts and strides, any
// number of threads, shared heads and packed sequences.

#include "law/batch.hpp"

#include <limits>
#include <stdexcept>

#include "catch.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Index batch = 2, tokens = 37, heads = 4, d_k = 5, d_v = 3;

BatchStates<double> empty_states(const Recipe& recipe, Index sequences = batch) {
  return BatchStates<double>(static_cast<std::size_t>(sequences * heads),
                             LogLinearState<double>(recipe.has_levels ? 8 : 1, d_k, d_v));
}
Values zeros(Index rows = tokens) {
  return {batch, rows, heads, d_v,
          std::vector<double>(static_cast<std::size_t>(batch * rows * heads * d_v))};
}
/// Some tokens before those of the batch.
void begin(BatchStates<double>& states, test::Random& random, int count) {
  for (auto& state : states) {
    for (int t = 0; t < count; ++t)
      state.push_leaf(random.vector<double>(d_k), random.vector<double>(d_v));
  }
}
bool same(Rows a, const Rows& b) {
  return test::same_bits(a, b);
}

}  // namespace

TEST_CASE("reads and states of a batch are those of its heads, to the bit", "[law]") {
  test::Random random(1);
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Arrays all = arrays(random, recipe, batch, tokens);
    BatchStates<double> before = empty_states(recipe);
    if (recipe.has_levels) begin(before, random, 11);
    std::vector<Rows> reads, recurrent_reads, fresh_reads;
    BatchStates<double> after = before, recurrent_after = before;
    for (Index n = 0; n < batch * heads; ++n) {
      const auto in = head(all, n / heads, n % heads, 0, tokens);
      const auto at = static_cast<std::size_t>(n);
      reads.push_back(chunkwise(in, after[at], {.chunk_size = 8}));
      recurrent_reads.push_back(recurrent(in, recurrent_after[at]));
      LogLinearState<double> one(1, d_k, d_v);
      fresh_reads.push_back(recipe.has_levels ? chunkwise(in, {.chunk_size = 8})
                                              : chunkwise(in, one, {.chunk_size = 8}));
    }
    for (const Layout layout : layouts) {
      const LaidArrays laid = lay(all, layout), untouched = laid;
      const BatchInputs<double> in = inputs(laid);
      for (const int threads : {1, 2, 8}) {
        CAPTURE(static_cast<int>(layout), threads);
        set_thread_count(threads);
        const auto check = [&](const std::vector<Rows>& expected, auto run) {
          Values out = zeros();
          Laid to(out, layout == Layout::backwards ? Layout::bhtd : layout);
          run(to.array());
          to.read(out);
          for (Index n = 0; n < batch * heads; ++n) {
            CHECK(same(out.head(n / heads, n % heads, heads, 0, tokens),
                       expected[static_cast<std::size_t>(n)]));
          }
        };
        BatchStates<double> states = before;
        check(reads, [&](const auto& out) { chunkwise(in, out, states, {.chunk_size = 8}); });
        CHECK(states == after);
        check(fresh_reads, [&](const auto& out) { chunkwise(in, out, {.chunk_size = 8}); });
        states = before;
        check(recurrent_reads, [&](const auto& out) { recurrent(in, out, states); });
        CHECK(states == recurrent_after);
        detail::for_each_array(
            [](const char*, const Laid& a, const Laid& b) { CHECK(a.memory() == b.memory()); },
            laid, untouched);
      }
    }
  }
}

TEST_CASE("heads are read where they lie, unless their columns lie apart", "[law]") {
  test::Random random(8);
  for (const Recipe& recipe : recipes) {
    Arrays all = arrays(random, recipe, batch, tokens);
    for (const Layout layout : layouts) {
      const LaidArrays laid = lay(all, layout);
      const BatchInputs<double> in = inputs(laid);
      const detail::BatchHeads<double> each(in);
      const bool is_copied = layout == Layout::columns_apart || layout == Layout::backwards;
      for (Index n = 0; n < batch * heads; ++n) {
        CHECK(each[n].q.owns() == is_copied);
        CHECK(each[n].k.owns() == is_copied);
        CHECK(each[n].v.owns() == is_copied);
      }
      CHECK((each[1].q.data() == in.q.row(0, 0, in.q.heads() == heads ? 1 : 0)) == !is_copied);
    }
  }
}

TEST_CASE("a few long heads go to threads by value columns, with the same bits", "[law]") {
  test::Random random(9);
  const Index length = 4100;
  Arrays all = arrays(random, recipes[4], 1, length);
  all.lambda = values(random, 1, length, heads, 14, 0, 1);
  const LaidArrays laid = lay(all, Layout::bthd);
  Values out{1, length, heads, d_v,
             std::vector<double>(static_cast<std::size_t>(length * heads * d_v))};
  std::vector<double> expected;
  for (const int threads : {1, 2, 8}) {
    set_thread_count(threads);
    Laid to(out, Layout::bthd);
    chunkwise(inputs(laid), to.array());
    if (expected.empty()) expected = to.memory();
    CHECK(to.memory() == expected);
  }
}

TEST_CASE("stretches of a sequence have the same bits whatever an executor does", "[law]") {
  test::Random random(12);
  const Index length = 4100;
  Arrays all = arrays(random, recipes[4], 1, length);
  all.lambda = values(random, 1, length, heads, 14, 0, 1);
  const LaidArrays laid = lay(all, Layout::bthd);
  Values out{1, length, heads, d_v,
             std::vector<double>(static_cast<std::size_t>(length * heads * d_v))};
  Laid expected(out, Layout::bthd), found(out, Layout::bthd);
  set_thread_count(1);
  chunkwise(inputs(laid), expected.array());
  set_thread_count(8);
  int loops = 0;
  set_executor([&](Index n, const LoopBody& body) {
    const Index left_out = ++loops % n;
    for (Index i = 0; i < n; ++i) {
      if (i == left_out) continue;
      body(i);
      body(i);
    }
    if (loops % 3 == 0) throw std::runtime_error("no more");
  });
  chunkwise(inputs(laid), found.array());
  set_executor({});
  CHECK(loops > 2);
  CHECK(found.memory() == expected.memory());
}

TEST_CASE("one token of a batch is one of each head", "[law]") {
  test::Random random(2);
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Arrays all = arrays(random, recipe, batch, 1);
    BatchStates<double> before = empty_states(recipe);
    begin(before, random, 11);
    BatchStates<double> after = before;
    std::vector<Rows> reads;
    for (Index n = 0; n < batch * heads; ++n) {
      reads.push_back(
          recurrent(head(all, n / heads, n % heads, 0, 1), after[static_cast<std::size_t>(n)]));
    }
    std::vector<double> first;
    for (const Layout layout : layouts) {
      for (const int threads : {1, 3}) {
        set_thread_count(threads);
        const LaidArrays laid = lay(all, layout);
        BatchStates<double> states = before;
        Values out = zeros(1);
        Laid to(out, layout == Layout::backwards ? Layout::bhtd : layout);
        step(inputs(laid), to.array(), states);
        to.read(out);
        CHECK(states == after);
        if (first.empty()) first = out.numbers;
        CHECK(out.numbers == first);  // to the bit, whatever the layout and the threads
        for (Index n = 0; n < batch * heads; ++n) {
          CHECK(test::difference(out.head(n / heads, n % heads, heads, 0, 1),
                                 reads[static_cast<std::size_t>(n)]) <= test::rounding<double>(60));
        }
      }
    }
  }
}

TEST_CASE("gradients of a batch are those of its heads, summed where heads share", "[law]") {
  test::Random random(3);
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Arrays all = arrays(random, recipe, batch, tokens);
    Values d_out = values(random, batch, tokens, heads, d_v, -1, 1);
    BatchStates<double> before = empty_states(recipe);
    begin(before, random, 11);
    std::vector<Rows> d_final;
    std::vector<SequenceGradients<double>> expected;
    for (Index n = 0; n < batch * heads; ++n) {
      const auto at = static_cast<std::size_t>(n);
      d_final.push_back(random.matrix<double>(before[at].max_levels(), d_k * d_v));
      expected.push_back(chunkwise_gradient(head(all, n / heads, n % heads, 0, tokens), before[at],
                                            d_out.head(n / heads, n % heads, heads, 0, tokens),
                                            {.chunk_size = 8}, d_final.back()));
    }
    for (const Layout layout : layouts) {
      for (const int threads : {1, 2, 8}) {
        CAPTURE(static_cast<int>(layout), threads);
        set_thread_count(threads);
        const LaidArrays laid = lay(all, layout);
        const Laid cotangent(d_out, layout);
        Arrays found = all;
        const LaidArrays to = lay(found, layout == Layout::backwards ? Layout::bhtd : layout);
        BatchGradients<double> gradients;
        detail::for_each_array(
            [](const char*, const Laid& from, HeadArray<double>& into) { into = from.array(); }, to,
            gradients);
        Values out = zeros();
        const Laid reads(out, Layout::bthd);
        BatchStates<double> states = before;
        BatchTape<double> tape;
        chunkwise(inputs(laid), reads.array(), states, {.chunk_size = 8}, &tape);
        std::vector<Rows> d_states = d_final;
        chunkwise_gradient<double>(inputs(laid), tape, cotangent.array(), gradients, &d_states);
        for (std::size_t n = 0; n < expected.size(); ++n) {
          CHECK(same(d_states[n], expected[n].state));
        }
        const detail::GradientMembers<double> members{};
        detail::for_each_array(
            [&](const char* name, const Laid& from, Values& into, auto member) {
              if (into.numbers.empty()) return;
              CAPTURE(name);
              Laid(from).read(into);
              const Index shared = heads / into.heads, each = into.rows / tokens;
              for (Index g = 0; g < batch * into.heads; ++g) {
                Rows sum = expected[static_cast<std::size_t>(g * shared)].*member;
                for (Index h = 1; h < shared; ++h) {
                  sum += expected[static_cast<std::size_t>(g * shared + h)].*member;
                }
                sum.resize(tokens * each, into.columns);
                CHECK(same(into.head(g / into.heads, g % into.heads, into.heads, 0, tokens * each),
                           sum));
              }
            },
            to, found, members);
      }
    }
  }
}

TEST_CASE("a sum of gradients that would not be finite is refused, and nothing is written",
          "[law]") {
  // Two heads share k and v; the gradient of each is finite.
  using In = HeadArray<const double>;
  using To = HeadArray<double>;
  const double q[] = {1e154, 1e154}, one = 1, lambda[] = {1, 1, 1, 1};
  const double d_out[] = {1.2e154, 1.2e154};
  const BatchInputs<double> in = {.q = In::bthd(q, 1, 1, 2, 1),
                                  .k = In::bthd(&one, 1, 1, 1, 1),
                                  .v = In::bthd(&one, 1, 1, 1, 1),
                                  .lambda = In::bthd(lambda, 1, 1, 2, 2)};
  for (const int threads : {1, 2}) {
    set_thread_count(threads);
    double out[2] = {}, d_q[] = {5, 5}, d_k = 6, d_v = 7;
    BatchTape<double> tape;
    chunkwise(in, To::bthd(out, 1, 1, 2, 1), {}, &tape);
    const BatchGradients<double> gradients = {.q = To::bthd(d_q, 1, 1, 2, 1),
                                              .k = To::bthd(&d_k, 1, 1, 1, 1),
                                              .v = To::bthd(&d_v, 1, 1, 1, 1)};
    const In cotangent = In::bthd(d_out, 1, 1, 2, 1);
    CHECK(test::mentions(
        test::error_of([&] { chunkwise_gradient<double>(in, tape, cotangent, gradients); }),
        {"the gradient of k, row 0", "inf", "finite", "(batch 0, head 0)"}));
    CHECK((d_q[0] == 5 && d_q[1] == 5 && d_k == 6 && d_v == 7));
    chunkwise_gradient<double>(in, tape, cotangent, {.q = gradients.q});
    CHECK(d_q[0] == d_out[0]);
  }
}

TEST_CASE("a gradient of a batch refuses by the names of the batch", "[law]") {
  test::Random random(10);
  const Recipe& recipe = recipes[0];
  Arrays all = arrays(random, recipe, batch, tokens), found = all;
  const LaidArrays laid = lay(all, Layout::bthd), to = lay(found, Layout::bthd);
  Values out = zeros();
  const Laid reads(out, Layout::bthd);
  BatchStates<double> states = empty_states(recipe);
  BatchTape<double> tape;
  chunkwise(inputs(laid), reads.array(), states, {}, &tape);
  BatchGradients<double> gradients = {.q = to.q.array()};
  std::vector<Rows> d_states(static_cast<std::size_t>(batch * heads));
  const auto error = [&] {
    return test::error_of([&] {
      chunkwise_gradient<double>(inputs(laid), tape, reads.array(), gradients, &d_states);
    });
  };
  const std::vector<double> before = to.q.memory();
  d_states[5].setZero(7, d_k * d_v);
  CHECK(test::mentions(error(), {"d_states (rows) is 7; it must be 8", "(batch 1, head 1)"}));
  d_states[5].setZero(8, d_k * d_v + 1);
  CHECK(test::mentions(error(), {"d_states (columns) is 16; it must be 15"}));
  d_states[5].setZero(8, d_k * d_v);
  d_states[5](2, 3) = std::numeric_limits<double>::quiet_NaN();
  CHECK(test::mentions(error(), {"d_states[2, 3]", "finite", "(batch 1, head 1)"}));
  d_states[5](2, 3) = 0;
  gradients.v = {to.q.array().data(), to.v.array().sizes(), to.v.array().strides()};
  CHECK(test::mentions(error(),
                       {"the memory of the gradient of v", "shared with that of q", "its own"}));
  CHECK(to.q.memory() == before);
  gradients.v = {};
  CHECK(error().empty());
}

TEST_CASE("packed sequences are sequences of their own", "[law]") {
  test::Random random(4);
  const std::vector<Index> cuts = {0, 9, 9, 30, 37};
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Arrays all = arrays(random, recipe, 1, tokens);
    Values d_out = values(random, 1, tokens, heads, d_v, -1, 1);
    BatchStates<double> before = empty_states(recipe, 4);
    begin(before, random, 5);
    for (const Layout layout : {Layout::bthd, Layout::columns_apart}) {
      for (const int threads : {1, 3}) {
        set_thread_count(threads);
        const LaidArrays laid = lay(all, layout);
        BatchInputs<double> in = inputs(laid);
        in.cu_seqlens = cuts;
        Values out{1, tokens, heads, d_v,
                   std::vector<double>(static_cast<std::size_t>(tokens * heads * d_v))};
        Laid to(out, layout);
        BatchStates<double> states = before;
        BatchTape<double> tape;
        chunkwise(in, to.array(), states, {.chunk_size = 8}, &tape);
        to.read(out);
        Arrays found = all;
        const LaidArrays d_to = lay(found, layout);
        BatchGradients<double> gradients;
        gradients.q = d_to.q.array();
        std::vector<Rows> d_states;
        const Laid cotangent(d_out, layout);
        chunkwise_gradient<double>(in, tape, cotangent.array(), gradients, &d_states);
        Laid(d_to.q).read(found.q);
        for (Index n = 0; n < 4; ++n) {
          const Index first = cuts[static_cast<std::size_t>(n)];
          const Index count = cuts[static_cast<std::size_t>(n) + 1] - first;
          std::vector<Rows> d_q;
          for (Index h = 0; h < heads; ++h) {
            const auto at = static_cast<std::size_t>(n * heads + h);
            LogLinearState<double> state = before[at];
            if (count == 0) {
              CHECK(states[at] == before[at]);
              continue;
            }
            const auto one = head(all, 0, h, first, count);
            CHECK(same(out.head(0, h, heads, first, count),
                       chunkwise(one, state, {.chunk_size = 8})));
            CHECK(states[at] == state);
            const auto expected = chunkwise_gradient(
                one, before[at], d_out.head(0, h, heads, first, count), {.chunk_size = 8});
            CHECK(same(d_states[at], expected.state));
            if (recipe.q_heads == heads) {
              CHECK(same(found.q.head(0, h, heads, first, count), expected.q));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("what does not fit is refused by name, before anything changes", "[law]") {
  test::Random random(5);
  set_thread_count(2);
  const Recipe& recipe = recipes[4];
  Arrays all = arrays(random, recipe, batch, tokens);
  const LaidArrays laid = lay(all, Layout::bthd);
  Values out = zeros();
  const Laid to(out, Layout::bthd);
  BatchStates<double> states = empty_states(recipe);
  begin(states, random, 3);
  const BatchStates<double> before = states;
  const auto refused = [&](auto change, std::initializer_list<std::string_view> parts) {
    BatchInputs<double> in = inputs(laid);
    HeadArray<double> into = to.array();
    change(in, into);
    for (const std::string& message : {test::error_of([&] { chunkwise(in, into, states); }),
                                       test::error_of([&] { recurrent(in, into, states); })}) {
      CAPTURE(message);
      CHECK(test::mentions(message, parts));
    }
    CHECK(states == before);
    CHECK(to.memory() == Laid(out, Layout::bthd).memory());
  };
  using In = BatchInputs<double>;
  using Out = HeadArray<double>;
  using Four = Out::Four;
  const auto sized = [](auto& array, std::size_t i, Index by) {
    Four sizes = array.sizes();
    sizes[i] += by;
    array = {array.data(), sizes, array.strides()};
  };
  refused([&](In& in, Out&) { sized(in.q, 3, -1); }, {"k (columns) is 5; it must be 4"});
  refused([&](In& in, Out&) { sized(in.k, 0, -1); }, {"k (batch) is 1; it must be 2"});
  refused([&](In& in, Out&) { sized(in.v, 1, -1); }, {"v (rows) is 36; it must be 37"});
  refused([&](In& in, Out&) { sized(in.v, 2, -1); }, {"(heads)", "divisor"});
  refused([&](In& in, Out&) { sized(in.beta, 3, 1); }, {"beta (columns) is 2; it must be 1"});
  refused([&](In& in, Out&) { sized(in.lambda, 3, -5); }, {"columns of lambda", "batch 0, head 0"});
  refused(
      [&](In& in, Out&) {
        in.p = in.k;
        in.u = in.k;
      },
      {"u and p, with beta given"});
  refused(
      [&](In& in, Out&) {
        in.k = {nullptr, in.k.sizes(), in.k.strides()};
      },
      {"the pointer of k"});
  refused([&](In&, Out& into) { sized(into, 1, -1); }, {"out (rows) is 36"});
  refused(
      [&](In&, Out& into) {
        into = {into.data(), into.sizes(), {0, 12, 3, 1}};
      },
      {"a stride of out is 0"});
  refused(
      [&](In&, Out& into) {
        into = {into.data(), into.sizes(), {444, 2, 3, 1}};
      },
      {"a stride of out"});
  refused([&](In& in, Out&) { in.cu_seqlens = {0, 37}; }, {"the batch, with cu_seqlens", "is 2"});
  const auto one_sequence = [&](In& in) {
    detail::for_each_array(
        [&](const char*, HeadArray<const double>& array) {
          if (!array.is_absent()) sized(array, 0, -1);
        },
        in);
  };
  refused(
      [&](In& in, Out& into) {
        one_sequence(in);
        sized(into, 0, -1);
        in.cu_seqlens = {0, 20, 10, 37};
      },
      {"cu_seqlens[2] is 10"});
  refused(
      [&](In& in, Out& into) {
        one_sequence(in);
        sized(into, 0, -1);
        in.cu_seqlens = {0, 36};
      },
      {"cu_seqlens", "36"});
  refused(
      [&](In& in, Out& into) {
        one_sequence(in);
        sized(into, 0, -1);
      },
      {"the number of states is 8; it must be 4"});

  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Arrays wrong = all;
    wrong.v.at(1, 20, 2, 1) = bad;
    const LaidArrays wrong_laid = lay(wrong, Layout::bthd);
    refused([&](In& in, Out&) { in = inputs(wrong_laid); },
            {"v[20, 1]", "finite", "(batch 1, head 2)"});
  }
  BatchStates<double> fewer(states.begin(), states.end() - 1);
  CHECK(test::mentions(test::error_of([&] { chunkwise(inputs(laid), to.array(), fewer); }),
                       {"number of states is 7"}));
  CHECK(test::mentions(test::error_of([&] { step(inputs(laid), to.array(), states); }),
                       {"tokens", "37", "be 1"}));
  CHECK(states == before);
}

TEST_CASE("what overflows in one head changes no state", "[law]") {
  test::Random random(6);
  set_thread_count(2);
  const Recipe& recipe = recipes[0];
  Arrays all = arrays(random, recipe, batch, 1);
  for (Index d = 0; d < d_v; ++d) all.v.at(1, 0, 3, d) = 1e308;
  const LaidArrays laid = lay(all, Layout::bhtd);
  Values out = zeros(1);
  const Laid to(out, Layout::bthd);
  BatchStates<double> states = empty_states(recipe);
  begin(states, random, 3);
  const BatchStates<double> before = states;
  const auto in = inputs(laid);
  CHECK(
      test::mentions(test::error_of([&] { step(in, to.array(), states); }), {"(batch 1, head 3)"}));
  CHECK(states == before);
  CHECK(test::mentions(test::error_of([&] { chunkwise(in, to.array(), states); }),
                       {"(batch 1, head 3)"}));
  CHECK(test::mentions(test::error_of([&] { recurrent(in, to.array(), states); }),
                       {"(batch 1, head 3)"}));
  CHECK(states == before);
}

TEST_CASE("a batch of nothing is nothing", "[law]") {
  BatchInputs<double> in;
  BatchStates<double> states;
  chunkwise(in, HeadArray<double>());
  chunkwise(in, HeadArray<double>(), states);
  recurrent(in, HeadArray<double>(), states);
  in.q = in.k = HeadArray<const double>::bthd(nullptr, 0, 7, 4, d_k);
  in.v = HeadArray<const double>::bthd(nullptr, 0, 7, 4, d_v);
  chunkwise(in, HeadArray<double>::bthd(nullptr, 0, 7, 4, d_v), states);
  CHECK(states.empty());
}

TEST_CASE("no tokens and no heads leave states as they are", "[law]") {
  using In = HeadArray<const double>;
  using To = HeadArray<double>;
  test::Random random(11);
  const double some = 1;
  double place = 5;
  for (const double* const from : {&some, static_cast<const double*>(nullptr)}) {
    double* const to = from == nullptr ? nullptr : &place;
    for (const bool has_levels : {false, true}) {
      for (const Index h : {Index{2}, Index{0}}) {
        CAPTURE(from == nullptr, has_levels, h);
        const Index length = h == 0 ? 6 : 0;
        BatchInputs<double> in = {.q = In::bthd(from, 3, length, h, 4),
                                  .k = In::bthd(from, 3, length, h, 4),
                                  .v = In::bthd(from, 3, length, h, 2)};
        if (has_levels) in.lambda = In::bthd(from, 3, length, h, 4);
        BatchStates<double> states(static_cast<std::size_t>(3 * h),
                                   LogLinearState<double>(3, 4, 2));
        for (auto& state : states) {
          state.push_leaf(random.vector<double>(4), random.vector<double>(2));
        }
        const BatchStates<double> before = states;
        const To out = To::bthd(to, 3, length, h, 2);
        BatchTape<double> tape;
        chunkwise(in, out);
        chunkwise(in, out, states, {}, &tape);
        recurrent(in, out, states);
        CHECK(states == before);
        std::vector<Rows> d_states;
        for (const auto& state : states) {
          d_states.push_back(Rows::Zero(3, 8));
          d_states.back().row(0).setConstant(static_cast<double>(state.size()));
        }
        const std::vector<Rows> d_final = d_states;
        chunkwise_gradient<double>(in, tape, In::bthd(from, 3, length, h, 2),
                                   {.q = To::bthd(to, 3, length, h, 4)}, &d_states);
        for (std::size_t n = 0; n < d_states.size(); ++n) CHECK(d_states[n] == d_final[n]);
        CHECK(place == 5);
      }
    }
  }
}

TEST_CASE("sizes and strides whose products overflow are refused by name", "[law]") {
  using In = HeadArray<const double>;
  const double one = 1;
  double place = 5;
  const Index huge = std::numeric_limits<Index>::max() / 2 + 1;  // 2^62
  const auto in_of = [&](In lambda) {
    return BatchInputs<double>{.q = In::bthd(&one, 1, 1, 1),
                               .k = In::bthd(&one, 1, 1, 1),
                               .v = In::bthd(&one, 1, 1, 1),
                               .lambda = lambda};
  };
  HeadArray<double> out = HeadArray<double>::bthd(&place, 1, 1, 1);
  const auto error = [&](const BatchInputs<double>& in) {
    return test::error_of([&] { chunkwise(in, out); });
  };
  CHECK(In(&one, {2, 5, 2, huge}, {}).size() == std::numeric_limits<Index>::max());
  CHECK(!In(&one, {2, 5, 2, huge}, {}).is_absent());
  CHECK(In(&one, {huge, huge, 0, huge}, {}).size() == 0);
  CHECK(In::bthd(&one, 2, huge, huge, huge).strides()[0] == std::numeric_limits<Index>::max());
  CHECK(In::bhtd(&one, 2, huge, huge, huge).strides()[2] == std::numeric_limits<Index>::max());
  CHECK(test::mentions(error(in_of({&one, {2, 5, 2, huge}, {0, 0, 0, 0}})),
                       {"the size of lambda (columns)", "at most"}));
  CHECK(test::mentions(error(in_of({&one, {huge, 0, 2, 2}, {0, 0, 0, 0}})),
                       {"the size of lambda (batch)", "at most"}));
  for (const Index stride : {huge, -huge, std::numeric_limits<Index>::min()}) {
    CHECK(test::mentions(error(in_of({&one, {1, 1, 1, 3}, {0, 0, 0, stride}})),
                         {"the stride of lambda (columns)", "between"}));
  }
  CHECK(test::mentions(error(in_of(In::bthd(&one, 2, huge, huge, huge))), {"of lambda"}));
  const In wide(&one, {1, 1, 1, Index{1} << 40}, {0, 0, 0, 0});
  BatchInputs<double> in = in_of(In::bthd(&one, 1, 1, 1));
  in.q = in.k = wide;
  CHECK(test::mentions(error(in), {"d_k (columns of q)", "at most"}));
  out = {&place, {1, 1, 1, 1}, {huge, huge, huge, huge}};  // no step is ever taken
  const double lambda[] = {1, 1};
  chunkwise(in_of(In::bthd(lambda, 1, 1, 1, 2)), out);
  CHECK(place == 1);
  out = {&place, {2, 1, 1, 1}, {huge, 1, 1, 1}};
  CHECK(test::mentions(error(in_of(In::bthd(lambda, 1, 1, 1, 2))), {"the stride of out (batch)"}));
}
