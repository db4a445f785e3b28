// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_MIXERS_HPP
#define LOGLINEAR_TESTS_ORACLES_MIXERS_HPP

// The mixers of the paper written down once more, token by token and number by number in double;
// only the hierarchy is the library's dense oracle.

#include <cmath>
#include <string>

#include "loglinear/mixers.hpp"
#include "loglinear/sequence.hpp"
#include "support.hpp"

namespace loglinear::test {

using Array = loglinear::detail::RowMajorMatrix<double>;

inline double sigmoid(double z) {
  return 1 / (1 + std::exp(-z));
}
inline double silu(double z) {
  return z * sigmoid(z);
}
inline double softplus(double z) {
  return z > 30 ? z : std::log(1 + std::exp(z));
}

/// x W^T + b; `bias` may be nullptr.
template <class Weight>
Array project(const Array& x, const Weight& weight, const Weight* bias = nullptr) {
  Array y = Array::Zero(x.rows(), weight.rows());
  for (Index t = 0; t < y.rows(); ++t) {
    for (Index i = 0; i < y.cols(); ++i) {
      y(t, i) = bias == nullptr ? 0 : (*bias)(i, 0);
      for (Index j = 0; j < x.cols(); ++j) y(t, i) += weight(i, j) * x(t, j);
    }
  }
  return y;
}

/// silu of the causal convolution: the last tap is on the token itself.
template <class Weight>
Array short_convolution(const Array& x, const Weight& weight, const Weight* bias) {
  Array y = Array::Zero(x.rows(), x.cols());
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index c = 0; c < x.cols(); ++c) {
      double sum = bias == nullptr ? 0 : (*bias)(c, 0);
      for (Index back = 0; back < weight.cols() && back <= t; ++back) {
        sum += weight(c, weight.cols() - 1 - back) * x(t - back, c);
      }
      y(t, c) = silu(sum);
    }
  }
  return y;
}

/// Columns [first, first + count) of row t divided by their root mean square.
inline void normalise(Array& y, Index t, Index first, Index count, double eps) {
  double sum = 0;
  for (Index i = first; i < first + count; ++i) sum += y(t, i) * y(t, i);
  const double root = std::sqrt(sum / static_cast<double>(count) + eps);
  for (Index i = first; i < first + count; ++i) y(t, i) /= root;
}

/// Columns [first, first + count) divided by their length.
inline Array unit(const Array& x, Index first, Index count) {
  Array y(x.rows(), count);
  for (Index t = 0; t < x.rows(); ++t) {
    double sum = 0;
    for (Index i = 0; i < count; ++i) sum += x(t, first + i) * x(t, first + i);
    for (Index i = 0; i < count; ++i) y(t, i) = x(t, first + i) / std::sqrt(sum + 1e-6);
  }
  return y;
}

/// The level weights of one head; `dl` has those of all heads before L, or nothing.
template <class Mixer>
Array level_weights(const Mixer& mixer, const Array& x, const Array& dl, Index head) {
  const auto& o = mixer.options();
  if (o.level_weights == loglinear::MixerLevelWeights::one_state) {
    return Array::Ones(x.rows(), 2);
  }
  Array z = dl;
  const bool is_network = o.level_weights == loglinear::MixerLevelWeights::mlp;
  if (is_network) {
    const Array hidden = project(x, mixer.weight("l_mlp.0.weight"), &mixer.weight("l_mlp.0.bias"));
    z = project(Array(hidden.unaryExpr(&silu)), mixer.weight("l_mlp.2.weight"),
                &mixer.weight("l_mlp.2.bias"));
  }
  Array lambda(x.rows(), o.num_levels);
  for (Index t = 0; t < lambda.rows(); ++t) {
    for (Index l = 0; l < lambda.cols(); ++l) {
      const double scale = is_network ? 1 : mixer.weight("L")(head, l);
      lambda(t, l) = softplus(scale * z(t, head * o.num_levels + l));
    }
  }
  return lambda;
}

inline Array reference(const loglinear::LogLinearMamba2<double>& mixer, const Array& x) {
  const auto& o = mixer.options();
  const Index inner = o.num_heads * o.head_dim, keys = o.n_groups * o.state_size;
  const Index conv = inner + 2 * keys, dt = inner + conv, dl = dt + o.num_heads;
  const auto optional = [&](const char* name, bool there) {
    return there ? &mixer.weight(name) : nullptr;
  };
  const Array all =
      project(x, mixer.weight("in_proj.weight"), optional("in_proj.bias", o.use_bias));
  const Array mixed = short_convolution(all.middleCols(inner, conv), mixer.weight("conv1d.weight"),
                                        optional("conv1d.bias", o.use_conv_bias));
  Array y(x.rows(), inner);
  for (Index h = 0; h < o.num_heads; ++h) {
    const Index group = h / (o.num_heads / o.n_groups), first = h * o.head_dim;
    Array v(x.rows(), o.head_dim), g(x.rows(), 1);
    for (Index t = 0; t < x.rows(); ++t) {
      const double step = softplus(all(t, dt + h) + mixer.weight("dt_bias")(h, 0));
      g(t, 0) = -std::exp(mixer.weight("A_log")(h, 0)) * step;
      for (Index i = 0; i < o.head_dim; ++i) v(t, i) = step * mixed(t, first + i);
    }
    const Array q = o.scale * mixed.middleCols(inner + keys + group * o.state_size, o.state_size);
    const Array k = mixed.middleCols(inner + group * o.state_size, o.state_size);
    const Array lambda = level_weights(mixer, x, all.rightCols(all.cols() - dl), h);
    const loglinear::LogLinearState<double> empty(static_cast<int>(lambda.cols()) - 1, o.state_size,
                                                  o.head_dim);
    const Array reads =
        loglinear::dense<double>({.q = q, .k = k, .v = v, .lambda = lambda, .g = g}, empty);
    for (Index t = 0; t < x.rows(); ++t) {
      for (Index i = 0; i < o.head_dim; ++i) {
        const double skip = mixer.weight("D")(o.D_has_hdim ? first + i : h, 0);
        y(t, first + i) = reads(t, i) + skip * mixed(t, first + i);
      }
    }
  }
  const Index run = o.norm_per_group ? inner / o.n_groups : inner;
  for (Index t = 0; t < x.rows(); ++t) {
    const auto pass_gate = [&] {
      for (Index i = 0; i < inner; ++i) y(t, i) *= silu(all(t, i));
    };
    if (!o.norm_before_gate) pass_gate();
    for (Index first = 0; first < inner; first += run) normalise(y, t, first, run, o.norm_eps);
    for (Index i = 0; i < inner; ++i) y(t, i) *= mixer.weight("norm.weight")(i, 0);
    if (o.norm_before_gate) pass_gate();
  }
  return project(y, mixer.weight("out_proj.weight"), optional("out_proj.bias", o.use_bias));
}

inline Array reference(const loglinear::LogLinearGatedDeltaNet<double>& mixer, const Array& x) {
  const auto& o = mixer.options();
  const Index heads = o.num_v_heads == 0 ? o.num_heads : o.num_v_heads;
  const auto d_v = static_cast<Index>(o.expand_v * static_cast<double>(o.head_dim));
  const auto path = [&](const std::string& name) {
    const Array projected = project(x, mixer.weight(name + "_proj.weight"));
    if (!o.use_short_conv) return Array(projected.unaryExpr(&silu));
    return short_convolution(projected, mixer.weight(name + "_conv1d.weight"),
                             o.conv_bias ? &mixer.weight(name + "_conv1d.bias") : nullptr);
  };
  const Array queries = path("q"), keys = path("k"), values = path("v");
  const Array a = project(x, mixer.weight("a_proj.weight"));
  const Array b = project(x, mixer.weight("b_proj.weight"));
  const bool is_scaled = o.level_weights == loglinear::MixerLevelWeights::softplus;
  const Array dl = is_scaled ? project(x, mixer.weight("l_proj.weight")) : Array();
  Array y(x.rows(), heads * d_v);
  for (Index h = 0; h < heads; ++h) {
    const Index group = h / (heads / o.num_heads);
    const Array q = o.scale * unit(queries, group * o.head_dim, o.head_dim);
    const Array k = unit(keys, group * o.head_dim, o.head_dim);
    const Array v = values.middleCols(h * d_v, d_v);
    const Array lambda = level_weights(mixer, x, dl, h);
    Array g(x.rows(), 1), beta(x.rows(), 1);
    for (Index t = 0; t < x.rows(); ++t) {
      g(t, 0) = -std::exp(mixer.weight("A_log")(h, 0)) *
                softplus(a(t, h) + mixer.weight("dt_bias")(h, 0));
      beta(t, 0) = (o.allow_neg_eigval ? 2 : 1) * sigmoid(b(t, h));
    }
    const loglinear::LogLinearState<double> empty(static_cast<int>(lambda.cols()) - 1, o.head_dim,
                                                  d_v);
    y.middleCols(h * d_v, d_v) = loglinear::dense<double>(
        {.q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta}, empty);
  }
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index h = 0; h < heads; ++h) normalise(y, t, h * d_v, d_v, o.norm_eps);
  }
  const Array gate = o.use_gate ? project(x, mixer.weight("g_proj.weight")) : y;
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index i = 0; i < y.cols(); ++i) {
      y(t, i) *= mixer.weight("o_norm.weight")(i % d_v, 0) * (o.use_gate ? silu(gate(t, i)) : 1);
    }
  }
  return project(y, mixer.weight("o_proj.weight"));
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_MIXERS_HPP
