// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_STRETCH_ELEMENT_HPP
#define LOGLINEAR_MPI_DETAIL_STRETCH_ELEMENT_HPP

// What goes through a scan over ranks: a run of consecutive ranks' tokens [first, count) as one
// stretch, for one head. Forwards its levels are those of these tokens alone; backwards they are
// the gradient with respect to the levels before the run. Two runs that meet become one,
//
//     forwards    levels = later.levels + P_later earlier.levels diag(r_later)
//     backwards   levels = earlier.levels + P_earlier^T later.levels diag(r_earlier)
//     both        P = P_later P_earlier,  r = r_later r_earlier
//
// which is associative and not commutative.

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "loglinear/chunks/stretch.hpp"

namespace loglinear::detail {

/// What all elements of a scan have in common. It stands at the head of each, for the merge is
/// told nothing else.
struct StretchLayout {
  std::int64_t max_levels = 0, d_k = 0, d_v = 0;
  std::int64_t capacity = 0;       // the most levels that an element holds
  std::int64_t is_dense = 0;       // of P
  std::int64_t decays_values = 0;  // whether there is r

  /// Numbers of an element.
  [[nodiscard]] std::int64_t number_count() const {
    return (is_dense ? d_k * d_k : d_k) + (decays_values ? d_v : 0) + capacity * d_k * d_v;
  }
  template <class Scalar>
  [[nodiscard]] std::size_t byte_count() const {
    return sizeof(StretchLayout) + 2 * sizeof(std::uint64_t) +
           static_cast<std::size_t>(number_count()) * sizeof(Scalar);
  }
};

/// Copies numbers to bytes, or from them, one thing after the other.
class ByteWriter {
 public:
  explicit ByteWriter(std::byte* to) : to_(to) {}
  template <class Number>
  void operator()(const Number* numbers, Index count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(Number);
    if (bytes > 0) std::memcpy(to_, numbers, bytes);
    to_ += bytes;
  }

 private:
  std::byte* to_;
};
class ByteReader {
 public:
  explicit ByteReader(const std::byte* from) : from_(from) {}
  template <class Number>
  void operator()(Number* numbers, Index count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(Number);
    if (bytes > 0) std::memcpy(numbers, from_, bytes);
    from_ += bytes;
  }

 private:
  const std::byte* from_;
};

template <class Scalar>
struct StretchElement {
  StretchMap<Scalar> map;
  Hierarchy<Scalar> levels;
  std::uint64_t first, count;

  /// Copies everything to, or from, where `part(numbers, how many)` says.
  template <class Part>
  void visit(Part& part) {
    part(map.left.data(), map.left.size());
    part(map.right.data(), map.right.size());
    for (int l : levels.active()) {
      if (levels.level(l).size() == 0) levels.allocate(l);
      part(levels.level(l).data(), levels.level(l).size());
    }
  }
};

/// A run of no tokens after `position` others: without levels forwards, with zeros backwards.
template <class Scalar>
[[nodiscard]] StretchElement<Scalar> no_stretch(const StretchLayout& layout, std::uint64_t position,
                                                bool is_backwards) {
  const int max_levels = static_cast<int>(layout.max_levels);
  StretchElement<Scalar> none{
      {layout.d_k, layout.d_v, layout.is_dense != 0, layout.decays_values != 0},
      {max_levels, layout.d_k, layout.d_v, position, is_backwards ? 0 : position},
      position,
      position};
  for (int l : none.levels.active()) none.levels.set_zero(l);
  return none;
}

template <class Scalar>
void write_element(const StretchLayout& layout, StretchElement<Scalar>& element, std::byte* to) {
  ByteWriter write(to);
  write(&layout, 1);
  write(&element.first, 1);
  write(&element.count, 1);
  element.visit(write);
}

template <class Scalar>
[[nodiscard]] StretchElement<Scalar> read_element(const std::byte* from, bool is_backwards) {
  StretchLayout layout;
  std::uint64_t first = 0, count = 0;
  ByteReader read(from);
  read(&layout, 1);
  read(&first, 1);
  read(&count, 1);
  StretchElement<Scalar> element = no_stretch<Scalar>(layout, first, is_backwards);
  element.count = count;
  if (!is_backwards) element.levels.set_count(count);
  element.visit(read);
  return element;
}

/// `later` becomes the run of both.
template <class Scalar>
void append_to_earlier(StretchElement<Scalar>& earlier, StretchElement<Scalar>& later) {
  add_earlier(earlier.levels, later.map, later.levels);
  earlier.map.follow(later.map);
  later.map = earlier.map;
  later.first = earlier.first;
}
/// `earlier` becomes the run of both, backwards.
template <class Scalar>
void append_later_gradient(StretchElement<Scalar>& earlier, const StretchElement<Scalar>& later) {
  add_later_gradient(later.levels, earlier.map, earlier.levels);
  earlier.map.follow(later.map);
  earlier.count = later.count;
}

/// The two as operations of MPI: `mine` is the element of the higher rank, which is the later run
/// forwards and the earlier one backwards, where ranks are numbered from the last. Where memory for
/// a copy of both runs out, the program ends.
template <class Scalar, bool is_backwards>
void merge_elements(void* other, void* mine, int* count, MPI_Datatype*) noexcept {
  const auto* from = static_cast<const std::byte*>(other);
  auto* to = static_cast<std::byte*>(mine);
  for (int n = 0; n < *count; ++n) {
    StretchLayout layout;
    ByteReader{to}(&layout, 1);
    auto lower = read_element<Scalar>(from, is_backwards);
    auto higher = read_element<Scalar>(to, is_backwards);
    if constexpr (is_backwards) {
      append_later_gradient(higher, lower);
    } else {
      append_to_earlier(lower, higher);
    }
    write_element(layout, higher, to);
    from += layout.byte_count<Scalar>();
    to += layout.byte_count<Scalar>();
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_STRETCH_ELEMENT_HPP
