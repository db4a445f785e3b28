// SPDX-License-Identifier: MIT
// Everything but a single layer: heads, readouts, plain states, mixers, several objects in a file.
#include <string>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "mixers_cases.hpp"

namespace mine {

/// A rule outside the library: RetNet's numbers under another name.
struct Halving : loglinear::RetNet {};
std::string to_text(const Halving& rule) {
  return "halving(gamma=" + std::to_string(rule.gamma) + ")";
}

/// An object outside the library, with a part that takes its size from the file.
class Counter {
 public:
  explicit Counter(int start = 0) : count_(start) {}
  void count(double value) {
    ++count_;
    seen_.conservativeResize(seen_.size() + 1);
    seen_[seen_.size() - 1] = value;
  }
  bool operator==(const Counter& other) const {
    return count_ == other.count_ && seen_.size() == other.seen_.size() && seen_ == other.seen_;
  }

  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("count", self.count_);
    if constexpr (loglinear::detail::is_written<Self>) self.seen_.resize(0);
    part("seen", self.seen_);
    if (self.seen_.size() > self.count_) {
      loglinear::detail::fail("count", self.count_, "at least the number of values seen");
    }
  }

 private:
  int count_;
  Eigen::VectorXd seen_;
};

}  // namespace mine

namespace {

using namespace loglinear;

template <class Object>
void check_same_bytes(const Object& a, const Object& b) {
  const bool same = test::saved(a) == test::saved(b);
  CHECK(same);
}

}  // namespace

TEST_CASE("A multi-head layer goes on bit for bit") {
  using Layer = MultiHeadAttention<LogLinearAttention<GLA, float>>;
  typename Layer::Options options{.inner = {.gate_bias = 3},
                                  .d_model = 6,
                                  .d_k = 16,
                                  .d_v = 8,
                                  .n_heads = 3,
                                  .learning_rate = 0.05};
  Layer layer(options);
  options.seed = 1;
  options.learning_rate = 0;
  options.threads = 2;  // is of no importance
  Layer other(options);
  test::Random random(1);
  for (int t = 0; t < 50; ++t) {
    layer.train_one(random.vector<float>(6), random.vector<float>(6));
    if (t % 7 != 3) continue;
    test::load_bytes(test::saved(layer), other);
    check_same_bytes(layer, other);
    Layer undisturbed(layer);
    const auto x = random.vector<float>(6), y = random.vector<float>(6);
    CHECK(test::same_bits(undisturbed.train_one(x, y), other.train_one(x, y)));
    check_same_bytes(undisturbed, other);
  }
  options.bound = OutputBound::none;
  Layer unbounded(options);
  CHECK(test::mentions(test::error_of([&] { test::load_bytes(test::saved(layer), unbounded); }),
                       {"bound is \"always\"; it must be \"none\""}));
}

TEST_CASE("A readout goes on bit for bit") {
  using Readout = RecursiveLeastSquares<double>;
  const Readout::Options options{.features = 5, .outputs = 2, .forgetting = 0.99};
  Readout readout(options), other(options);
  test::Random random(2);
  for (int t = 0; t < 40; ++t) {
    if (t % 13 == 0) test::load_bytes(test::saved(readout), other);
    const auto phi = random.vector<double>(5), y = random.vector<double>(2);
    CHECK(test::same_bits(readout.update(phi, y), other.update(phi, y)));
  }
  CHECK(readout.update_count() == other.update_count());
  check_same_bytes(readout, other);
}

TEST_CASE("A layer's steps go on bit for bit, whatever their rule") {
  using Layer = LogLinearAttention<GLA, float>;
  for (const StepRule rule : {StepRule::sgd, StepRule::adam, StepRule::normalized}) {
    const Layer::Options options{
        .d_model = 4, .d_k = 3, .d_v = 2, .step = Step{.rule = rule}, .bias = true};
    Layer layer(options), other(options);
    test::Random random(5);
    for (int t = 0; t < 60; ++t) {
      if (t % 17 == 5) test::load_bytes(test::saved(layer), other);
      const auto x = (30 * random.vector<float>(4)).eval(), y = random.vector<float>(2);
      const auto trained = layer.train_one(x, y);
      if (t >= 5) CHECK(test::same_bits(trained, other.train_one(x, y)));
    }
    check_same_bytes(layer, other);
    Layer unlike(
        {.d_model = 4, .d_k = 3, .d_v = 2, .step = Step{.rule = rule, .clip = 1}, .bias = true});
    CHECK_THROWS_AS(test::load_bytes(test::saved(layer), unlike), CheckpointError);
  }
}

TEST_CASE("A cascade goes on bit for bit") {
  Cascade<float> cascade({.d_k = 3, .outputs = 2, .max_levels = 5, .kappa = 0.3});
  Cascade<float> other({.d_k = 3, .outputs = 2, .max_levels = 5, .prior = 7});
  test::Random random(4);
  cascade.readout().set_prior(random.vector<float>(2));
  for (int t = 0; t < 40; ++t) {
    if (t % 13 == 0) test::load_bytes(test::saved(cascade), other);
    const auto key = random.vector<float>(3).cwiseAbs().eval(), y = random.vector<float>(2);
    CHECK(test::same_bits(cascade.features(key), other.features(key)));
    cascade.write(key, y);
    other.write(key, y);
  }
  check_same_bytes(cascade, other);
  Cascade<float> wider({.d_k = 3, .outputs = 1, .max_levels = 5});
  CHECK_THROWS_AS(test::load_bytes(test::saved(cascade), wider), CheckpointError);
}

TEST_CASE("A hierarchy, sized at compile time or not") {
  LogLinearState<float> state(5, 3, 4), other(5, 3, 4);
  LogLinearState<float, 3, 4, 5> fixed;
  test::Random random(3);
  other.push_leaf(random.vector<float>(3), random.vector<float>(4));
  for (int n = 0; n < 40; ++n) {
    test::load_bytes(test::saved(state), other);
    test::load_bytes(test::saved(state), fixed);
    CHECK(other == state);
    CHECK(test::same_bits(fixed.flat_state(), state.flat_state()));
    state.push_leaf(random.vector<float>(3), random.vector<float>(4));
  }
}

TEST_CASE("A mixer's cache, and its weights under the names of a state_dict") {
  const LogLinearMamba2<float>::Options options{.hidden_size = 8,
                                                .num_heads = 2,
                                                .head_dim = 8,
                                                .state_size = 4,
                                                .n_groups = 1,
                                                .num_levels = 4};
  const LogLinearMamba2<float> mixer(options);
  auto cache = mixer.make_cache(), other = mixer.make_cache();
  // A cache after one token, made by hand: a step of the mixer takes long to compile.
  test::Random random(4);
  const Tensors empty = test::parsed(test::saved(cache));
  Tensors one;
  one.metadata = empty.metadata;
  for (const std::string& name : empty.names()) {
    Tensor tensor = empty[name];
    if (name.ends_with(".size")) {
      tensor.bytes[0] = std::byte{1};
      one.add(name.substr(0, 6) + "level0", random.matrix<float>(4, 8));
    }
    if (name == "convolution0") {
      one.add(name, random.matrix<float>(3, 24));
    } else {
      one.add(name, tensor);
    }
  }
  const std::string file = test::file_of(one);
  test::load_bytes(file, cache);
  CHECK(cache.size() == 1);
  CHECK(test::same_bits(cache.state(1).level(0), one.matrix<float>("head1.level0")));
  CHECK(test::same_bits(cache.convolution_inputs()[0], one.matrix<float>("convolution0")));
  CHECK(!(other == cache));
  test::load_bytes(test::saved(cache), other);
  CHECK(other == cache);

  auto another = options;
  another.seed += 1;
  LogLinearMamba2<float> filled(another);
  Tensors tensors = weights_of(mixer);
  CHECK(tensors["conv1d.weight"].shape.size() == 3);
  CHECK(tensors["A_log"].shape == std::vector<std::uint64_t>{2});
  CHECK(tensors["L"].shape == std::vector<std::uint64_t>{2, 4});
  set_weights(filled, tensors);
  for (const std::string& name : mixer.weight_names()) {
    CHECK(test::same_bits(filled.weight(name), mixer.weight(name)));
  }
}

TEST_CASE("Weights under other names, in other dtypes, from other shapes") {
  using Layer = LogLinearAttention<Mamba2, double, SoftplusWeights>;
  Layer layer({.d_model = 3, .d_k = 2, .d_v = 2, .max_levels = 2});
  test::Random random(5);
  Tensors tensors;
  const auto key = random.matrix<double>(2, 3);
  for (const std::string& name : layer.weight_names()) {
    const auto weight = layer.weight(name);
    if (name != "w_key") tensors.add(name, weight.cast<float>());
  }
  tensors.add("attention.k_proj.weight", key, DType::bf16);
  tensors.add("unrelated", random.matrix<double>(9, 9));
  const WeightNames names{{"w_key", "attention.k_proj.weight"}};
  set_weights(layer, tensors, names);
  CHECK(test::difference(layer.weight("w_key"), key) < 0x1p-8);  // eight digits of numbers below 1
  CHECK(!test::same_bits(layer.weight("w_key"), key));

  // What does not fit leaves every weight as it was, also those that came first.
  const Layer before(layer);
  const auto refuses = [&](const Tensors& wrong, const WeightNames& wrong_names,
                           const std::string& message) {
    CHECK(test::error_of([&] { set_weights(layer, wrong, wrong_names); }) ==
          "loglinear: tensors: " + message);
    check_same_bytes(layer, before);
  };
  refuses(tensors, {{"w_kez", "a"}}, "the layer has no weight \"w_kez\"");
  CHECK(test::mentions(test::error_of([&] { set_weights(layer, tensors, {}); }),
                       {"tensor \"w_key\": is missing; there are \"A_log\" \"attention.k_proj"}));
  const auto replaced = [&](const std::string& name, const auto& value) {
    Tensors other;
    for (const std::string& known : tensors.names()) {
      if (known != name) other.add(known, tensors[known]);
    }
    other.add(name, value, DType::f64);
    return other;
  };
  refuses(replaced("dt_bias", random.matrix<double>(2, 1)), names,
          "tensor \"dt_bias\": is F64[2, 1]; dt_bias is [1, 1]");
  refuses(replaced("w_query", random.matrix<double>(3, 2)), names,
          "tensor \"w_query\": is F64[3, 2]; w_query is [2, 3]");
  refuses(replaced("w_value", test::Matrix<double>::Constant(2, 3, 1e308)), names,
          "tensor \"w_value\": its largest coefficient is 1e+308; it must be at most "
          "4.4942328371557893e+307");
  // A single row or column may be a vector, and the other way round.
  set_weights(layer, replaced("w_dt", test::Vector<double>(random.vector<double>(3))), names);
  set_weights(layer, replaced("A_log", random.matrix<double>(1, 1)), names);
}

TEST_CASE("Several objects in one file, one of a class from outside") {
  using Layer = LogLinearAttention<mine::Halving, double>;
  const typename Layer::Options options{.d_model = 2, .d_k = 2, .d_v = 2, .max_levels = 3};
  Layer layer(options);
  layer.set_weight("w_key", Eigen::Matrix2d::Constant(3));
  mine::Counter counter;
  counter.count(3);
  counter.count(4);
  Checkpoint out;
  out.put("layer", layer);
  out.put("counter", counter);
  CHECK(out.tensors().metadata.at("layer.inner") == "halving(gamma=0.950000)");
  CHECK(test::error_of([&] { out.put("counter", counter); }) ==
        "loglinear: tensors: tensor \"counter.count\": is there already");

  Checkpoint in(test::parsed(test::file_of(Checkpoint(out).tensors())));
  CHECK(test::mentions(test::error_of([&] { in.require_all_read(); }),
                       {"belongs to nothing that was loaded"}));
  Layer other(options);
  mine::Counter counted(7);
  in.get("layer", other);
  in.get("counter", counted);
  in.require_all_read();
  check_same_bytes(other, layer);
  CHECK(counted == counter);

  Tensors wrong = test::parsed(test::file_of(Checkpoint().tensors()));
  wrong.add("c.seen", Eigen::VectorXd::Ones(3));
  const int two = 2;
  loglinear::detail::PartWriter(wrong, "c.")("count", two);
  Checkpoint contradictory(wrong);
  CHECK(
      test::error_of([&] { contradictory.get("c", counted); }) ==
      "loglinear: test.safetensors: c: count is 2; it must be at least the number of values seen");
  CHECK(counted == counter);
}

TEST_CASE("Layers with narrow levels") {
  const auto check = []<class Stored>(Stored, const std::string& dtype) {
    using Narrow = LogLinearAttention<GatedDeltaNet, float, NormalizedMixture, Stored>;
    const typename Narrow::Options options{
        .inner = {.gate_bias = 4}, .d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 6};
    Narrow layer(options), other(options);
    test::Random random(4);
    for (int t = 0; t < 27; ++t) layer.forward(random.vector<float>(3));
    test::load_bytes(test::saved(layer), other);
    check_same_bytes(layer, other);
    const Eigen::VectorXf x = random.vector<float>(3);
    CHECK(layer.forward(x) == other.forward(x));
    const Tensors stored = test::parsed(test::saved(layer));
    CHECK(name_of(stored["state.level3"].dtype) == dtype);
    CHECK(stored.metadata.at("levels") == dtype);

    LogLinearAttention<GatedDeltaNet, float> wide(
        {.inner = {.gate_bias = 4}, .d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 6});
    CHECK(test::mentions(test::error_of([&] { test::load_bytes(test::saved(layer), wide); }),
                         {"levels is \"" + dtype + "\"", "it must be \"F32\""}));
  };
  check(Eigen::bfloat16{}, "BF16");
  check(Eigen::half{}, "F16");
}
