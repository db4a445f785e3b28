// SPDX-License-Identifier: MIT
// Finite spans of tokens, targets and learning rates whose results are not finite: layers refuse
// them, and their states and weights are as they were.

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/rules.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr Index size = 4;

template <class Layer>
Layer make() {
  Layer layer({.d_model = size, .d_k = size, .d_v = size, .learning_rate = 0.1});
  test::Random random(7);
  for (const std::string& name : layer.weight_names()) {
    const auto weight = layer.weight(name);
    layer.set_weight(name, random.matrix<typename Layer::Scalar>(weight.rows(), weight.cols()));
  }
  for (int t = 0; t < 5; ++t) layer.forward(random.vector<typename Layer::Scalar>(size));
  return layer;
}

template <class Layer>
bool same(const Layer& a, const Layer& b) {
  bool same = test::same_bits(a.state(), b.state()) && a.size() == b.size();
  for (const std::string& name : a.weight_names()) {
    same = same && test::same_bits(a.weight(name), b.weight(name));
  }
  return same;
}
template <class Layer>
bool is_finite(const Layer& layer) {
  bool finite = layer.state().allFinite();
  for (const std::string& name : layer.weight_names()) {
    finite = finite && layer.weight(name).allFinite();
  }
  return finite;
}

template <class Scalar>
bool is_finite(const SpanGradient<Scalar>& gradient, const std::vector<std::string>& names) {
  bool finite = gradient.x.allFinite();
  for (const std::string& name : names) finite = finite && gradient.weight(name).allFinite();
  return finite;
}
template <class Scalar>
bool is_finite(const MultiHeadSpanGradient<Scalar>& gradient, const std::vector<std::string>&) {
  bool finite = gradient.x.allFinite() && gradient.w_out.allFinite();
  for (const auto& head : gradient.heads) {
    for (const char* name : {"w_key", "w_value", "w_query"}) {
      finite = finite && head.weight(name).allFinite();
    }
  }
  return finite;
}

/// All operations on a span, one after the other on equal layers: each refuses and changes
/// nothing, or has finite results alone. Returns how many refuse.
template <class Layer, class Rows>
int refusals(const Layer& before, const Rows& x, const Rows& y) {
  int count = 0;
  const auto run = [&](auto operation) {
    Layer layer(before);
    bool finite = true;
    const std::string error = test::error_of([&] { finite = operation(layer); });
    CAPTURE(error);
    CHECK((finite && is_finite(layer)));
    CHECK((error.empty() || same(layer, before)));
    CHECK((error.empty() || test::mentions(error, {" is ", "must be"})));
    count += error.empty() ? 0 : 1;
  };
  run([&](Layer& layer) { return layer.forward_span(x).allFinite(); });
  run([&](Layer& layer) { return layer.train_span(x, y).allFinite(); });
  run([&](Layer& layer) { return is_finite(layer.span_gradient(x, y), layer.weight_names()); });
  run([&](Layer& layer) { return layer.forward(x.row(0)).allFinite(); });
  run([&](Layer& layer) { return layer.train_one(x.row(0), y.row(0)).allFinite(); });
  run([&](Layer& layer) { return layer.query_readonly(x.row(0)).allFinite(); });
  return count;
}

template <class Scalar>
using Memory = LogLinearAttention<MLSTM, Scalar>;
template <class Scalar>
using Delta = LogLinearAttention<GatedDeltaNet, Scalar>;
template <class Scalar>
using Heads = MultiHeadAttention<Memory<Scalar>>;

}  // namespace

TEMPLATE_TEST_CASE("Spans of tokens and targets of any size", "", Memory<float>, Memory<double>,
                   Delta<float>, Delta<double>, Heads<float>, Heads<double>) {
  using Scalar = typename TestType::Scalar;
  using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const TestType layer = make<TestType>();
  test::Random random(8);
  const Rows x = random.matrix<Scalar>(70, size), y = random.matrix<Scalar>(70, size);
  CHECK(refusals(layer, x, y) == 0);
  const int last = std::is_same_v<Scalar, float> ? 38 : 308;
  int refused = 0;
  for (int digits = -last; digits <= last; digits += last / 19) {
    const auto scale = static_cast<Scalar>(std::pow(10., digits));
    CAPTURE(digits);
    refused += refusals(layer, Rows(scale * x), y);
    refused += refusals(layer, x, Rows(scale * y));
    refused += refusals(layer, Rows(scale * x), Rows(scale * y));
  }
  CHECK(refused > 20);
}

TEMPLATE_TEST_CASE("A learning rate beyond the scalar's range steps no weight", "", Memory<float>,
                   Memory<double>, Delta<float>, Heads<float>) {
  using Scalar = typename TestType::Scalar;
  using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  TestType layer = make<TestType>();
  layer.set_learning_rate(std::is_same_v<Scalar, float> ? 1e39 : 1e308);
  const TestType before(layer);
  test::Random random(9);
  const Rows x = random.matrix<Scalar>(70, size);
  const auto refused = [&](const Rows& y) {
    for (const std::string& error :
         {test::error_of([&] { layer.train_span(x, y); }),
          test::error_of([&] { layer.train_one(x.row(0), y.row(0)); })}) {
      CHECK(test::mentions(error, {"learning rate", " is "}));
    }
    CHECK(same(layer, before));
  };
  refused(random.matrix<Scalar>(70, size));
  // A gradient of zero, which an infinite rate would turn into NaN.
  TestType reader(layer);
  refused(reader.forward_span(x));
}
