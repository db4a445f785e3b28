// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_LAW_BATCH_HPP
#define LOGLINEAR_TESTS_LAW_BATCH_HPP

// Batches with random numbers, laid out in memory in several ways, and their heads taken out one
// number at a time.

#include <cmath>
#include <string>
#include <vector>

#include "loglinear/batch.hpp"
#include "support.hpp"

namespace loglinear::test {

using namespace loglinear;
using Eigen::Index;
using Rows = detail::RowMajorMatrix<double>;

/// Numbers by their indices.
struct Values {
  Index batch = 0, rows = 0, heads = 0, columns = 0;
  std::vector<double> numbers{};

  [[nodiscard]] double& at(Index b, Index t, Index h, Index d) {
    return numbers[static_cast<std::size_t>(((b * rows + t) * heads + h) * columns + d)];
  }
  /// Head h of `heads_together`, rows [first, first + count).
  [[nodiscard]] Rows head(Index b, Index h, Index heads_together, Index first, Index count) {
    Rows out(count, columns);
    for (Index t = 0; t < count; ++t) {
      for (Index d = 0; d < columns; ++d) {
        out(t, d) = at(b, first + t, h * heads / heads_together, d);
      }
    }
    return out;
  }
};

enum class Layout { bthd, bhtd, gaps, columns_apart, backwards };
inline constexpr Layout layouts[] = {Layout::bthd, Layout::bhtd, Layout::gaps,
                                     Layout::columns_apart, Layout::backwards};

/// Values somewhere in memory.
class Laid {
 public:
  Laid() = default;
  Laid(Values& values, Layout layout) {
    const Index b = values.batch, t = values.rows, h = values.heads, d = values.columns;
    HeadArray<double>::Four strides{};
    switch (layout) {
      case Layout::bthd:
        strides = {t * h * d, h * d, d, 1};
        break;
      case Layout::bhtd:
        strides = {h * t * d, d, t * d, 1};
        break;
      case Layout::gaps:
        strides = {t * (h * (d + 3) + 5) + 7, h * (d + 3) + 5, d + 3, 1};
        break;
      case Layout::columns_apart:
        strides = {d * h * t, 1, t, h * t};
        break;
      case Layout::backwards:
        strides = {t * h * d, -h * d, d, 1};
        break;
    }
    memory_.assign(static_cast<std::size_t>(2 * b * t * h * (d + 3) + 5 * b * t + 7 * b + 9), -77);
    double* const first = memory_.data() + (layout == Layout::backwards ? (t - 1) * h * d : 0);
    array_ = {first, {b, t, h, d}, strides};
    for_each(values, [](double& mine, double& value) { mine = value; });
  }
  [[nodiscard]] const HeadArray<double>& array() const { return array_; }
  [[nodiscard]] const std::vector<double>& memory() const { return memory_; }

  /// Takes what is there.
  void read(Values& values) {
    for_each(values, [](double& mine, double& value) { value = mine; });
  }

 private:
  template <class Use>
  void for_each(Values& values, Use use) {
    for (Index b = 0; b < values.batch; ++b) {
      for (Index t = 0; t < values.rows; ++t) {
        for (Index h = 0; h < values.heads; ++h) {
          for (Index d = 0; d < values.columns; ++d) {
            use(array_.row(b, t, h)[d * array_.strides()[3]], values.at(b, t, h, d));
          }
        }
      }
    }
  }
  std::vector<double> memory_{};
  HeadArray<double> array_{};
};

/// Which arrays there are, rows of them a token, and heads of each.
struct Recipe {
  std::string name;
  Index leaves = 1, updates = 0, decays = 0;
  bool is_delta = false, decays_values = false, has_levels = true;
  Index q_heads = 4, k_heads = 4, v_heads = 4, g_heads = 4;
};
inline const std::vector<Recipe> recipes = {
    {.name = "linear attention"},
    {.name = "one state", .decays = 1, .has_levels = false},
    {.name = "scalar decay, fewer key heads", .decays = 1, .k_heads = 2, .v_heads = 2},
    {.name = "row decay, one gate", .decays = 5, .g_heads = 1},
    {.name = "gated delta rule, more value heads",
     .decays = 1,
     .is_delta = true,
     .q_heads = 2,
     .k_heads = 2},
    {.name = "delta product", .leaves = 3, .decays = 5, .is_delta = true},
    {.name = "rank one, values decay", .updates = 2, .decays = 1, .decays_values = true},
};

/// All nine arrays; those without numbers are absent.
struct Arrays {
  Values q{}, k{}, v{}, lambda{}, g{}, g_value{}, beta{}, u{}, p{};
};
struct LaidArrays {
  Laid q{}, k{}, v{}, lambda{}, g{}, g_value{}, beta{}, u{}, p{};
};

inline Values values(test::Random& random, Index batch, Index rows, Index heads, Index columns,
                     double low, double high) {
  Values all{batch, rows, heads, columns, {}};
  for (Index i = 0; i < batch * rows * heads * columns; ++i) {
    all.numbers.push_back(random.number(low, high));
  }
  return all;
}

inline Arrays arrays(test::Random& random, const Recipe& recipe, Index batch, Index tokens) {
  constexpr Index d_k = 5, d_v = 3;
  const auto make = [&](Index each, Index heads, Index columns, double low, double high) {
    return values(random, batch, tokens * each, heads, columns, low, high);
  };
  Arrays all;
  all.q = make(1, recipe.q_heads, d_k, -1, 1);
  all.k = make(recipe.leaves, recipe.k_heads, d_k, -0.6, 0.6);
  all.v = make(recipe.leaves, recipe.v_heads, d_v, -1, 1);
  if (recipe.has_levels) all.lambda = make(1, 4, 9, 0, 1);
  if (recipe.decays > 0) all.g = make(1, recipe.g_heads, recipe.decays, -0.3, 0);
  if (recipe.decays_values) all.g_value = make(1, 4, d_v, -0.3, 0);
  if (recipe.is_delta) all.beta = make(recipe.leaves, recipe.g_heads, 1, 0, 1);
  if (recipe.updates > 0) {
    all.u = make(recipe.updates, 4, d_k, -0.3, 0.3);
    all.p = make(recipe.updates, 4, d_k, -0.3, 0.3);
  }
  return all;
}

inline LaidArrays lay(Arrays& arrays, Layout layout) {
  LaidArrays all;
  detail::for_each_array(
      [&](const char*, Values& from, Laid& to) {
        if (!from.numbers.empty()) to = Laid(from, layout);
      },
      arrays, all);
  return all;
}

inline BatchInputs<double> inputs(const LaidArrays& laid) {
  BatchInputs<double> in;
  detail::for_each_array(
      [](const char*, const Laid& from, HeadArray<const double>& to) { to = from.array(); }, laid,
      in);
  return in;
}

/// Tokens [first, first + count) of one head, as matrices of its own.
inline SequenceInputs<double> head(Arrays& arrays, Index b, Index h, Index first, Index count) {
  SequenceInputs<double> one{};
  const Index tokens = arrays.q.rows;
  detail::for_each_array(
      [&](const char* name, Values& from, SequenceArray<double>& to) {
        if (from.numbers.empty()) return;
        const Index each = from.rows / tokens;
        Rows rows = from.head(b, h, 4, first * each, count * each);
        if (std::string(name) == "beta") rows.resize(count, each);
        to = std::move(rows);
      },
      arrays, one);
  if (arrays.lambda.numbers.empty()) one.lambda = Rows(Rows::Ones(count, 2));
  return one;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_LAW_BATCH_HPP
