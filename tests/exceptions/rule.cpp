// SPDX-License-Identifier: MIT
// A rule or level weights of the user's throw at their first call within an operation, at their
// second, and so on.

#include "exceptions/faulty_rule.hpp"
#include "exceptions/operations.hpp"

namespace {

using namespace loglinear;
using test::Faulty;
using test::FaultyWeights;

const auto check = [](const char* name, const auto& object, auto bytes, auto operation) {
  test::check_unharmed(test::Faults{}, name, object, bytes, operation);
};

template <class Layer>
void check_layer() {
  const Layer layer = test::used_layer<Layer>(53);
  const auto bytes = [](const Layer& any) { return test::saved(any); };
  test::for_each_operation<Layer>(
      [&](const char* name, auto operation) { check(name, layer, bytes, operation); });
  test::for_each_operation_around<Layer>(check);
}

template <class Rule>
using Layer = LogLinearAttention<Faulty<Rule>, double, FaultyWeights>;

}  // namespace

TEMPLATE_TEST_CASE(
    "A rule that throws leaves the layer as it was", "", Layer<GLA>, Layer<GatedDeltaNet>,
    Layer<DeltaProduct<2>>, Layer<Hawk>, Layer<HGRN2>, LinearAttention<Faulty<RWKV7>>,
    (LogLinearAttention<Faulty<GatedDeltaNet>, float, FaultyWeights, Eigen::bfloat16>)) {
  check_layer<TestType>();
}

TEMPLATE_TEST_CASE("A rule that throws leaves all heads as they were", "",
                   MultiHeadAttention<Layer<GLA>>, MultiHeadAttention<Layer<GatedDeltaNet>>) {
  check_layer<TestType>();
}

TEST_CASE("A rule that throws leaves parts of a stream as they were") {
  test::for_each_operation_on_parts<Layer<GLAVector>, PartProduct::compact>(check);
  test::for_each_operation_on_parts<Layer<DeltaNet>, PartProduct::matrix>(check);
}

TEST_CASE("A rule that throws while a layer is made") {
  struct Nothing {};
  check(
      "construction", Nothing{}, [](const Nothing&) { return std::string(); },
      [](Nothing&) { test::used_layer<Layer<GLA>>(0); });
  const Layer<GLA> layer = test::used_layer<Layer<GLA>>(15);
  const auto bytes = [](const auto& any) { return test::saved(any); };
  check("cast", layer, bytes,
        [](const Layer<GLA>& any) { static_cast<void>(any.template cast<float>()); });
  check("make_workspace", layer, bytes,
        [](const Layer<GLA>& any) { static_cast<void>(any.make_workspace()); });
}
