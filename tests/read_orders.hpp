// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_READ_ORDERS_HPP
#define LOGLINEAR_TESTS_READ_ORDERS_HPP

#include <array>
#include <cstddef>

#include "loglinear/fenwick.hpp"

namespace loglinear::test {

/// All read orders.
inline constexpr auto read_orders = [] {
  std::array<loglinear::ReadOrder, loglinear::read_order_table.size()> orders{};
  for (std::size_t i = 0; i < orders.size(); ++i) orders[i] = loglinear::read_order_table[i].order;
  return orders;
}();

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_READ_ORDERS_HPP
