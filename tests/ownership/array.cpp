// SPDX-License-Identifier: MIT
// An array of a sequence: what it views, what it owns, and what becomes of it in copies and moves.

#include "loglinear/sequence/array.hpp"

#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

using loglinear::SequenceArray;

namespace {

template <class Scalar>
using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Scalar>
using ColumnMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Column = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A view of numbers that lie there.
template <class Scalar, class Expected>
bool views(const SequenceArray<Scalar>& array, const Scalar* there, const Expected& expected) {
  return !array.owns() && array.data() == there && array == expected;
}
/// Numbers of its own.
template <class Scalar, class Expected>
bool owns(const SequenceArray<Scalar>& array, const Expected& expected) {
  return array.owns() && array == expected;
}

template <class Scalar>
RowMajor<Scalar> temporary(const RowMajor<Scalar>& numbers) {
  return numbers;
}

}  // namespace

TEMPLATE_TEST_CASE("array: what lies row by row and has a name is viewed", "", float, double) {
  using Array = SequenceArray<TestType>;
  const RowMajor<TestType> m = RowMajor<TestType>::Random(7, 5);
  RowMajor<TestType> writable = m;
  CHECK(views(Array(m), m.data(), m));
  CHECK(views(Array(writable), writable.data(), m));
  const auto part = m.block(2, 1, 4, 3);
  CHECK(views(Array(part), &m(2, 1), part));
  const auto column = m.col(3);
  CHECK(views(Array(column), &m(0, 3), column));
  const auto row = m.row(6);
  CHECK(views(Array(row), &m(6, 0), row));
  const ColumnMajor<TestType> other_order = m;
  const auto transposed = other_order.transpose();
  CHECK(views(Array(transposed), other_order.data(), m.transpose()));

  const Column<TestType> vector = Column<TestType>::Random(6);
  CHECK(views(Array(vector), vector.data(), vector));
  const Eigen::Array<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> coefficients =
      m.array();
  CHECK(views(Array(coefficients), coefficients.data(), m));
  const Eigen::Matrix<TestType, 3, 4, Eigen::RowMajor> fixed =
      Eigen::Matrix<TestType, 3, 4, Eigen::RowMajor>::Random();
  CHECK(views(Array(fixed), fixed.data(), fixed));
}

TEMPLATE_TEST_CASE("array: maps are viewed, with or without a name", "", float, double) {
  using Array = SequenceArray<TestType>;
  std::vector<TestType> memory(60);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<TestType>(i);
  using Map = Eigen::Map<const RowMajor<TestType>>;
  using Apart = Eigen::Map<RowMajor<TestType>, Eigen::Unaligned, Eigen::OuterStride<>>;
  const TestType* const data = memory.data();
  CHECK(views(Array(Map(data, 6, 10)), data, Map(data, 6, 10)));
  CHECK(views(Array(Map(data, 6, 10).middleRows(2, 3)), data + 20, Map(data + 20, 3, 10)));
  CHECK(views(Array(Map(data, 6, 10).middleRows(2, 3).leftCols(4).bottomRows(2)), data + 30,
              Map(data + 30, 2, 10).leftCols(4)));
  const Apart apart(memory.data(), 5, 3, Eigen::OuterStride<>(12));
  CHECK(views(Array(Apart(apart)), data, apart));
  CHECK(Array(apart).outerStride() == 12);
  const Eigen::Map<const Column<TestType>, 0, Eigen::InnerStride<>> strided(
      data, 6, Eigen::InnerStride<>(10));
  CHECK(views(Array(strided), data, strided));
  Eigen::Map<Column<TestType>> whole(memory.data(), 60);
  CHECK(views(Array(whole.segment(7, 5)), data + 7, whole.segment(7, 5)));
  Apart named(memory.data(), 5, 3, Eigen::OuterStride<>(12));
  CHECK(views(Array(Eigen::Ref<RowMajor<TestType>>(named)), data, apart));
}

TEMPLATE_TEST_CASE("array: everything else is owned", "", float, double) {
  using Array = SequenceArray<TestType>;
  using Rows = RowMajor<TestType>;
  const Rows m = Rows::Random(7, 5);
  Rows writable = m;
  const ColumnMajor<TestType> columns = m;
  CHECK(owns(Array(columns), m));
  CHECK(owns(Array(ColumnMajor<TestType>(columns)), m));
  CHECK(owns(Array(-m), Rows(-m)));
  CHECK(owns(Array(m * m.transpose()), Rows(m * m.transpose())));
  CHECK(owns(Array(m.array() + 1), Rows((m.array() + 1).matrix())));
  CHECK(owns(Array(Rows::Constant(2, 3, 4)), Rows::Constant(2, 3, 4)));
  CHECK(owns(Array(m.rowwise().reverse()), Rows(m.rowwise().reverse())));
  CHECK(owns(Array(m.template triangularView<Eigen::Upper>()),
             Rows(m.template triangularView<Eigen::Upper>())));
  const Eigen::Map<const Rows, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strides(
      m.data(), 3, 2, {10, 2});
  CHECK(owns(Array(strides), strides));
  const Eigen::Map<const ColumnMajor<TestType>> other_order(m.data(), 5, 7);
  CHECK(owns(Array(other_order), m.transpose()));

  // The matrix of a part that has no name may itself be a temporary.
  CHECK(owns(Array(temporary(m).middleRows(1, 3)), m.middleRows(1, 3)));
  CHECK(owns(Array((m + m).eval().leftCols(2)), Rows(2 * m.leftCols(2))));
  CHECK(owns(Array(temporary(m).col(2)), m.col(2)));
  CHECK(owns(Array(Eigen::Ref<const Rows>(columns)), m));
  CHECK(owns(Array(Eigen::Ref<const Rows>(columns).topRows(2)), m.topRows(2)));
  // A Ref to const may hold a copy, and does not tell.
  const Eigen::Ref<const Rows> to_view(m), to_copy(columns);
  CHECK((owns(Array(to_view), m) && owns(Array(to_copy), m)));
  const auto part = to_copy.topRows(2);
  CHECK(owns(Array(part), m.topRows(2)));
  const auto made = [](const Eigen::Ref<const Rows>& any) { return Array(any); };
  CHECK((owns(made(m), m) && owns(made(columns), m)));
  CHECK(owns(Array(temporary(m).transpose()), m.transpose()));
  CHECK(owns(Array(Column<TestType>(m.col(0))), m.col(0)));

  // A temporary of the right order is moved in, not copied.
  const TestType* const there = writable.data();
  const Array moved(std::move(writable));
  CHECK(owns(moved, m));
  CHECK(moved.data() == there);
  const bool given = m.rows() == 7;
  CHECK(owns(Array(given ? m : Rows()), m));
  CHECK(Array(given ? Rows() : m).is_absent());
}

TEMPLATE_TEST_CASE("array: copies, moves and assignments", "", float, double) {
  using Array = SequenceArray<TestType>;
  using Rows = RowMajor<TestType>;
  static_assert(std::is_nothrow_move_constructible_v<Array>);
  static_assert(std::is_nothrow_move_assignable_v<Array>);
  const Rows m = Rows::Random(7, 5), other = Rows::Random(3, 2);
  const auto viewed = [&] { return Array(m); };
  const auto owned = [&] { return Array(temporary(m)); };

  Array copy_of_owned;
  const TestType* there = nullptr;
  {
    const Array original = owned();
    there = original.data();
    const Array copy = original;
    CHECK(owns(copy, m));
    CHECK(copy.data() != there);
    copy_of_owned = copy;
  }
  CHECK(owns(copy_of_owned, m));
  {
    const Array original = viewed();
    const Array copy = original;
    CHECK(views(copy, m.data(), m));
  }

  Array source = owned();
  there = source.data();
  const Array target = std::move(source);
  CHECK(owns(target, m));
  CHECK(target.data() == there);
  CHECK((source.is_absent() && !source.owns() && source.rows() == 0 && source.cols() == 0));
  source = viewed();
  const Array view = std::move(source);
  CHECK(views(view, m.data(), m));
  CHECK(source.is_absent());

  // From anything to anything.
  for (const bool from_owned : {false, true}) {
    for (const int to : {0, 1, 2}) {
      Array from = from_owned ? owned() : viewed();
      Array into = to == 0 ? Array() : to == 1 ? Array(other) : Array(temporary(other));
      into = from;
      CHECK((from_owned ? owns(into, m) : views(into, m.data(), m)));
      CHECK((from_owned ? owns(from, m) : views(from, m.data(), m)));
      into = std::move(from);
      CHECK((from_owned ? owns(into, m) : views(into, m.data(), m)));
      CHECK(from.is_absent());
      Array& same = into;
      into = same;
      CHECK((from_owned ? owns(into, m) : views(into, m.data(), m)));
      into = std::move(same);
      CHECK((from_owned ? owns(into, m) : views(into, m.data(), m)));
      std::swap(into, from);
      CHECK((from_owned ? owns(from, m) : views(from, m.data(), m)));
      from = Rows(from.topRows(2));  // a part of itself
      CHECK(owns(from, m.topRows(2)));
      from = {};
      CHECK(from.is_absent());
      from = other;
      CHECK(views(from, other.data(), other));
      from = -other;
      CHECK(owns(from, Rows(-other)));
    }
  }

  std::vector<Array> many;
  for (int i = 0; i < 20; ++i) many.push_back(i % 2 == 0 ? owned() : viewed());
  many.erase(many.begin() + 3);
  many.insert(many.begin() + 1, many[2]);
  for (const Array& array : many) CHECK(array == m);
  std::optional<Array> maybe = owned();
  std::optional<Array> again = maybe;
  maybe.reset();
  CHECK(owns(*again, m));
}

TEMPLATE_TEST_CASE("array: without coefficients it is absent, and keeps its shape", "", float,
                   double) {
  using Array = SequenceArray<TestType>;
  using Rows = RowMajor<TestType>;
  CHECK(Array().is_absent());
  for (const auto& [rows, columns] : {std::pair{0, 0}, {0, 1}, {0, 4}, {6, 0}}) {
    const Rows named(rows, columns);
    const ColumnMajor<TestType> other_order(rows, columns);
    Array a(named), b(other_order), c(Rows(rows, columns));
    const Array d = a, e = std::move(b);
    for (const Array* array : std::vector<const Array*>{&a, &c, &d, &e}) {
      CHECK(array->is_absent());
      CHECK(!array->owns());
      CHECK((array->rows() == rows && array->cols() == columns));
    }
  }
  CHECK(Array(Column<TestType>(0)).is_absent());
  CHECK(Array(Eigen::Map<const Rows>(nullptr, 0, 3)).is_absent());
}

TEMPLATE_TEST_CASE("array: is an Eigen expression", "", float, double) {
  const RowMajor<TestType> m = RowMajor<TestType>::Random(7, 5);
  const SequenceArray<TestType> array(m);
  const ColumnMajor<TestType> columns = array;
  CHECK(columns == m);
  CHECK((array * array.transpose()).isApprox(m * m.transpose()));
  const Eigen::Ref<const RowMajor<TestType>> ref = array;
  CHECK(ref.data() == m.data());
  CHECK(array.row(2).dot(array.row(3)) == m.row(2).dot(m.row(3)));
}
