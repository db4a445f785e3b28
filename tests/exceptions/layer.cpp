// SPDX-License-Identifier: MIT
// The allocator refuses the first request within an operation, the second, and so on; that one
// alone, or all that follow.

#include "exceptions/operations.hpp"
#include "exceptions/refusing_allocator.hpp"

namespace {

using namespace loglinear;

const auto check = [](const char* name, const auto& object, auto bytes, auto operation) {
  test::check_without_memory(name, object, bytes, operation);
};

template <class Layer>
void check_layer() {
  const Layer layer = test::used_layer<Layer>(53);
  const auto bytes = [](const Layer& any) { return test::saved(any); };
  test::for_each_operation<Layer>(
      [&](const char* name, auto operation) { check(name, layer, bytes, operation); });
  test::for_each_operation_around<Layer>(check);
  test::check_not_made("construction", [] { return test::used_layer<Layer>(0); });
}

}  // namespace

TEMPLATE_TEST_CASE("Without memory a layer stays as it was", "", (LogLinearAttention<GLA, float>),
                   LogLinearAttention<GLAVector>, LogLinearAttention<GatedDeltaNet>,
                   LogLinearAttention<DeltaProduct<2>>, LogLinearAttention<Hawk>,
                   (LinearAttention<RWKV7, float>),
                   (LogLinearAttention<DeltaNet, float, SoftplusWeights, Eigen::half>)) {
  check_layer<TestType>();
}

TEST_CASE("Without memory what is made of a layer is not made") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  const Layer layer = test::used_layer<Layer>(15);
  const auto bytes = [](const Layer& any) { return test::saved(any); };
  check("log_linear_state", layer, bytes,
        [](const Layer& any) { static_cast<void>(any.log_linear_state()); });
  check("cast", layer, bytes, [](const Layer& any) {
    static_cast<void>(any.cast<float>());
    static_cast<void>(any.cast<float, Eigen::half>());
  });
  check("make_workspace", layer, bytes,
        [](const Layer& any) { static_cast<void>(any.make_workspace()); });
  Layer::State out = test::used_layer<Layer>(30).log_linear_state();
  check(
      "log_linear_state into another", out, [](const auto& state) { return test::saved(state); },
      [&](Layer::State& state) { layer.log_linear_state(state); });
}

TEST_CASE("Without memory parts of a stream stay as they were") {
  test::for_each_operation_on_parts<LogLinearAttention<Hawk>, PartProduct::compact>(check);
  test::for_each_operation_on_parts<LogLinearAttention<DeltaNet, float>, PartProduct::matrix>(
      check);
}

TEST_CASE("What a refused request has interrupted keeps no memory") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  CHECK_FALSE(test::loses_memory([] {
    const auto interrupted = [](auto call) {
      int refused = 1;
      for (int place = 0; refused > 0; ++place) {
        test::start_refusing_allocations(place, test::Refusal::once);
        try {
          call();
        } catch (const std::bad_alloc&) {
        }
        refused = test::stop_refusing_allocations();
      }
    };
    interrupted([] { return test::used_layer<Layer>(9); });
    Layer layer = test::used_layer<Layer>(9);
    const Layer other = test::used_layer<Layer>(9, 7, 12);
    interrupted([&] { layer = other; });
    interrupted([&] { return other.snapshot(); });
    interrupted([&] { layer.forward_span(Eigen::MatrixXd::Ones(100, 7)); });
  }));
}
