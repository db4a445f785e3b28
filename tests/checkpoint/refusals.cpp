// SPDX-License-Identifier: MIT
// Well-formed files that are no checkpoint of this object: each refused by the tensor's name, with
// the object left as it was, to the bit.
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<GLA, float>;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Levels of 8 x 4 buffer up to four tokens: after 15 of them three are in the buffer.
Layer::Options options() {
  return {.inner = {.gate_bias = 3}, .d_model = 4, .d_k = 8, .d_v = 4, .max_levels = 5};
}
template <class Any>
Any used(const typename Any::Options& with, int tokens = 15) {
  Any layer(with);
  test::Random random(9);
  using Scalar = typename Any::Scalar;
  for (int t = 0; t < tokens; ++t) {
    layer.train_one(random.vector<Scalar>(layer.d_model()),
                    random.vector<Scalar>(layer.output_dim()));
  }
  return layer;
}

/// A checkpoint's tensors, to be spoilt.
class Spoilt {
 public:
  template <class Object>
  explicit Spoilt(const Object& object) : tensors_(test::parsed(test::saved(object))) {}

  Spoilt& metadata(const std::string& key, const std::string& value) {
    tensors_.metadata[key] = value;
    return *this;
  }
  Spoilt& remove(const std::string& name) {
    Tensors rest;
    rest.metadata = tensors_.metadata;
    REQUIRE(tensors_.find(name) != nullptr);
    for (const std::string& other : tensors_.names()) {
      if (other != name) rest.add(other, tensors_[other]);
    }
    tensors_ = rest;
    return *this;
  }
  /// Another number in place of coefficient `index`.
  template <class Number>
  Spoilt& number(const std::string& name, std::size_t index, Number value) {
    Tensor tensor = tensors_[name];
    REQUIRE(tensor.dtype == dtype_of<Number>());
    REQUIRE((index + 1) * sizeof value <= tensor.bytes.size());
    std::memcpy(tensor.bytes.data() + index * sizeof value, &value, sizeof value);
    return replace(name, tensor);
  }
  Spoilt& replace(const std::string& name, const Tensor& tensor) {
    remove(name);
    tensors_.add(name, tensor);
    return *this;
  }
  Tensors& tensors() { return tensors_; }
  std::string bytes() const { return test::file_of(tensors_); }

 private:
  Tensors tensors_;
};

template <class Object>
void refuses(Object& object, const Spoilt& spoilt, const std::string& message) {
  const std::string before = test::saved(object);
  const std::string error = test::error_of([&] { test::load_bytes(spoilt.bytes(), object); });
  CHECK(error == "loglinear: test.safetensors: " + message);
  const bool unchanged = test::saved(object) == before;
  CHECK(unchanged);
}

template <class Other>
void refuses_options(const Other& other, const std::string& message) {
  Layer layer = used<Layer>(options(), 3);
  refuses(layer, Spoilt(other), message + ", as in the object that loads it");
}

}  // namespace

TEST_CASE("Files of something else, and of another version") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  for (const char* const key : {"format", "format_version"}) {
    const std::string value = key == std::string("format") ? "loglinear" : "1";
    refuses(layer, Spoilt(stored).metadata(key, "other"),
            std::string("__metadata__ has no \"") + key + "\": \"" + value +
                "\": it is no checkpoint that this version reads; weights alone are read by "
                "load_weights");
  }
  Spoilt bare(stored);
  bare.tensors().metadata.clear();
  CHECK(test::mentions(test::error_of([&] { test::load_bytes(bare.bytes(), layer); }),
                       {"__metadata__ has no \"format\""}));
}

TEST_CASE("Options that differ") {
  auto other = options();
  other.inner.gate_bias = 3.5;
  refuses_options(Layer(other), "inner is \"gla(gate_bias=3.5)\"; it must be \"gla(gate_bias=3)\"");
  other = options();
  other.d_model = 5;
  refuses_options(Layer(other), "d_model is \"5\"; it must be \"4\"");
  other = options();
  other.d_k = 9;
  refuses_options(Layer(other), "d_k is \"9\"; it must be \"8\"");
  other = options();
  other.d_v = 9;
  refuses_options(Layer(other), "d_v is \"9\"; it must be \"4\"");
  other = options();
  other.max_levels = 6;
  other.level_weights.lambda_init = 0.2;
  refuses_options(Layer(other), "max_levels is \"6\"; it must be \"5\"");
  other = options();
  other.level_weights.tau = 2;
  refuses_options(Layer(other),
                  "level_weights is \"normalized_mixture(lambda_init=0.2, tau=2)\"; it must be "
                  "\"normalized_mixture(lambda_init=0.2, tau=1)\"");
  other = options();
  other.read_order = ReadOrder::after_push;
  refuses_options(Layer(other), "read_order is \"after_push\"; it must be \"before_push\"");
  refuses_options(used<Layer>(options()).cast<double>(), "scalar is \"F64\"; it must be \"F32\"");
  refuses_options(
      LinearAttention<GLA, float>({.inner = {.gate_bias = 3}, .d_model = 4, .d_k = 8, .d_v = 4}),
      "max_levels is \"1\"; it must be \"5\"");
}

TEST_CASE("Steps and biases are named where one side has the default, too") {
  Layer::Options plain_options = options();
  plain_options.learning_rate = 0.1;  // plain steps, no biases
  const std::string end = ", as in the object that loads it";
  const std::string adam = "adam(beta1=0.9, beta2=0.999, epsilon=1e-08, clip=0)";
  Layer::Options adam_options = plain_options, biased_options = plain_options;
  adam_options.step = Step{.rule = StepRule::adam};
  biased_options.bias = true;
  Layer plain(plain_options), stepping(adam_options), biased(biased_options);
  refuses(plain, Spoilt(stepping), "step is \"" + adam + "\"; it must be \"sgd\"" + end);
  refuses(stepping, Spoilt(plain), "step is \"sgd\"; it must be \"" + adam + "\"" + end);
  refuses(plain, Spoilt(biased), "bias is \"true\"; it must be \"false\"" + end);
  refuses(biased, Spoilt(plain), "bias is \"false\"; it must be \"true\"" + end);
}

TEST_CASE("A last level that does something else when it is full") {
  using Forgetting = LogLinearAttention<GLA, float, NormalizedMixture, float, LastLevel::forget>;
  using Halving = LogLinearAttention<GLA, float, NormalizedMixture, float, LastLevel::halve>;
  const auto with = [](auto made) {
    made = {.inner = {.gate_bias = 3}, .d_model = 4, .d_k = 8, .d_v = 4, .max_levels = 5};
    return made;
  };
  const Layer folds = used<Layer>(options());
  const auto forgets = used<Forgetting>(with(Forgetting::Options()));
  const auto halves = used<Halving>(with(Halving::Options()));
  const std::string end = ", as in the object that loads it";
  const auto refuses_both = [&](auto layer, const auto& one, const std::string& what,
                                const auto& other, const std::string& what_other) {
    refuses(layer, Spoilt(one), what + end);
    refuses(layer, Spoilt(other), what_other + end);
  };
  refuses_both(folds, forgets, "last_level is \"forget\"; it must be \"fold\"", halves,
               "last_level is \"halve\"; it must be \"fold\"");
  refuses_both(forgets, folds, "last_level is \"fold\"; it must be \"forget\"", halves,
               "last_level is \"halve\"; it must be \"forget\"");
  refuses_both(halves, folds, "last_level is \"fold\"; it must be \"halve\"", forgets,
               "last_level is \"forget\"; it must be \"halve\"");
  LogLinearState<float> plain(5, 8, 4);
  const LogLinearState<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, LastLevel::forget>
      windowed(5, 8, 4);
  refuses(plain, Spoilt(windowed), "last_level is \"forget\"; it must be \"fold\"" + end);
}

TEST_CASE("Tensors missing, too many, of another dtype or shape") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  for (const std::string& name : Spoilt(stored).tensors().names()) {
    const std::string before = test::saved(layer);
    const Spoilt missing = Spoilt(stored).remove(name);
    CHECK(test::mentions(test::error_of([&] { test::load_bytes(missing.bytes(), layer); }),
                         {"test.safetensors: tensor \"" + name + "\": is missing; there are "}));
    Tensor narrow{.dtype = DType::bf16, .shape = {}, .bytes = std::vector<std::byte>(2)};
    const Spoilt other = Spoilt(stored).replace(name, narrow);
    CHECK(test::mentions(test::error_of([&] { test::load_bytes(other.bytes(), layer); }),
                         {"tensor \"" + name + "\": is BF16[]; it must be of dtype "}));
    const bool unchanged = test::saved(layer) == before;
    CHECK(unchanged);
  }
  Spoilt surplus(stored);
  surplus.tensors().add("w_more", Eigen::VectorXf::Ones(3));
  refuses(layer, surplus, "tensor \"w_more\": belongs to nothing that was loaded");
  surplus = Spoilt(stored);
  surplus.tensors().add("state.level4", Eigen::MatrixXf::Ones(8, 8));
  refuses(layer, surplus, "tensor \"state.level4\": belongs to nothing that was loaded");

  const auto reshaped = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    Spoilt spoilt(stored);
    Tensor tensor = spoilt.tensors()[name];
    tensor.shape = std::move(shape);
    return spoilt.replace(name, tensor);
  };
  refuses(layer, reshaped("w_key", {4, 8}), "tensor \"w_key\": is F32[4, 8]; it must be F32[8, 4]");
  refuses(layer, reshaped("w_key", {32}),
          "tensor \"w_key\": is F32[32]; it must be of 2 dimensions");
  refuses(layer, reshaped("learning_rate", {1}),
          "tensor \"learning_rate\": is F64[1]; it must be a single number, F64[]");
  refuses(layer, reshaped("state.buffered_factors", {3, 1}),
          "tensor \"state.buffered_factors\": is F32[3, 1]; it must be of 1 dimensions");
}

TEST_CASE("Numbers that are not finite") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  for (const float wrong : {infinity, -infinity, not_a_number}) {
    for (const char* const name : {"w_query", "state.buffered_keys", "state.buffered_values",
                                   "state.buffered_factors", "state.level2", "state.level3"}) {
      const Spoilt spoilt = Spoilt(stored).number(name, 2, wrong);
      const std::string before = test::saved(layer);
      CHECK(test::mentions(
          test::error_of([&] { test::load_bytes(spoilt.bytes(), layer); }),
          {"tensor \"" + std::string(name) + "\": coefficient 2 is ", "it must be finite"}));
      const bool unchanged = test::saved(layer) == before;
      CHECK(unchanged);
    }
    refuses(layer, Spoilt(stored).number("state.recent.decay", 0, wrong),
            "tensor \"state.recent.decay\": is not finite");
    refuses(layer, Spoilt(stored).number("learning_rate", 0, double{wrong}),
            "tensor \"learning_rate\": is not finite");
    refuses(layer, Spoilt(stored).number("state.magnitude", 0, double{wrong}),
            "tensor \"state.magnitude\": is not finite");
  }
}

TEST_CASE("Parts that contradict each other") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  using Count = Eigen::Index;
  refuses(layer, Spoilt(stored).number("state.buffered", 0, Count{4}),
          "state: buffered is 4; it must be between 0 and 3");
  refuses(layer, Spoilt(stored).number("state.buffered", 0, Count{-1}),
          "state: buffered is -1; it must be between 0 and 3");
  refuses(layer, Spoilt(stored).number("state.buffered", 0, std::numeric_limits<Count>::max()),
          "state: buffered is 9223372036854775807; it must be between 0 and 3");
  refuses(layer, Spoilt(stored).number("state.buffered", 0, Count{2}),
          "tensor \"state.buffered_keys\": is F32[3, 8]; it must be F32[2, 8]");
  // 13 is 12 and a token that should be in the buffer; the levels it would have are there.
  Spoilt uneven = Spoilt(stored).number("state.size", 0, std::uint64_t{13});
  uneven.tensors().add("state.level0", Eigen::MatrixXf::Zero(8, 4));
  refuses(layer, uneven, "state: size is 13; it must be a multiple of 4");
  CHECK(test::mentions(
      test::error_of([&] {
        test::load_bytes(Spoilt(stored).number("state.size", 0, std::uint64_t{28}).bytes(), layer);
      }),
      {"tensor \"state.level4\": is missing"}));
  refuses(layer, Spoilt(stored).number("state.size", 0, std::uint64_t{8}),
          "tensor \"state.level2\": belongs to nothing that was loaded");
  refuses(layer, Spoilt(stored).number("learning_rate", 0, -0.5),
          "learning_rate is -0.5; it must be finite and at least 0");

  using Heads = MultiHeadAttention<Layer>;
  const Heads::Options heads{.d_model = 4, .d_k = 4, .d_v = 4, .n_heads = 2, .learning_rate = 0.05};
  Heads two(heads);
  refuses(two, Spoilt(two).number("head1.learning_rate", 0, 0.5),
          "learning_rate of head 1 is 0.5; it must be between 0.05 and 0.05");
}

TEST_CASE("Magnitudes that would overflow at once, or later") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  const float large = 3e38f;
  CHECK(test::mentions(
      test::error_of(
          [&] { test::load_bytes(Spoilt(stored).number("w_key", 0, large).bytes(), layer); }),
      {"the largest weight is 3.0000000054977558e+38; it must be between 0 and 8.5"}));
  CHECK(test::mentions(test::error_of([&] {
                         test::load_bytes(Spoilt(stored).number("state.level3", 5, large).bytes(),
                                          layer);
                       }),
                       {"state: the magnitude of the levels is ",
                        "e+38; it must be between 0 and 8.5070586659632215e+37"}));
  refuses(layer, Spoilt(stored).number("state.magnitude", 0, -1.0),
          "state: magnitude is -1; it must be between 0 and 8.5070586659632215e+37");
  refuses(layer, Spoilt(stored).number("state.magnitude", 0, 1e39),
          "state: magnitude is 1e+39; it must be between 0 and 8.5070586659632215e+37");
  CHECK(test::mentions(test::error_of([&] {
                         test::load_bytes(Spoilt(stored)
                                              .number("state.buffered_keys", 0, large)
                                              .number("state.buffered_values", 0, large)
                                              .bytes(),
                                          layer);
                       }),
                       {"state: the magnitude of a buffered leaf is "}));
  CHECK(test::mentions(test::error_of([&] {
                         test::load_bytes(Spoilt(stored)
                                              .number("state.recent.decay", 0, large)
                                              .number("state.level3", 5, 1e5f)
                                              .bytes(),
                                          layer);
                       }),
                       {"state: the magnitude of all tokens is "}));

  // A bound that is too small would let later tokens overflow; it is measured anew.
  Layer trusting(options());
  test::load_bytes(
      Spoilt(stored).number("state.level3", 5, 8e37f).number("state.magnitude", 0, 0.0).bytes(),
      trusting);
  const Tensors measured = test::parsed(test::saved(trusting));
  const double largest = detail::max_abs(trusting.log_linear_state().flat_state());
  CHECK(largest > 1e37);
  CHECK(measured.matrix<double>("state.magnitude")(0) >= largest);
  CHECK(trusting.log_linear_state().flat_state().allFinite());
}

TEST_CASE("A readout's factors") {
  using Readout = RecursiveLeastSquares<double>;
  Readout readout({.features = 3, .initial_covariance = 10});
  readout.update(Eigen::Vector3d(1, 2, 3), Eigen::VectorXd::Ones(1));
  const Readout stored(readout);
  refuses(readout, Spoilt(stored).number("diagonal", 1, 0.0),
          "the smallest of D is 0; it must be between 2.2250738585072014e-308 and 10");
  refuses(readout, Spoilt(stored).number("diagonal", 1, -1.0),
          "the smallest of D is -1; it must be between 2.2250738585072014e-308 and 10");
  refuses(readout, Spoilt(stored).number("diagonal", 1, 10.5),
          "the largest of D is 10.5; it must be between 2.2250738585072014e-308 and 10");
  refuses(readout, Spoilt(stored).number("upper", 3, 0.5),
          "U is another matrix; it must be unit upper triangular");
  refuses(readout, Spoilt(stored).number("upper", 0, 2.0),
          "U is another matrix; it must be unit upper triangular");
  CHECK(test::mentions(test::error_of([&] {
                         test::load_bytes(Spoilt(stored).number("weights", 0, 1e308).bytes(),
                                          readout);
                       }),
                       {"the largest weight is 1e+308"}));
}

TEST_CASE("What no steps leave behind") {
  Layer layer = used<Layer>(options(), 3);
  const Layer stored = used<Layer>(options());
  for (const std::uint64_t count : {~std::uint64_t{0}, ~std::uint64_t{0} - 1}) {
    refuses(
        layer, Spoilt(stored).number("step.count", 0, count),
        "step.count is " + std::to_string(count) + "; it must be between 0 and 9007199254740992");
  }
  // The mean of squares after few steps divides by 1 - beta2^t.
  const std::string before = test::saved(layer);
  for (const char* const name : {"step.square", "step.free_square"}) {
    const std::string bytes = Spoilt(stored).number(name, 0, 0x1p125f).bytes();
    CHECK(
        test::mentions(test::error_of([&] { test::load_bytes(bytes, layer); }),
                       {"test.safetensors: a mean square of gradients is 4.25", "between 0 and"}));
  }
  const bool unchanged = test::saved(layer) == before;
  CHECK(unchanged);
}
