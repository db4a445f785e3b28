// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_HALVES_HPP
#define STREAM_FORECAST_HALVES_HPP

#include <Eigen/Core>
#include <cstdint>
#include <limits>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>
#include <vector>

namespace stream_forecast {

/// The means of the first and of the second half of a sequence whose length nobody knows before, in
/// constant memory: sums of stretches, which are joined by twos whenever there are 512 of them.
/// Up to 512 numbers the halves are exact, floor(n/2) and the rest; of more the border is the
/// stretch's end next to n/2, at most 1/512 of them away.
class Halves {
 public:
  void add(double value) {
    if (count_ == length_ * sums_.size()) {
      if (sums_.size() == most) join();
      sums_.push_back(0);
    }
    sums_.back() += value;
    ++count_;
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// How many numbers are in the first half.
  [[nodiscard]] std::uint64_t first_count() const { return first_sums() * length_; }
  [[nodiscard]] double first() const { return mean(0, first_sums(), first_count()); }
  [[nodiscard]] double second() const {
    return mean(first_sums(), sums_.size(), count_ - first_count());
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("count", self.count_);
    part("length", self.length_);
    Eigen::VectorXd sums = Eigen::Map<const Eigen::VectorXd>(
        self.sums_.data(), static_cast<Eigen::Index>(self.sums_.size()));
    if constexpr (loglinear::detail::is_written<Self>) {
      sums.resize(0);  // takes the size that the file says
      part("sums", sums);
      loglinear::detail::require_between("length", self.length_, std::uint64_t{1},
                                         std::uint64_t{1} << 52);
      const std::uint64_t full = self.count_ / self.length_;
      const std::uint64_t stretches = full + (self.count_ % self.length_ > 0 ? 1 : 0);
      loglinear::detail::require_between("the number of sums", stretches, std::uint64_t{0},
                                         std::uint64_t{most});
      loglinear::detail::require_size("sums", sums.size(), static_cast<Eigen::Index>(stretches));
      self.sums_.assign(sums.begin(), sums.end());
    } else {
      part("sums", sums);
    }
  }

 private:
  static constexpr std::size_t most = 512;

  void join() {
    for (std::size_t i = 0; i < most / 2; ++i) sums_[i] = sums_[2 * i] + sums_[2 * i + 1];
    sums_.resize(most / 2);
    length_ *= 2;
  }
  [[nodiscard]] std::size_t first_sums() const {
    return static_cast<std::size_t>((count_ / 2 + length_ / 2) / length_);
  }
  [[nodiscard]] double mean(std::size_t begin, std::size_t end, std::uint64_t count) const {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += sums_[i];
    return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
  }

  std::uint64_t count_ = 0, length_ = 1;
  std::vector<double> sums_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_HALVES_HPP
