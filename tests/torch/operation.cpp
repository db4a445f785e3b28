// SPDX-License-Identifier: MIT
// The operation on tensors: its numbers are those of every head alone, wherever they lie in memory
// and on any number of threads; what autograd may ask of it, and what it refuses.

#include "tensors.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "oracles/one_state.hpp"

using namespace loglinear;
using namespace loglinear::test;
using torch::autograd::variable_list;

namespace {

const Kind delta_product{test::Decay::key_rows, true, test::Update::delta, 2};
const Kind rank_one{test::Decay::scalar, false, test::Update::rank_one, 1, 2};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const at::Tensor left = a.detach().contiguous(), right = b.detach().contiguous();
  return left.numel() == 0 || std::memcmp(left.data_ptr(), right.data_ptr(), left.nbytes()) == 0;
}

/// Reads, then the gradients of all tensors that are given, under one fixed cotangent.
variable_list reads_and_gradients(const TensorInputs& in) {
  at::Tensor out = chunkwise(in, {16});
  at::Tensor d_out = at::linspace(-1, 1, out.numel(), out.options()).reshape(out.sizes());
  variable_list all =
      torch::autograd::grad({out}, loglinear::detail::GivenTensors(in).list(in), {d_out});
  all.push_back(out);
  return all;
}

void check_same(const variable_list& a, const variable_list& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("tensor " << i << " of those given, or the reads");
    CHECK(same_bits(a[i], b[i]));
  }
}

/// The same up to rounding. Not to the bit: depending on where a decay lies, Eigen takes its
/// exponential with packets or without, which may differ in the last place.
void check_close(const variable_list& a, const variable_list& b, Index tokens, Index d) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("tensor " << i << " of those given, or the reads");
    REQUIRE(a[i].sizes() == b[i].sizes());
    CHECK((a[i] - b[i]).abs().max().item<double>() <=
          sequence_rounding<double>(tokens, d) * b[i].abs().max().item<double>());
  }
}

/// The message of an error of autograd's own; empty where there is none.
template <class Call>
std::string autograd_error(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

/// Restores the number of threads.
class Threads {
 public:
  explicit Threads(int count) { loglinear::set_thread_count(count); }
  ~Threads() { loglinear::set_thread_count(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_ = loglinear::thread_count();
};

}  // namespace

TEST_CASE("every head reads what it reads alone", "[torch]") {
  std::uint64_t seed = 10;
  const Shape shape{.batches = 2, .tokens = 50, .heads = 3, .d_k = 4, .d_v = 3};
  for (const Kind& kind : test::all_kinds()) {
    test::Random random(++seed);
    const auto heads = random_heads(random, kind, shape);
    TensorInputs in = tensors_of(heads, shape);
    const at::Tensor out = chunkwise(in, {16});
    in.lambda = at::Tensor();
    const at::Tensor one_state = chunkwise(in, {16});
    for (Index b = 0; b < shape.batches; ++b) {
      for (Index h = 0; h < shape.heads; ++h) {
        INFO(name_of(kind) << ", batch " << b << ", head " << h);
        const Tokens<double>& tokens = heads[static_cast<std::size_t>(b * shape.heads + h)];
        const double tolerance = sequence_rounding<double>(shape.tokens, shape.d_k);
        const loglinear::LogLinearState<double> empty(7, shape.d_k, shape.d_v);
        const double scale = test::largest_term(tokens, empty);
        CHECK(test::relative_error(head_of(out, b, h), loglinear::chunkwise(tokens.inputs(), {16}),
                                   scale) < tolerance);
        CHECK(test::relative_error(head_of(out, b, h), dense(tokens.inputs()), scale) < tolerance);
        // One state, by written-out matrices; its weights are 1.
        Tokens<double> unit = tokens;
        unit.lambda.setOnes();
        test::Matrix<double> state = test::Matrix<double>::Zero(shape.d_k, shape.d_v);
        CHECK(test::relative_error(head_of(one_state, b, h),
                                   test::linear_attention(kind, tokens, state),
                                   test::largest_term(unit, empty)) < tolerance);
      }
    }
  }
}

TEST_CASE("float gives the numbers of double to its own rounding", "[torch]") {
  const Shape shape{.batches = 1, .tokens = 100, .heads = 1, .d_k = 4, .d_v = 3};
  test::Random random(60);
  for (const Kind& kind : {delta_product, rank_one}) {
    const auto heads = random_heads(random, kind, shape);
    const TensorInputs narrow =
        changed(tensors_of(heads, shape), [](const at::Tensor& t) { return t.to(at::kFloat); });
    const TensorInputs wide =
        changed(narrow, [](const at::Tensor& t) { return t.to(at::kDouble); });
    const at::Tensor out = chunkwise(narrow);
    REQUIRE(out.scalar_type() == at::kFloat);
    const loglinear::LogLinearState<double> empty(8, shape.d_k, shape.d_v);
    CHECK(test::relative_error(head_of(out, 0, 0), head_of(chunkwise(wide), 0, 0),
                               test::largest_term(heads[0], empty)) <
          sequence_rounding<float>(shape.tokens, shape.d_k));
    const auto gradients = reads_and_gradients(with_gradients(narrow));
    CHECK(gradients[0].scalar_type() == at::kFloat);
  }
}

TEST_CASE("tensors of any strides, with and without a copy", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 20, .heads = 3, .d_k = 4, .d_v = 3};
  const auto swapped = [](const at::Tensor& t, std::int64_t a, std::int64_t b) {
    return t.transpose(a, b).contiguous().transpose(a, b);
  };
  const auto inside_more = [](const at::Tensor& t) {
    at::Tensor large = at::full({t.size(0) + 1, t.size(1) + 2, t.size(2) + 3}, NAN, t.options());
    if (t.dim() == 4) large = large.unsqueeze(3).repeat({1, 1, 1, t.size(3) + 4});
    at::Tensor part = large.narrow(0, 1, t.size(0)).narrow(1, 1, t.size(1)).narrow(2, 2, t.size(2));
    if (t.dim() == 4) part = part.narrow(3, 3, t.size(3));
    part.copy_(t);
    return part;
  };
  struct Layout {
    const char* name;
    bool is_copied;
    std::function<at::Tensor(const at::Tensor&)> make;
  };
  const std::vector<Layout> layouts = {
      {"contiguous", false, [](const at::Tensor& t) { return t; }},
      {"heads before tokens", false, [&](const at::Tensor& t) { return swapped(t, 1, 2); }},
      {"tokens before batches", false, [&](const at::Tensor& t) { return swapped(t, 0, 1); }},
      {"part of more", false, inside_more},
      {"columns before heads", true,
       [&](const at::Tensor& t) { return swapped(t, t.dim() - 1, 1); }},
  };
  for (const Kind& kind : {delta_product, rank_one}) {
    const TensorInputs plain = random_tensors(70, kind, shape);
    const variable_list expected = reads_and_gradients(with_gradients(plain));
    for (const Layout& layout : layouts) {
      INFO(layout.name);
      const TensorInputs in = changed(
          plain, [&](const at::Tensor& t) { return layout.make(t.detach()).requires_grad_(true); });
      check_close(reads_and_gradients(in), expected, shape.tokens, shape.d_k);
      const auto arrays = loglinear::detail::batch_of<double, loglinear::BatchInputs<double>>(in);
      const loglinear::detail::BatchHeads<double> heads(arrays);
      const auto& head = heads[shape.heads + 2];
      const auto is_in_place = [](const auto& view, const at::Tensor& tensor) {
        return view.data() == tensor.select(0, 1).select(1, 2).data_ptr<double>() &&
               view.outerStride() == tensor.stride(1);
      };
      CHECK(is_in_place(head.q, in.q) != layout.is_copied);
      CHECK(is_in_place(head.k, in.k) != layout.is_copied);
      CHECK(is_in_place(head.v, in.v) != layout.is_copied);
      CHECK(is_in_place(head.lambda, in.lambda) != layout.is_copied);
      if (in.g.dim() == 4) CHECK(is_in_place(head.g, in.g) != layout.is_copied);
      if (in.g.dim() == 3) CHECK(is_in_place(head.g, in.g));  // a gate a token is any column
      if (in.g_value.defined()) CHECK(is_in_place(head.g_value, in.g_value) != layout.is_copied);
      if (in.u.defined()) CHECK(is_in_place(head.u, in.u) != layout.is_copied);
      if (in.p.defined()) CHECK(is_in_place(head.p, in.p) != layout.is_copied);
    }
  }
}

TEST_CASE("expanded tensors, and those of one strength a token", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 20, .heads = 3, .d_k = 4, .d_v = 3};
  const Kind kind{test::Decay::none, false, test::Update::delta, 1};
  const TensorInputs plain = random_tensors(71, kind, shape);

  for (const int dimension : {0, 1, 2}) {  // the same for all batches, tokens or heads
    INFO("dimension " << dimension);
    at::Tensor narrow = plain.lambda.narrow(dimension, 0, 1).clone().requires_grad_(true);
    TensorInputs expanded = plain, copied = plain;
    expanded.lambda = narrow.expand_as(plain.lambda);
    copied.lambda = expanded.lambda.detach().contiguous().requires_grad_(true);
    const at::Tensor out = chunkwise(expanded), same = chunkwise(copied);
    CHECK(same_bits(out, same));
    const at::Tensor gradient = torch::autograd::grad({out.sum()}, {narrow})[0];
    const at::Tensor whole = torch::autograd::grad({same.sum()}, {copied.lambda})[0];
    CHECK(same_bits(gradient, whole.sum({dimension}, true)));
  }
}

TEST_CASE("heads have the same bits on any number of threads", "[torch]") {
  const Shape shape{.batches = 3, .tokens = 70, .heads = 5, .d_k = 8, .d_v = 8};
  for (const Kind& kind : {delta_product, rank_one}) {
    const TensorInputs in = with_gradients(random_tensors(72, kind, shape));
    variable_list one, two;
    {
      const Threads threads(1);
      one = reads_and_gradients(in);
    }
    const Threads threads(2);
    two = reads_and_gradients(in);
    check_same(one, two);
  }
}

TEST_CASE("a number that is not finite is located, on any thread", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 9, .heads = 3, .d_k = 4, .d_v = 3};
  for (const int count : {1, 2}) {
    const Threads threads(count);
    const TensorInputs in = random_tensors(73, delta_product, shape);
    in.v.select(0, 1).select(1, 2).select(0, 5).select(0, 2).fill_(NAN);
    const std::string error = test::error_of([&] { (void)chunkwise(in); });
    CHECK(error == "loglinear: v[5, 2] is nan; it must be finite (batch 1, head 2)");
  }
  TensorInputs in = random_tensors(73, delta_product, shape);
  in.g.select(1, 3).fill_(-INFINITY);  // exact forgetting is legal
  in.q.requires_grad_(true);
  at::Tensor out = chunkwise(in);
  CHECK(out.isfinite().all().item<bool>());
  at::Tensor d_out = at::ones_like(out);
  d_out.select(0, 0).select(1, 1).fill_(INFINITY);
  CHECK(test::mentions(test::error_of([&] { torch::autograd::grad({out}, {in.q}, {d_out}); }),
                       {"d_out[0, 0] is inf", "batch 0, head 1"}));
}

TEST_CASE("autograd is given the gradients that it needs, and keeps what it was given", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 9, .heads = 3, .d_k = 4, .d_v = 3};
  TensorInputs in = random_tensors(74, rank_one, shape);
  CHECK_FALSE(chunkwise(in).requires_grad());
  in.v.requires_grad_(true);
  {
    const at::NoGradGuard no_grad;
    CHECK_FALSE(chunkwise(in).requires_grad());
  }
  at::Tensor out = chunkwise(in);
  CHECK(out.requires_grad());
  CHECK(out.is_contiguous());
  const auto returned = (*out.grad_fn())({at::ones_like(out)});
  const std::size_t count = loglinear::detail::GivenTensors(in).list(in).size();
  REQUIRE(returned.size() == count);  // q, k, v, lambda, g, u, p
  for (std::size_t i = 0; i < count; ++i) CHECK(returned[i].defined() == (i == 2));

  out = chunkwise(in);
  const auto gradient = [&](bool again) {
    return torch::autograd::grad({out.sum()}, {in.v}, {}, again)[0];
  };
  const at::Tensor first = gradient(true);
  CHECK(same_bits(first, gradient(false)));
  CHECK(test::mentions(autograd_error([&] { gradient(false); }), {"second time"}));

  // The same where every tensor needs one: the others do not change it.
  const TensorInputs all = with_gradients(in);
  CHECK(same_bits(first, torch::autograd::grad({chunkwise(all).sum()}, {all.v})[0]));
}

TEST_CASE("a tensor changed between the passes is noticed", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 9, .heads = 3, .d_k = 4, .d_v = 3};
  for (std::size_t i = 0; i < loglinear::detail::array_count; ++i) {
    for (const Kind& kind : {Kind{test::Decay::key_rows, true, test::Update::delta, 1}, rank_one}) {
      TensorInputs in = with_gradients(random_tensors(75, kind, shape));
      at::Tensor& changed = *named_tensors(in)[i].tensor;
      if (!changed.defined()) continue;
      const at::Tensor out = chunkwise(in);
      {
        const at::NoGradGuard no_grad;
        changed.mul_(0.5);
      }
      CHECK(test::mentions(autograd_error([&] { torch::autograd::grad({out.sum()}, {in.q}); }),
                           {"modified by an inplace operation"}));
    }
  }
}

TEST_CASE("a second derivative is refused, not silently wrong", "[torch]") {
  const Shape shape{.batches = 1, .tokens = 9, .heads = 1, .d_k = 4, .d_v = 3};
  const TensorInputs in = with_gradients(random_tensors(76, rank_one, shape));
  const auto first = torch::autograd::grad({chunkwise(in).square().sum()}, {in.q}, {}, true, true);
  CHECK(first[0].requires_grad());
  for (const at::Tensor& wanted : {in.k, in.q, in.lambda}) {
    CHECK(test::mentions(
        autograd_error([&] { torch::autograd::grad({first[0].sum()}, {wanted}, {}, true); }),
        {"gradient of chunkwise has itself no gradient"}));
  }
}

TEST_CASE("one token, no tokens, no sequences, no heads", "[torch]") {
  for (const Kind& kind : {delta_product, rank_one}) {
    const Shape shape{.batches = 2, .tokens = 1, .heads = 2};
    const TensorInputs one = with_gradients(random_tensors(77, kind, shape));
    CHECK(chunkwise(one).sizes() == at::IntArrayRef{2, 1, 2, 2});
    check_same(reads_and_gradients(one), reads_and_gradients(one));
    for (const int dimension : {0, 1, 2}) {
      const TensorInputs none = with_gradients(
          changed(one, [&](const at::Tensor& t) { return t.narrow(dimension, 0, 0); }));
      const variable_list all = reads_and_gradients(none);
      CHECK(all.back().numel() == 0);
      CHECK(all.back().size(dimension) == 0);
      CHECK(all.back().size(3) == shape.d_v);
      CHECK(all[1].sizes() == none.k.sizes());
    }
  }
}

TEST_CASE("what does not fit is refused by name before any work", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 6, .heads = 3, .d_k = 4, .d_v = 5};
  const TensorInputs delta =
      random_tensors(78, {.update = test::Update::delta, .leaves = 2}, shape);
  const TensorInputs ranks = random_tensors(79, rank_one, shape);
  const auto error = [](TensorInputs in, auto change) {
    change(in);
    return test::error_of([&] { (void)chunkwise(in); });
  };
  const auto of_delta = [&](auto change) { return error(delta, change); };
  const auto of_ranks = [&](auto change) { return error(ranks, change); };
  REQUIRE(of_delta([](TensorInputs&) {}).empty());
  REQUIRE(of_ranks([](TensorInputs&) {}).empty());
  using T = TensorInputs;

  CHECK(of_delta([](T& in) { in.k = at::Tensor(); }) ==
        "loglinear: k is an undefined tensor; it must be given, of shape [B, n T, H, d_k]");
  CHECK(of_delta([](T& in) { in.beta = in.beta.to(at::kFloat); }) ==
        "loglinear: the dtype of beta is Float; it must be Double, as of q");
  CHECK(of_delta([](T& in) { in.q = in.q.to(at::kHalf); }) ==
        "loglinear: the dtype of q is Half; it must be Float or Double");
  CHECK(of_delta([](T& in) { in.v = at::empty_like(in.v, at::kMeta); }) ==
        "loglinear: the device of v is meta; it must be cpu");
  CHECK(of_delta([](T& in) { in.lambda = in.lambda.to_sparse(); }) ==
        "loglinear: the layout of lambda is Sparse; it must be Strided");

  CHECK(of_delta([](T& in) { in.q = in.q.select(0, 0); }) ==
        "loglinear: the shape of q is [6, 3, 4]; it must be [B, T, H, d_k], d_k at least 1");
  CHECK(of_delta([](T& in) { in.k = in.k.narrow(1, 0, 11); }) ==
        "loglinear: the shape of k is [2, 11, 3, 4]; it must be [2, 6 n, 3, 4], n at least 1");
  CHECK(of_delta([](T& in) { in.k = in.k.narrow(1, 0, 0); }) ==
        "loglinear: the shape of k is [2, 0, 3, 4]; it must be [2, 6 n, 3, 4], n at least 1");
  CHECK(of_delta([](T& in) { in.v = in.v.narrow(1, 0, 6); }) ==
        "loglinear: the shape of v is [2, 6, 3, 5]; it must be [2, 12, 3, 5]");
  CHECK(of_delta([](T& in) { in.v = in.v.narrow(3, 0, 0); }) ==
        "loglinear: the shape of v is [2, 12, 3, 0]; it must be [B, n T, H, d_v], n and d_v at "
        "least 1");
  CHECK(of_delta([](T& in) { in.lambda = in.lambda.narrow(3, 0, 3); }) ==
        "loglinear: the shape of lambda is [2, 6, 3, 3]; it must be [2, 6, 3, 4 or more]");
  CHECK(of_delta([](T& in) { in.g = in.q.narrow(3, 0, 2); }) ==
        "loglinear: the shape of g is [2, 6, 3, 2]; it must be [2, 6, 3, 4]");
  CHECK(of_delta([](T& in) { in.g = in.q.select(3, 0).narrow(2, 0, 1); }) ==
        "loglinear: the shape of g is [2, 6, 1]; it must be [2, 6, 3]");
  CHECK(of_delta([](T& in) { in.g_value = in.q; }) ==
        "loglinear: the shape of g_value is [2, 6, 3, 4]; it must be [2, 6, 3, 5]");
  CHECK(of_delta([](T& in) { in.beta = in.beta.narrow(1, 0, 6); }) ==
        "loglinear: the shape of beta is [2, 6, 3]; it must be [2, 12, 3]");
  CHECK(of_delta([](T& in) { in.u = in.q; }) ==
        "loglinear: u is given, beside beta; it must be an undefined tensor");
  CHECK(of_ranks([](T& in) { in.p = at::Tensor(); }) ==
        "loglinear: p is an undefined tensor; it must be given, as u and p go together");
  CHECK(of_ranks([](T& in) { in.u = in.u.narrow(1, 0, 7); }) ==
        "loglinear: the shape of u is [2, 7, 3, 4]; it must be [2, 6 n, 3, 4], n at least 1");
  CHECK(of_ranks([](T& in) { in.p = in.p.narrow(1, 0, 6); }) ==
        "loglinear: the shape of p is [2, 6, 3, 4]; it must be [2, 12, 3, 4]");
  CHECK(test::error_of([&] { (void)chunkwise(delta, {0}); }) ==
        "loglinear: chunk_size is 0; it must be at least 1");
}
