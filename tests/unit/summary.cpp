// SPDX-License-Identifier: MIT
#include "loglinear/mode/summary.hpp"

#include <sstream>
#include <string>

#include "catch.hpp"
#include "loglinear/mode/attention.hpp"
#include "loglinear/rules/delta_product.hpp"
#include "loglinear/rules/gla.hpp"

using namespace loglinear;

namespace {

/// A stream that is none of the standard library's.
struct Log {
  std::string text{};
  Log& operator<<(const std::string& more) {
    text += more;
    return *this;
  }
};

/// The bytes of a layer's levels, counted on the vector of all of them.
template <class Layer>
std::string bytes_of_levels(const Layer& layer, std::size_t size) {
  return std::to_string(static_cast<std::size_t>(layer.state().size()) * size) + " bytes of levels";
}

}  // namespace

TEST_CASE("The summary of a log-linear layer says what it is made of") {
  const LogLinearAttention<GLA> layer({.inner = {.gate_bias = 6},
                                       .d_model = 5,
                                       .d_k = 3,
                                       .d_v = 2,
                                       .max_levels = 7,
                                       .level_weights = {.tau = 0.5},
                                       .read_order = ReadOrder::current_apart,
                                       .bias = false});
  // W_k, W_v and W_q have 3 + 2 + 3 rows, W_lambda 7 + 1, the gate 1: 17 rows of 5;
  // lambda_init is 1 / 7.
  CHECK(summary(layer) ==
        "rule            gla(gate_bias=6)\n"
        "level weights   normalized_mixture(lambda_init=0.14285714285714285, tau=0.5)\n"
        "sizes           d_model 5, d_k 3, d_v 2\n"
        "levels          7 of 3 x 2\n"
        "read order      current_apart\n"
        "learning        normalized, rate 0.02, without biases\n"
        "parameters      85\n"
        "memory          680 bytes of weights, 336 bytes of levels\n");
  CHECK(summary(layer).find(bytes_of_levels(layer, sizeof(double))) != std::string::npos);
}

TEST_CASE("A summary counts the bytes of the type that levels are stored as") {
  const LogLinearAttention<DeltaProduct<3>, float, UnitWeights, Eigen::bfloat16> layer(
      {.inner = {.reflections = true}, .d_model = 4, .d_k = 4, .d_v = 4, .max_levels = 5});
  const std::string text = summary(layer);
  CHECK(text.find("delta_product<3>(reflections=true, gate_bias=0, beta_bias=0)\n") !=
        std::string::npos);
  CHECK(text.find("unit_weights\n") != std::string::npos);
  CHECK(text.find(bytes_of_levels(layer, 2)) != std::string::npos);
}

TEST_CASE("The summary of several heads counts all of them, W_out too") {
  const MultiHeadAttention<LinearAttention<GLA, float>> layer(
      {.d_model = 6, .d_k = 3, .d_v = 2, .n_heads = 5, .bias = false});
  const std::string text = summary(layer);
  // Each head has 3 + 2 + 3 + 1 rows of 6, W_out has 6 rows of 5 x 2.
  CHECK(text.starts_with("heads           5\nrule            gla\n"));
  CHECK(text.find("bound           always\n") != std::string::npos);
  CHECK(text.find("parameters      330\n") != std::string::npos);
  CHECK(text.find("1320 bytes of weights, " + bytes_of_levels(layer, sizeof(float))) !=
        std::string::npos);
}

TEST_CASE("A layer chosen at run time has the summary of its mode") {
  const auto layer = make_attention<float>({.d_model = 6,
                                            .n_heads = 2,
                                            .d_k = 3,
                                            .d_v = 2,
                                            .mode = LogLinear{.inner = GLA{}},
                                            .learning_rate = 0.25,
                                            .bias = true});
  const std::string text = summary(*layer);
  CHECK(text.starts_with("heads           2\nmode            log_linear(gla)\n"));
  CHECK(text.find("sizes           d_model 6, d_k 3, d_v 2\n") != std::string::npos);
  CHECK(text.find("read order      after_push\nlearning        sgd, rate 0.25, with biases\n"
                  "bound           always\n") != std::string::npos);
  CHECK(text.find(bytes_of_levels(*layer, sizeof(float))) != std::string::npos);
}

TEST_CASE("Any stream that takes a std::string takes a layer") {
  const LinearAttention<GLA> layer({.d_model = 4, .d_k = 2, .d_v = 2});
  Log log;
  std::ostringstream stream;
  log << layer << std::string("the end");
  stream << layer << "the end";
  CHECK(log.text == summary(layer) + "the end");
  CHECK(stream.str() == log.text);
}
