// SPDX-License-Identifier: MIT
// Weights of one layer in a file that holds a whole model: a prefix stands before their names, and
// what else stands under it is refused unless the caller says otherwise.
#include <string>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"

namespace checkpoint_weights {

namespace {

using namespace loglinear;

template <class Scalar>
using Layer = LogLinearAttention<GLA, Scalar>;

template <class Scalar>
Layer<Scalar> layer_of(std::uint64_t seed) {
  return Layer<Scalar>(
      {.d_model = 3, .d_k = 4, .d_v = 2, .max_levels = 3, .bias = false, .seed = seed});
}

template <class Any>
bool same_weights(const Any& a, const Any& b) {
  bool same = true;
  for (const std::string& name : a.weight_names()) {
    same = same && test::same_bits(a.weight(name), b.weight(name));
  }
  return same;
}

/// Two layers of a model, with tensors of others around them.
template <class Scalar>
Tensors model() {
  Tensors all = weights_of(layer_of<Scalar>(1), {}, dtype_of<Scalar>(), "layers.1.attn.");
  all.add(weights_of(layer_of<Scalar>(2), {}, dtype_of<Scalar>(), "layers.11.attn."));
  all.add("layers.1.mlp.weight", Eigen::VectorXd::Ones(3));
  all.add("embedding", Eigen::VectorXd::Ones(3));
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("A prefix finds one layer of a model, and no other", "", float, double) {
  using Any = Layer<TestType>;
  const Tensors all = model<TestType>();
  Any layer = layer_of<TestType>(3);
  set_weights(layer, all, {}, {.prefix = "layers.1.attn."});
  CHECK(same_weights(layer, layer_of<TestType>(1)));
  set_weights(layer, all, {}, {.prefix = "layers.11.attn."});
  CHECK(same_weights(layer, layer_of<TestType>(2)));

  // Files, and names under the prefix.
  const test::Folder folder;
  const WeightNames names{{"w_key", "k_proj.weight"}};
  save_weights(folder / "w", layer, names, DType::f64, "attn.");
  const Tensors written = read_safetensors(folder / "w");
  CHECK(written.find("attn.k_proj.weight") != nullptr);
  CHECK(written.find("attn.w_value") != nullptr);
  CHECK(written.names().size() == layer.weight_names().size());
  Any other = layer_of<TestType>(4);
  load_weights(folder / "w", other, names, {.prefix = "attn."});
  CHECK(same_weights(layer, other));
}

TEMPLATE_TEST_CASE("What is under a prefix and no weight is refused", "", float, double) {
  using Any = Layer<TestType>;
  Any layer = layer_of<TestType>(3);
  const Any before(layer);
  const auto refuses = [&](const Tensors& tensors, const WeightNames& names,
                           const WeightOptions& options, const std::string& message) {
    CHECK(test::error_of([&] { set_weights(layer, tensors, names, options); }) ==
          "loglinear: tensors: " + message);
    CHECK(same_weights(layer, before));
  };
  const std::string remedy =
      "; an option that is off may need them, and allow_surplus = true leaves them alone";

  Tensors all = model<TestType>();
  all.add("layers.1.attn.conv1d.bias", Eigen::VectorXd::Ones(3));
  all.add("layers.1.attn.g_proj.weight", Eigen::VectorXd::Ones(3));
  const std::string surplus =
      "under \"layers.1.attn.\" there are tensors that are no weights of the layer: "
      "\"conv1d.bias\" \"g_proj.weight\"" +
      remedy;
  refuses(all, {}, {.prefix = "layers.1.attn."}, surplus);
  refuses(all, {}, {.prefix = "layers.1.attn.", .allow_surplus = false}, surplus);
  set_weights(layer, all, {}, {.prefix = "layers.11.attn."});
  CHECK(same_weights(layer, layer_of<TestType>(2)));
  set_weights(layer, all, {}, {.prefix = "layers.1.attn.", .allow_surplus = true});
  CHECK(same_weights(layer, layer_of<TestType>(1)));
  layer = before;

  // A weight that another name is read for is surplus itself.
  Tensors renamed = weights_of(before);
  renamed.add("other", before.weight("w_key"));
  refuses(renamed, {{"w_key", "other"}}, {.allow_surplus = false},
          "there are tensors that are no weights of the layer: \"w_key\"" + remedy);

  // A prefix that is none.
  refuses(model<TestType>(), {}, {.prefix = "layers.2.attn."},
          "tensor \"layers.2.attn.w_key\": is missing; there are \"embedding\" "
          "\"layers.1.attn.w_gate\" \"layers.1.attn.w_key\" \"layers.1.attn.w_lambda\" "
          "\"layers.1.attn.w_query\" \"layers.1.attn.w_value\" \"layers.1.mlp.weight\" "
          "\"layers.11.attn.w_gate\" \"layers.11.attn.w_key\" \"layers.11.attn.w_lambda\" "
          "\"layers.11.attn.w_query\" \"layers.11.attn.w_value\"");
  refuses(model<TestType>(), {{"w_key", "k"}}, {.prefix = "layers.1.attn."},
          "tensor \"layers.1.attn.k\": is missing; under \"layers.1.attn.\" there are \"w_gate\" "
          "\"w_key\" \"w_lambda\" \"w_query\" \"w_value\"");
}

TEMPLATE_TEST_CASE("Without a prefix the whole file is the layer's, unless it holds more by nature",
                   "", float, double) {
  using Any = Layer<TestType>;
  Any layer = layer_of<TestType>(3);
  Tensors all = weights_of(layer_of<TestType>(1));
  all.add("conv1d.bias", Eigen::VectorXd::Ones(3));
  CHECK(test::mentions(test::error_of([&] { set_weights(layer, all); }),
                       {"there are tensors that are no weights of the layer: \"conv1d.bias\""}));
  CHECK(same_weights(layer, layer_of<TestType>(3)));
  set_weights(layer, all, {}, {.allow_surplus = true});
  CHECK(same_weights(layer, layer_of<TestType>(1)));

  // Full names of a larger model.
  layer = layer_of<TestType>(3);
  set_weights(layer, all, {{"w_key", "w_key"}});
  CHECK(same_weights(layer, layer_of<TestType>(1)));

  // A checkpoint has the stream beside the weights.
  layer = layer_of<TestType>(3);
  set_weights(layer, test::parsed(test::saved(layer_of<TestType>(1))));
  CHECK(same_weights(layer, layer_of<TestType>(1)));
}

}  // namespace checkpoint_weights
