// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_WARM_UP_HPP
#define STREAM_FORECAST_WARM_UP_HPP

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pending.hpp"

namespace stream_forecast {

struct KeyedRow {
  Row row;  ///< without its texts, which have become keys
  Keys keys;
};

/// How far the stream is: rows are held back until the warm-up is over, because they set the scale
/// on which everything is learnt.
struct WarmUp {
  explicit WarmUp(const Options& options)
      : features(options.features.size()),
        categories(options.categories.size()),
        length(static_cast<std::size_t>(std::max(options.warm_up, 1L))) {
    held.reserve(length);
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("scaled", self.is_over);
    part("rows", self.rows);
    const auto width = static_cast<Eigen::Index>(4 + self.categories + self.features);
    if constexpr (loglinear::detail::is_written<Self>) {
      const Rows<double> all =
          loaded_rows<double>(part, "held", width, self.is_over ? 0 : self.length - 1);
      self.held.clear();
      for (Eigen::Index i = 0; i < all.rows(); ++i) {
        Eigen::Index j = 0;
        KeyedRow& held = self.held.emplace_back();
        held.row.target = all(i, j++);
        held.row.number = Pending::to_count("the number of a row", all(i, j++));
        held.row.clock = Pending::to_count("the time of a row", all(i, j++));
        held.row.label_time = Pending::to_count("the time of a label", all(i, j++));
        for (std::size_t k = 0; k < self.categories; ++k)
          held.keys.push_back(Pending::to_count("a slot", all(i, j++)));
        for (; j < width; ++j) held.row.features.push_back(all(i, j));
      }
    } else {
      Rows<double> all(static_cast<Eigen::Index>(self.held.size()), width);
      for (Eigen::Index i = 0; i < all.rows(); ++i) {
        const KeyedRow& held = self.held[static_cast<std::size_t>(i)];
        Eigen::Index j = 0;
        all(i, j++) = held.row.target;
        all(i, j++) = static_cast<double>(held.row.number);
        all(i, j++) = static_cast<double>(held.row.clock);
        all(i, j++) = static_cast<double>(held.row.label_time);
        for (const std::size_t key : held.keys) all(i, j++) = static_cast<double>(key);
        for (const double feature : held.row.features) all(i, j++) = feature;
      }
      part("held", all);
    }
  }

  std::size_t features, categories, length;
  bool is_over = false;
  std::uint64_t rows = 0;  ///< that have been stepped through
  std::vector<KeyedRow> held;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_WARM_UP_HPP
