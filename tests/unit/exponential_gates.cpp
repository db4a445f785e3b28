// SPDX-License-Identifier: MIT
#include "loglinear/sequence/exponential_gates.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "support.hpp"

// mLSTM on three tokens that fit on paper; golden/mlstm.cpp has more of them.

namespace {

using namespace loglinear;
using Matrix = detail::RowMajorMatrix<double>;

const double tolerance = test::rounding<double>(16) * 8;
const double infinity = std::numeric_limits<double>::infinity();

Matrix column(std::initializer_list<double> numbers) {
  Matrix result(static_cast<Eigen::Index>(numbers.size()), 1);
  std::copy(numbers.begin(), numbers.end(), result.data());
  return result;
}

}  // namespace

TEST_CASE("the stabiliser is the running maximum of what gates leave of inputs") {
  const ExponentialGates<double> gates(column({2, 5, -7}), column({-1, -1, -2}));
  CHECK(gates.log_scale == column({2, 5, 3}));
  CHECK(gates.log_decay == column({-infinity, -4, 0}));
  CHECK(test::difference(gates.input, column({1, 1, std::exp(-10.0)})) == 0);
  // The second half goes on where the first one ended.
  const ExponentialGates<double> rest(column({5, -7}), column({-1, -2}), gates.log_scale(0, 0));
  CHECK(rest.log_scale == gates.log_scale.bottomRows(2));
  CHECK(rest.log_decay == gates.log_decay.bottomRows(2));
  CHECK(rest.input == gates.input.bottomRows(2));
}

TEST_CASE("mLSTM: h = C q / max(|n q|, 1), whatever the stabiliser") {
  const double ln2 = std::log(2.0);
  // Inputs of 2, 1/4 and 8, a decay of 1/2: C = 2, 5/4, 69/8 and n = 2, 5/4, 69/8 for keys of 1.
  const ExponentialGates<double> gates(column({ln2, -2 * ln2, 3 * ln2}), column({-1, -ln2, -ln2}));
  const Matrix k = column({1, 1, 1}), v = column({3, -1, 5}), lambda = Matrix::Ones(3, 3);
  const auto outputs_of = [&](const Matrix& q) {
    return gates.outputs(chunkwise(SequenceInputs<double>{
        .q = q, .k = gates.keys(k), .v = gates.values(v), .lambda = lambda, .g = gates.log_decay}));
  };
  // C: 6, 3 - 1/4, 11/8 + 40; n: 2, 5/4, 5/8 + 8
  CHECK(test::difference(outputs_of(column({1, 1, -1})), column({3, 2.2, -41.375 / 8.625})) <=
        tolerance);
  // Where |n q| is below 1, nothing is divided.
  CHECK(test::difference(outputs_of(column({0.25, 0.5, 0.0625})),
                         column({1.5, 1.375, 41.375 / 16})) <= tolerance);
}

TEST_CASE("gates of any size leave states and outputs finite") {
  using Rows = detail::RowMajorMatrix<float>;
  const Rows q = Rows::Constant(4, 1, 2), v = Rows::Constant(4, 2, 3), lambda = Rows::Ones(4, 4);
  for (const float size : {1e2F, 1e20F, 3e38F}) {
    Rows log_input(4, 1);
    log_input << size, -size, size / 2, size;
    const ExponentialGates<float> gates(log_input, Rows::Constant(4, 1, -1));
    const Rows reads = chunkwise(SequenceInputs<float>{
        .q = q, .k = gates.keys(q), .v = gates.values(v), .lambda = lambda, .g = gates.log_decay});
    CHECK(test::difference(gates.outputs(reads), v) <= 1e-5F);
    CHECK(detail::all_finite(gates.outputs_gradient(reads, v)));
    // Gates so small that nothing is read.
    const ExponentialGates<float> closed(Rows::Constant(4, 1, -size), Rows::Constant(4, 1, -1));
    CHECK(detail::all_finite(closed.outputs(reads)));
    CHECK(detail::all_finite(closed.outputs_gradient(reads, v)));
  }
}

TEST_CASE("a sequence without tokens has no gates") {
  const ExponentialGates<double> gates(Matrix(0, 1), Matrix(0, 1));
  CHECK(gates.log_scale.size() == 0);
  CHECK(gates.values(Matrix(0, 2)).cols() == 3);
  CHECK(gates.outputs(Matrix(0, 3)).cols() == 2);
}

TEST_CASE("exponential gates refuse what does not fit, by name") {
  const auto refuses = [](auto call, std::initializer_list<const char*> words) {
    CHECK(test::mentions(test::error_of(call), words));
  };
  const Matrix two = column({1, 2}), three = column({1, 2, 3});
  refuses([&] { ExponentialGates<double>(Matrix::Ones(2, 2), two); }, {"log_input"});
  refuses([&] { ExponentialGates<double>(two, three); }, {"log_forget"});
  refuses([&] { ExponentialGates<double>(column({1, infinity}), two); }, {"log_input", "inf"});
  refuses([&] { ExponentialGates<double>(two, column({1, std::nan("")})); }, {"log_forget", "nan"});
  const auto largest = column({0, 1.5e308});
  refuses([&] { ExponentialGates<double>(two, largest, 1.5e308); },
          {"the stabiliser of token 1", "inf", "finite"});
  for (const double bad : {infinity, std::nan("")}) {
    refuses([&] { ExponentialGates<double>(two, two, bad); },
            {"stabiliser", "finite or -infinity"});
  }
  const ExponentialGates<double> gates(two, two);
  refuses([&] { (void)gates.keys(three); }, {"k (rows)"});
  refuses([&] { (void)gates.values(three); }, {"v (rows)"});
  refuses([&] { (void)gates.outputs(Matrix::Ones(3, 2)); }, {"the reads (rows)"});
  refuses([&] { (void)gates.outputs(two); }, {"normaliser"});
  refuses([&] { (void)gates.outputs(Matrix::Constant(2, 2, infinity)); }, {"the reads", "inf"});
  refuses([&] { (void)gates.outputs_gradient(Matrix::Ones(2, 2), three); }, {"d_outputs"});
}

TEST_CASE("What exponential gates read is finite or refused") {
  const ExponentialGates<double> large(column({800, 0}), column({0, 0}));
  // exp(-800) is no number, and a query of zeros reads zeros under a normaliser of 0.
  CHECK(large.outputs(Matrix::Zero(2, 3)) == Matrix::Zero(2, 2));
  CHECK(large.outputs_gradient(Matrix::Zero(2, 3), Matrix::Zero(2, 2)) == Matrix::Zero(2, 3));
  Matrix reads = Matrix::Zero(2, 3);
  reads(1, 0) = 1e10;
  CHECK(test::mentions(test::error_of([&] { (void)large.outputs(reads); }),
                       {"the outputs", "inf", "finite"}));
}
