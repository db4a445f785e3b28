// SPDX-License-Identifier: MIT
// The inner loops of a token against loops over single numbers, for every width that blocks and
// remainders of packets can have, wide and narrow.
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "loglinear/detail/kernels/column_products.hpp"
#include "loglinear/detail/kernels/stepped_rows.hpp"
#include "loglinear/stream/detail/carry.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

// One column, less than a packet, one packet and a rest, up to all blocks of 16 packets of 16 and
// more.
constexpr Index widths[] = {1, 3, 4, 7, 16, 17, 33, 48, 64, 100, 128, 160, 200, 224, 240, 256, 330};
constexpr Index heights[] = {1, 2, 5, 16, 19};

template <class Stored>
struct Numbers {
  using Scalar = Accumulator<Stored>;
  test::Random random{3};

  /// Numbers that `Stored` holds, so that nothing is rounded on the way in.
  std::vector<Stored> stored(Index size) {
    std::vector<Stored> numbers(static_cast<std::size_t>(size));
    for (Stored& number : numbers)
      number = static_cast<Stored>(static_cast<Scalar>(random.number()));
    return numbers;
  }
  std::vector<Scalar> wide(Index size) {
    std::vector<Scalar> numbers(static_cast<std::size_t>(size));
    for (Scalar& number : numbers) number = static_cast<Scalar>(random.number());
    return numbers;
  }
};

template <class Number>
double at(const std::vector<Number>& numbers, Index i) {
  return to_double(numbers[static_cast<std::size_t>(i)]);
}

/// The largest difference that rounding can make in sums of so many products of numbers below 1.
template <class Scalar>
double rounding(Index products) {
  return static_cast<double>(products) * test::epsilon<Scalar>();
}

}  // namespace

TEMPLATE_TEST_CASE("sums of weighted rows of several matrices", "", float, double, Eigen::bfloat16,
                   Eigen::half) {
  using Scalar = Accumulator<TestType>;
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    for (const Index rows : heights) {
      CAPTURE(columns, rows);
      const auto a = numbers.stored(rows * columns), b = numbers.stored(rows * columns);
      const auto c = numbers.wide(rows), d = numbers.wide(rows), start = numbers.wide(columns);
      const WeightedRows<TestType, Scalar> terms[] = {{a.data(), rows, {c.data()}, Scalar(0.5)},
                                                      {b.data(), rows, {d.data()}, Scalar(-2)}};
      std::vector<Scalar> sums = start, added = start, chains = start, single = start;
      weighted_rows(terms, 2, columns, columns, sums.data());
      weighted_rows<true>(terms, 2, columns, columns, added.data());
      weighted_rows<false, 8>(terms, 2, columns, columns, chains.data());
      weighted_rows<false, 1>(a.data(), rows, columns, columns, c.data(), single.data());
      double worst = 0;
      for (Index j = 0; j < columns; ++j) {
        double first = 0, second = 0;
        for (Index i = 0; i < rows; ++i) {
          first += at(c, i) * at(a, i * columns + j);
          second += at(d, i) * at(b, i * columns + j);
        }
        const double both = 0.5 * first - 2 * second;
        for (const double error : {at(sums, j) - both, at(added, j) - both - at(start, j),
                                   at(chains, j) - both, at(single, j) - first}) {
          worst = std::max(worst, std::abs(error));
        }
      }
      CHECK(worst <= rounding<Scalar>(4 * rows + 1));
    }
  }
}

TEMPLATE_TEST_CASE("two weighted sums at once have the bits of each", "", float, double) {
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    const Index rows = 9;
    const auto m = numbers.stored(rows * columns);
    const auto c = numbers.wide(rows), d = numbers.wide(rows);
    std::vector<TestType> one = numbers.wide(columns), other = numbers.wide(columns);
    std::vector<TestType> pair_one = one, pair_other = other;
    weighted_rows<true>(m.data(), rows, columns, columns, c.data(), one.data());
    weighted_rows<true>(m.data(), rows, columns, columns, d.data(), other.data());
    weighted_rows_pair<true>(m.data(), rows, columns, columns, c.data(), d.data(), pair_one.data(),
                             pair_other.data());
    CHECK(one == pair_one);
    CHECK(other == pair_other);
  }
}

TEMPLATE_TEST_CASE("products of several matrices with a vector each", "", float, double,
                   Eigen::bfloat16, Eigen::half) {
  using Scalar = Accumulator<TestType>;
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    for (const Index rows : heights) {
      CAPTURE(columns, rows);
      const auto a = numbers.stored(rows * columns), b = numbers.stored(rows * columns);
      const auto x = numbers.wide(columns), y = numbers.wide(columns);
      const auto c = numbers.wide(rows), d = numbers.wide(rows), q = numbers.wide(rows);
      DottedRows<TestType, Scalar> terms[] = {{a.data(), x.data(), c.data(), q.data(), Scalar(0)},
                                              {b.data(), y.data(), d.data(), q.data(), Scalar(0)}};
      std::vector<Scalar> out = numbers.wide(rows);
      const std::vector<Scalar> start = out;
      dotted_rows(terms, 2, rows, columns, columns, out.data());
      double worst = 0, found_a = 0, found_b = 0;
      for (Index i = 0; i < rows; ++i) {
        double with_x = 0, with_y = 0;
        for (Index j = 0; j < columns; ++j) {
          with_x += at(a, i * columns + j) * at(x, j);
          with_y += at(b, i * columns + j) * at(y, j);
        }
        found_a += at(q, i) * with_x;
        found_b += at(q, i) * with_y;
        const double expected = at(start, i) + at(c, i) * with_x + at(d, i) * with_y;
        worst = std::max(worst, std::abs(at(out, i) - expected));
      }
      CHECK(worst <= rounding<Scalar>(2 * columns + 2));
      CHECK(std::abs(to_double(terms[0].found) - found_a) <= rounding<Scalar>(rows * columns));
      CHECK(std::abs(to_double(terms[1].found) - found_b) <= rounding<Scalar>(rows * columns));
    }
  }
}

TEMPLATE_TEST_CASE("products of rows with one vector and with two", "", float, double) {
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    for (const Index rows : {Index{0}, Index{1}, Index{6}}) {
      CAPTURE(columns, rows);
      const Index stride = columns + 3;  // as for a head among others
      const auto m = numbers.stored(rows * stride);
      const auto q = numbers.wide(columns), p = numbers.wide(columns);
      std::vector<TestType> alone = numbers.wide(rows), with_q = alone, with_p = alone;
      row_dots(m.data(), rows, columns, stride, q.data(), alone.data());
      row_dots(m.data(), rows, columns, stride, q.data(), p.data(), with_q.data(), with_p.data());
      CHECK(alone == with_q);
      for (Index j = 0; j < rows; ++j) {
        double dot_q = 0, dot_p = 0;
        for (Index i = 0; i < columns; ++i) {
          dot_q += at(m, j * stride + i) * at(q, i);
          dot_p += at(m, j * stride + i) * at(p, i);
        }
        CHECK(std::abs(at(with_q, j) - dot_q) <= rounding<TestType>(columns));
        CHECK(std::abs(at(with_p, j) - dot_p) <= rounding<TestType>(columns));
      }
    }
  }
}

TEMPLATE_TEST_CASE("products of columns, and columns under weights", "", float, double) {
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    for (const Index rows : {Index{0}, Index{1}, Index{6}}) {
      CAPTURE(columns, rows);
      const auto z = numbers.stored(rows * columns), x = numbers.stored(rows * columns),
                 start = numbers.stored(rows * columns);
      const auto weights = numbers.wide(columns), before = numbers.wide(columns);
      auto sums = before, out = start;
      add_column_products(z.data(), rows, columns, x.data(), weights.data(), sums.data(),
                          out.data());
      double worst = 0;
      for (Index j = 0; j < columns; ++j) {
        double sum = at(before, j);
        for (Index i = 0; i < rows; ++i) {
          const Index k = i * columns + j;
          sum += at(z, k) * at(x, k);
          const double expected = at(start, k) + at(z, k) * at(weights, j);
          worst = std::max(worst, std::abs(at(out, k) - expected));
        }
        worst = std::max(worst, std::abs(at(sums, j) - sum));
      }
      CHECK(worst <= rounding<TestType>(rows + 1));
    }
  }
}

TEMPLATE_TEST_CASE("updates of rank one and scaled rows", "", float, double) {
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    CAPTURE(columns);
    const Index rows = 5;
    const auto start = numbers.stored(rows * columns);
    const auto c = numbers.wide(rows), s = numbers.wide(rows);
    const auto v = numbers.wide(columns), f = numbers.wide(columns);
    const auto scale_of = [&](Index i) { return s[static_cast<std::size_t>(i)]; };
    auto outer = start, by_columns = start, by_rows = start, uniform = start, scaled = start;
    add_outer(outer.data(), rows, columns, columns, c.data(), v.data());
    update_rows<TestType>(by_columns.data(), rows, columns, columns,
                          {TestType(1), nullptr, f.data()}, v.data(), c.data());
    update_rows<TestType>(by_rows.data(), rows, columns, columns, {TestType(0.5), s.data()},
                          v.data(), c.data());
    update_rows<TestType>(uniform.data(), rows, columns, columns, {TestType(0.5)}, v.data(),
                          c.data());
    scale(scaled.data(), rows, columns, columns, scale_of, f.data());
    double worst = 0;
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < columns; ++j) {
        const Index k = i * columns + j;
        const double old = at(start, k), product = at(c, i) * at(v, j);
        for (const double error :
             {at(outer, k) - old - product, at(by_columns, k) - at(f, j) * old + product,
              at(by_rows, k) - 0.5 * at(s, i) * old + product, at(uniform, k) - 0.5 * old + product,
              at(scaled, k) - at(s, i) * at(f, j) * old}) {
          worst = std::max(worst, std::abs(error));
        }
      }
    }
    CHECK(worst <= rounding<TestType>(3));
  }
}

TEMPLATE_TEST_CASE("a matrix that is scaled and to which outer products are added", "", float,
                   double, Eigen::bfloat16, Eigen::half) {
  using Scalar = Accumulator<TestType>;
  Numbers<TestType> numbers;
  for (const Index columns : widths) {
    for (const int count : {0, 1, 2, 3, 5}) {
      for (const int scales : {0, 1, 2, 3}) {
        CAPTURE(columns, count, scales);
        const Index rows = 5, stride = columns + 2;
        const auto start = numbers.stored(rows * stride);
        const auto of_row = numbers.wide(rows), of_column = numbers.wide(columns);
        const auto c = numbers.wide(count * rows), v = numbers.wide(count * columns);
        const auto factors = numbers.wide(count + 1);
        const bool scales_columns = scales / 2 == 1;
        const Scaling<Scalar> scaling{factors[0], scales % 2 == 1 ? of_row.data() : nullptr,
                                      of_column.data()};
        std::vector<OuterProduct<Scalar>> terms;
        for (int t = 0; t < count; ++t) {
          terms.push_back({c.data() + t * rows, v.data() + t * columns,
                           factors[static_cast<std::size_t>(t) + 1]});
        }
        auto m = start;
        const auto step = [&](auto usual, auto scaled) {
          step_rows<usual, scaled>(m.data(), rows, columns, stride, scaling, terms.data(), count);
        };
        using One = std::integral_constant<int, 1>;
        using Two = std::integral_constant<int, 2>;
        if (scales_columns) {
          step(One{}, std::true_type{});
        } else if (count == 2) {
          step(Two{}, std::false_type{});
        } else {
          step(One{}, std::false_type{});
        }
        double worst = 0;
        bool untouched = true;
        for (Index i = 0; i < rows; ++i) {
          for (Index j = 0; j < stride; ++j) {
            const Index k = i * stride + j;
            if (j >= columns) {
              untouched &= at(m, k) == at(start, k);
              continue;
            }
            double sum = at(factors, 0) * at(start, k);
            if (scaling.of_row != nullptr) sum *= at(of_row, i);
            if (scales_columns) sum *= at(of_column, j);
            for (int t = 0; t < count; ++t) {
              sum += at(factors, t + 1) * at(c, t * rows + i) * at(v, t * columns + j);
            }
            worst = std::max(worst, std::abs(at(m, k) - sum));
          }
        }
        CHECK(untouched);
        // Rounded once more if it is stored narrow.
        CHECK(worst <= rounding<Scalar>(2 * count + 3) + (count + 1) * rounding<TestType>(1) / 2);
      }
    }
  }
}

TEMPLATE_TEST_CASE("a matrix beyond the nearest cache is stepped as each of its rows is alone", "",
                   float, double, Eigen::bfloat16) {
  using Scalar = Accumulator<TestType>;
  Numbers<TestType> numbers;
  for (const Index columns : {Index{3}, Index{70}, Index{330}}) {
    const Index stride = columns + 2, rows = nearest_cache / (stride * Index{sizeof(TestType)}) + 2;
    const auto of_row = numbers.wide(rows), c = numbers.wide(rows), v = numbers.wide(columns);
    auto whole = numbers.stored(rows * stride), by_rows = whole;
    const OuterProduct<Scalar> term{c.data(), v.data(), Scalar(0.5)};
    step_rows<1, false>(whole.data(), rows, columns, stride,
                        Scaling<Scalar>{Scalar(0.75), of_row.data(), nullptr}, &term, 1);
    for (Index i = 0; i < rows; ++i) {
      const OuterProduct<Scalar> of_this_row{c.data() + i, v.data(), Scalar(0.5)};
      step_rows<1, false>(by_rows.data() + i * stride, 1, columns, stride,
                          Scaling<Scalar>{Scalar(0.75), of_row.data() + i, nullptr}, &of_this_row,
                          1);
    }
    bool same = true;
    for (Index k = 0; k < rows * stride; ++k) same &= at(whole, k) == at(by_rows, k);
    CAPTURE(columns, rows);
    CHECK(same);
  }
}

/// `stepped_rows` against a step and then the sums.
template <int Terms, int Sums, class Scalar>
void check_stepped_rows(Index columns) {
  Numbers<Scalar> numbers;
  const Index rows = 7;
  const auto of_row = numbers.wide(rows);
  const auto c = numbers.wide(Terms * rows), v = numbers.wide(Terms * columns);
  const auto weights = numbers.wide(Sums * rows);
  CAPTURE(columns, Terms, Sums);
  const Scaling<Scalar> scaling{Scalar(0.75), of_row.data(), nullptr};
  OuterProduct<Scalar> terms[array_size(Terms)];
  for (int t = 0; t < Terms; ++t) {
    terms[array_size(t)] = {c.data() + t * rows, v.data() + t * columns, Scalar(t - 0.5)};
  }
  auto m = numbers.wide(rows * columns), expected = m;
  auto found = numbers.wide(Sums * columns), expected_found = found;
  RowSum<Scalar> sums[array_size(Sums)];
  for (int s = 0; s < Sums; ++s) {
    sums[array_size(s)] = {weights.data() + s * rows, found.data() + s * columns};
  }
  stepped_rows<Terms, Sums>(m.data(), rows, columns, scaling, terms, sums);
  step_rows<0, false>(expected.data(), rows, columns, columns, scaling, terms, Terms);
  double worst = 0;
  for (Index k = 0; k < rows * columns; ++k) {
    worst = std::max(worst, std::abs(at(m, k) - at(expected, k)));
  }
  for (int s = 0; s < Sums; ++s) {
    for (Index j = 0; j < columns; ++j) {
      double sum = 0;
      for (Index i = 0; i < rows; ++i) {
        sum += at(weights, s * rows + i) * at(expected, i * columns + j);
      }
      worst = std::max(worst, std::abs(at(found, s * columns + j) - sum));
    }
  }
  CHECK(worst <= rounding<Scalar>(4 * rows));
}

TEMPLATE_TEST_CASE("a matrix that is stepped and read in one pass", "", float, double) {
  for (const Index columns : widths) {
    check_stepped_rows<1, 1, TestType>(columns);
    check_stepped_rows<2, 1, TestType>(columns);
    check_stepped_rows<2, 2, TestType>(columns);
  }
}

TEMPLATE_TEST_CASE("a carry of a bucket that has been added up", "", float, double, Eigen::bfloat16,
                   Eigen::half) {
  using Scalar = Accumulator<TestType>;
  Numbers<TestType> numbers;
  for (const Index size : widths) {
    for (const int landed : {0, 1, 3}) {
      for (const bool keeps : {false, true}) {
        CAPTURE(size, landed, keeps);
        auto levels = numbers.stored(4 * size);
        const auto start = levels;
        const auto bucket = numbers.wide(size);
        carry(levels.data(), landed, keeps, size, bucket.data());
        double worst = 0;
        bool untouched = true;
        for (Index j = 0; j < size; ++j) {
          double sum = at(bucket, j);
          for (int l = 0; l < 4; ++l) {
            const Index k = l * size + j;
            if (l < landed || (l == landed && keeps)) sum += at(start, k);
            if (l < landed) untouched &= at(levels, k) == 0;
            if (l > landed) untouched &= at(levels, k) == at(start, k);
          }
          worst = std::max(worst, std::abs(at(levels, landed * size + j) - sum));
        }
        CHECK(untouched);
        // Rounded once more if it is stored narrow, and up to 5 terms of up to 1.
        CHECK(worst <= rounding<Scalar>(16) + 5 * rounding<TestType>(1) / 2);
      }
    }
  }
}
