// SPDX-License-Identifier: MIT
#include <Eigen/Core>
#include <cstdlib>
#include <string>
#include <vector>

#include "allocation_counter.hpp"
#include "catch.hpp"

namespace test = loglinear::test;

// That the counter counts: everything here allocates, and is seen.

namespace {

void* volatile kept = nullptr;  // keeps the compiler from removing the pairs below

int through(void* (*allocate)()) {
  return test::allocations_in([&] {
    kept = allocate();
    std::free(kept);
  });
}

}  // namespace

TEST_CASE("Every way to allocate is counted") {
  CHECK(test::allocations_in([] {}) == 0);
  CHECK(through([] { return std::malloc(32); }) == 2);
  CHECK(through([] { return std::calloc(2, 16); }) == 2);
  CHECK(through([] { return std::realloc(nullptr, 32); }) >= 2);
  CHECK(through([] { return std::aligned_alloc(64, 128); }) == 2);
  CHECK(through([] {
          void* memory = nullptr;
          return posix_memalign(&memory, 64, 128) == 0 ? memory : nullptr;
        }) == 2);
  CHECK(test::allocations_in([] {
          kept = new int[8];
          delete[] static_cast<int*>(kept);
        }) == 2);
  CHECK(test::allocations_in([] { std::string(100, 'x').swap(*new std::string); }) >= 2);
  CHECK(test::allocations_in([] {
          std::vector<int> numbers(10);
          kept = numbers.data();
        }) == 2);
}

TEST_CASE("What Eigen allocates is counted: a dynamic temporary") {
  Eigen::MatrixXd m = Eigen::MatrixXd::Ones(40, 40), out(40, 40);
  CHECK(test::allocations_in([&] { out.noalias() = m * m.col(0).asDiagonal(); }) == 0);
  CHECK(test::allocations_in([&] { out = m * m; }) > 0);
  CHECK(test::allocations_in([&] { m = Eigen::MatrixXd::Ones(41, 41); }) > 0);
}
