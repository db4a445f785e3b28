// SPDX-License-Identifier: MIT
#include "fused.hpp"

#include <torch/autograd.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace learning {

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using Row = Eigen::Map<Eigen::Array<float, 1, Eigen::Dynamic>>;

/// Rows of a tensor's last dimension, for a tensor of one piece.
class Rows {
 public:
  explicit Rows(const Tensor& tensor) : data_(tensor.data_ptr<float>()), width_(tensor.size(-1)) {}
  [[nodiscard]] Row operator[](std::int64_t i) const { return {data_ + i * width_, width_}; }

 private:
  float* data_;
  std::int64_t width_;
};

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& input, const Tensor& weight,
                        double epsilon) {
    const Tensor x = input.contiguous(), y = torch::empty_like(x);
    const std::int64_t count = x.numel() / x.size(-1);
    const Tensor scales = torch::empty({count}, x.options());
    const Rows xs(x), ys(y);
    const Row w = Rows(weight)[0];
    for (std::int64_t i = 0; i < count; ++i) {
      const float scale = 1 / std::sqrt(xs[i].square().mean() + static_cast<float>(epsilon));
      scales.data_ptr<float>()[i] = scale;
      ys[i] = scale * xs[i] * w;
    }
    context->save_for_backward({x, weight, scales});
    return y;
  }

  // With n = s x, s the scale:  dx = s (w dy - n mean(w dy n)),  dw = sum over rows of dy n.
  static tensor_list backward(AutogradContext* context, const tensor_list& d_outputs) {
    const tensor_list saved = context->get_saved_variables();
    const Tensor d_y = d_outputs[0].contiguous();
    const Tensor d_x = torch::empty_like(d_y), d_weight = torch::zeros_like(saved[1]);
    const Rows xs(saved[0]), d_ys(d_y), d_xs(d_x);
    const Row w = Rows(saved[1])[0];
    Row d_w = Rows(d_weight)[0];
    const std::int64_t count = d_y.numel() / d_y.size(-1);
    for (std::int64_t i = 0; i < count; ++i) {
      const float scale = saved[2].data_ptr<float>()[i];
      const Row x = xs[i], d = d_ys[i];
      d_w += scale * d * x;
      const float along = scale * scale * (w * d * x).mean();
      d_xs[i] = scale * (w * d - along * x);
    }
    return {d_x, d_weight, Tensor()};
  }
};

/// A batch of sequences whose channels are contiguous: a row a token.
class Sequences {
 public:
  explicit Sequences(const Tensor& x)
      : data_(x.data_ptr<float>()), batch_(x.stride(0)), time_(x.stride(1)), width_(x.size(2)) {}
  [[nodiscard]] Row at(std::int64_t b, std::int64_t t) const {
    return {data_ + b * batch_ + t * time_, width_};
  }

 private:
  float* data_;
  std::int64_t batch_, time_, width_;
};

struct ConvolutionFunction : torch::autograd::Function<ConvolutionFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight) {
    const Tensor y = torch::empty(x.sizes(), x.options());
    const Sequences xs(x), ys(y);
    const Rows w(weight);
    const std::int64_t last = weight.size(0) - 1;
    for (std::int64_t b = 0; b < x.size(0); ++b) {
      for (std::int64_t t = 0; t < x.size(1); ++t) {
        Row y_t = ys.at(b, t);
        y_t = w[last] * xs.at(b, t);
        for (std::int64_t age = 1; age <= std::min(last, t); ++age) {
          y_t += w[last - age] * xs.at(b, t - age);
        }
      }
    }
    context->save_for_backward({x, weight});
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& d_outputs) {
    const tensor_list saved = context->get_saved_variables();
    const Tensor d_y = d_outputs[0].contiguous();
    const Tensor d_x = torch::empty_like(d_y), d_weight = torch::zeros_like(saved[1]);
    const Sequences xs(saved[0]), d_ys(d_y), d_xs(d_x);
    const Rows w(saved[1]), d_w(d_weight);
    const std::int64_t last = saved[1].size(0) - 1, length = d_y.size(1);
    for (std::int64_t b = 0; b < d_y.size(0); ++b) {
      for (std::int64_t s = 0; s < length; ++s) {  // every use of x_s
        Row d_x_s = d_xs.at(b, s);
        d_x_s.setZero();
        for (std::int64_t age = 0; age <= std::min(last, length - 1 - s); ++age) {
          const Row d = d_ys.at(b, s + age);
          d_x_s += w[last - age] * d;
          d_w[last - age] += xs.at(b, s) * d;
        }
      }
    }
    return {d_x, d_weight};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  return RmsNormFunction::apply(x, weight, epsilon);
}

Tensor causal_convolution(const Tensor& x, const Tensor& weight) {
  return ConvolutionFunction::apply(x, weight);
}

}  // namespace learning
