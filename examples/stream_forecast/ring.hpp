// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_RING_HPP
#define STREAM_FORECAST_RING_HPP

#include <cstddef>
#include <vector>

namespace stream_forecast {

/// The last `capacity` items of an endless sequence. Items are assigned into their slots, so that
/// vectors of constant size are allocated once.
template <class Item>
class Ring {
 public:
  explicit Ring(std::size_t capacity) : slots_(capacity) {}

  void push(const Item& item) {
    newest_ = size_ == 0 || newest_ + 1 == slots_.size() ? 0 : newest_ + 1;
    slots_[newest_] = item;
    if (size_ < slots_.size()) ++size_;
  }

  /// The item pushed `age` pushes before the newest one; `age` must be below `size()`.
  [[nodiscard]] const Item& ago(std::size_t age) const {
    return slots_[age <= newest_ ? newest_ - age : newest_ + slots_.size() - age];
  }
  [[nodiscard]] const Item& oldest() const { return ago(size_ - 1); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t capacity() const { return slots_.size(); }
  void clear() { size_ = newest_ = 0; }

 private:
  std::vector<Item> slots_;
  std::size_t newest_ = 0, size_ = 0;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_RING_HPP
