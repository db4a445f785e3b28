// SPDX-License-Identifier: MIT
// Any sequence of operations with any numbers: what is refused changes nothing, and what is taken
// leaves everything finite.
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/rules.hpp>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "target.hpp"

namespace {

using namespace loglinear;

/// Half of them are of order 1; the rest is whatever a float or double can be.
template <class Scalar>
Scalar number(test::Bytes& bytes) {
  const auto choice = bytes.take<std::uint8_t>();
  if (choice < 128) return static_cast<Scalar>(static_cast<int>(choice) - 64) / Scalar(32);
  if (choice < 160) return static_cast<Scalar>(std::bit_cast<float>(bytes.take<std::uint32_t>()));
  if (choice < 192) return static_cast<Scalar>(std::bit_cast<double>(bytes.take<std::uint64_t>()));
  using Limits = std::numeric_limits<Scalar>;
  const Scalar special[] = {Limits::max(),        Limits::lowest(),         Limits::min(),
                            Limits::denorm_min(), Limits::infinity(),       Limits::quiet_NaN(),
                            Limits::max() / 4,    Limits::epsilon(),        Scalar(-0.0),
                            Limits::max() / 5,    std::sqrt(Limits::max()), Scalar(1000)};
  return special[choice % std::size(special)];
}
template <class Scalar>
detail::Matrix<Scalar> matrix(test::Bytes& bytes, Eigen::Index rows, Eigen::Index columns) {
  detail::Matrix<Scalar> m(rows, columns);
  for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = number<Scalar>(bytes);
  return m;
}

/// Everything that a refused call must leave as it was.
template <class Layer>
struct Snapshot {
  explicit Snapshot(const Layer& layer)
      : state(layer.log_linear_state()), steps(layer.train_step_count()) {
    for (const std::string& name : layer.weight_names()) weights.emplace_back(layer.weight(name));
  }
  bool operator==(const Snapshot& other) const {
    return state == other.state && steps == other.steps && weights == other.weights;
  }
  bool is_finite() const {
    bool finite = state.flat_state().allFinite();
    for (const auto& weight : weights) finite = finite && weight.allFinite();
    return finite;
  }

  typename Layer::State state;
  std::uint64_t steps;
  std::vector<detail::Matrix<typename Layer::Scalar>> weights;
};

template <class Layer>
void operate(Layer layer, test::Bytes bytes) {
  using Scalar = typename Layer::Scalar;
  for (int operations = 0; operations < 200 && !bytes.empty(); ++operations) {
    const Snapshot<Layer> before(layer);
    const auto choice = bytes.take<std::uint8_t>();
    try {
      const auto x = matrix<Scalar>(bytes, layer.d_model(), 1).col(0).eval();
      std::uint64_t tokens = 1;
      switch (choice % 8) {
        case 0:
        case 1:
          test::require(layer.forward(x).allFinite(), "outputs are finite");
          break;
        case 2:
        case 3:
          layer.train_one(x, matrix<Scalar>(bytes, layer.output_dim(), 1).col(0).eval());
          break;
        case 4: {
          const auto names = layer.weight_names();
          const std::string& name = names[(choice / 8u) % names.size()];
          const auto old = layer.weight(name);
          layer.set_weight(name, matrix<Scalar>(bytes, old.rows(), old.cols()));
          tokens = 0;
          break;
        }
        case 5: {
          layer.query_readonly(x);
          Layer copy(layer);
          layer = std::move(copy);
          test::require(Snapshot<Layer>(layer) == before, "queries and copies change nothing");
          tokens = 0;
          break;
        }
        case 6:
          layer.set_learning_rate(static_cast<double>(number<Scalar>(bytes)));
          tokens = 0;
          break;
        default: {
          if constexpr (std::is_same_v<Scalar, double>) {  // of one layer: it takes long to compile
            const Eigen::Index rows = choice / 8 % 16;
            const detail::RowMajorMatrix<Scalar> span =
                matrix<Scalar>(bytes, rows, layer.d_model());
            layer.forward_span(span);
            tokens = static_cast<std::uint64_t>(rows);
          } else {
            layer.reset();
            test::require(layer.state().isZero(0), "a reset layer is empty");
            continue;
          }
          break;
        }
      }
      test::require(layer.size() == before.state.size() + tokens, "tokens are counted");
      test::require(Snapshot<Layer>(layer).is_finite(), "what is taken leaves everything finite");
    } catch (const std::invalid_argument&) {
      test::require(Snapshot<Layer>(layer) == before, "what is refused changes nothing");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::Bytes bytes(data, size);
  const auto choice = bytes.take<std::uint8_t>();
  const auto order = static_cast<ReadOrder>(choice / 2 % 3);
  const int levels = 1 + choice / 6 % 4;
  if (choice % 2 == 0) {
    operate(LogLinearAttention<GLA, float>({.inner = {.gate_bias = 2},
                                            .d_model = 2,
                                            .d_k = 8,
                                            .d_v = 8,
                                            .max_levels = levels,
                                            .read_order = order}),
            bytes);
  } else {
    operate(LogLinearAttention<GatedDeltaNet, double>(
                {.d_model = 2, .d_k = 2, .d_v = 3, .max_levels = levels, .read_order = order}),
            bytes);
  }
  return 0;
}
