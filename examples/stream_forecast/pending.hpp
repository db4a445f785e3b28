// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PENDING_HPP
#define STREAM_FORECAST_PENDING_HPP

#include <algorithm>
#include <cstdint>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "keys.hpp"
#include "pipeline.hpp"
#include "saved_rows.hpp"

namespace stream_forecast {

/// A forecast that waits for its label.
struct Wait {
  std::uint64_t due = 0;     ///< when the label is known
  std::uint64_t number = 0;  ///< of the row that it was made at
  double label = 0;          ///< if it is known by now, kept for then
  Keys keys;
  Outcome outcome;
};

/// Forecasts that wait for their labels, in the order in which those arrive. Each has a ticket, a
/// small number that is its own until then.
class Pending {
 public:
  Pending(std::size_t categories, std::size_t forecasts)
      : categories_(categories), forecasts_(forecasts) {}

  /// The ticket that the next `push` will take.
  [[nodiscard]] std::size_t next_ticket() const {
    return free_.empty() ? waits_.size() : free_.back();
  }
  void push(const Wait& wait) {
    const std::size_t ticket = next_ticket();
    if (free_.empty()) {
      waits_.push_back(wait);
    } else {
      free_.pop_back();
      waits_[ticket] = wait;  // into memory that is there
    }
    order_.emplace_back(wait.due, wait.number, ticket);
    std::push_heap(order_.begin(), order_.end(), std::greater<>());
  }

  [[nodiscard]] std::size_t size() const { return order_.size(); }
  [[nodiscard]] bool is_due(std::uint64_t now) const {
    return !order_.empty() && std::get<0>(order_.front()) <= now;
  }
  /// The ticket whose label arrives first, and its forecast.
  [[nodiscard]] std::size_t first() const { return std::get<2>(order_.front()); }
  [[nodiscard]] const Wait& operator[](std::size_t ticket) const { return waits_[ticket]; }
  void pop() {
    free_.push_back(first());
    std::pop_heap(order_.begin(), order_.end(), std::greater<>());
    order_.pop_back();
  }
  /// One more than the largest ticket that was ever given out.
  [[nodiscard]] std::size_t tickets() const { return waits_.size(); }

  /// For checkpoints: a row a forecast, in the order of arrival.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    const auto width = static_cast<Eigen::Index>(6 + self.categories_ + self.forecasts_);
    if constexpr (loglinear::detail::is_written<Self>) {
      constexpr std::size_t most = std::size_t{1} << 30;
      const Rows<double> rows = loaded_rows<double>(part, "waiting", width, most);
      Pending loaded(self.categories_, self.forecasts_);
      for (Eigen::Index i = 0; i < rows.rows(); ++i) loaded.restore(rows, i);
      for (std::size_t ticket = loaded.waits_.size(); ticket-- > 0;) {
        if (loaded.waits_[ticket].outcome.forecasts.empty()) loaded.free_.push_back(ticket);
      }
      self = std::move(loaded);
    } else {
      auto order = self.order_;
      std::sort(order.begin(), order.end());
      Rows<double> rows(static_cast<Eigen::Index>(order.size()), width);
      for (Eigen::Index i = 0; i < rows.rows(); ++i) {
        const std::size_t ticket = std::get<2>(order[static_cast<std::size_t>(i)]);
        const Wait& wait = self.waits_[ticket];
        Eigen::Index j = 0;
        rows(i, j++) = static_cast<double>(ticket);
        rows(i, j++) = static_cast<double>(wait.due);
        rows(i, j++) = static_cast<double>(wait.number);
        rows(i, j++) = static_cast<double>(wait.outcome.row);
        rows(i, j++) = wait.outcome.scored ? 1 : 0;
        rows(i, j++) = wait.label;
        for (const std::size_t key : wait.keys) rows(i, j++) = static_cast<double>(key);
        for (const double forecast : wait.outcome.forecasts) rows(i, j++) = forecast;
      }
      part("waiting", rows);
    }
  }

  /// A count that was stored as a double.
  static std::uint64_t to_count(const char* what, double number) {
    loglinear::detail::require_between(what, number, 0.0, 0x1p53);
    return static_cast<std::uint64_t>(number);
  }

 private:
  void restore(const Rows<double>& rows, Eigen::Index i) {
    Eigen::Index j = 0;
    const auto count = [&](const char* what) { return to_count(what, rows(i, j++)); };
    const std::uint64_t ticket = count("a ticket");
    loglinear::detail::require_between("a ticket", ticket, std::uint64_t{0},
                                       std::uint64_t{1} << 30);
    Wait wait;
    wait.due = count("the time of a label");
    wait.number = count("the number of a row");
    wait.outcome.row = count("the number of a row");
    wait.outcome.scored = count("whether a forecast is scored") != 0;
    wait.label = rows(i, j++);
    for (std::size_t k = 0; k < categories_; ++k) wait.keys.push_back(count("a slot"));
    for (std::size_t k = 0; k < forecasts_; ++k) wait.outcome.forecasts.push_back(rows(i, j++));
    if (waits_.size() <= ticket) waits_.resize(ticket + 1);
    if (!waits_[ticket].outcome.forecasts.empty())
      loglinear::detail::fail("a ticket", ticket, "that of one forecast alone");
    order_.emplace_back(wait.due, wait.number, ticket);
    std::push_heap(order_.begin(), order_.end(), std::greater<>());
    waits_[ticket] = std::move(wait);
  }

  std::size_t categories_, forecasts_;
  std::vector<Wait> waits_;  // by ticket
  std::vector<std::size_t> free_;
  std::vector<std::tuple<std::uint64_t, std::uint64_t, std::size_t>> order_;  // a heap
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PENDING_HPP
