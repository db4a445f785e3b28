// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_HEADER_READER_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_HEADER_READER_HPP

// The JSON header of a safetensors file, event by event: whatever is not as the reference
// implementation takes it is refused where it stands, and nothing grows beyond the header itself.

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/checkpoint/error.hpp"

namespace loglinear::detail {

/// What a header says about one tensor.
struct HeaderEntry {
  std::optional<DType> dtype{};
  std::string other_dtype{};
  std::optional<std::vector<std::uint64_t>> shape{};
  std::optional<std::vector<std::uint64_t>> data_offsets{};  // two of them
};

/// A handler of nlohmann's SAX parser, which stops where a member function returns false; `problem`
/// then says why.
class HeaderReader {
 public:
  std::map<std::string, HeaderEntry> entries{};
  std::map<std::string, std::string> metadata{};
  std::string problem{};

  bool start_object(std::size_t) {
    if (skips()) return skip_into();
    if (place_ == Place::outside) return enter(Place::top);
    if (place_ == Place::top && key_) {
      return enter(name_ == "__metadata__" ? Place::metadata : Place::tensor);
    }
    return unexpected("an object");
  }

  bool key(std::string& text) {
    if (skipped_ > 0) return true;
    key_ = text;
    switch (place_) {
      case Place::top: {
        name_ = text;
        const bool is_new = text == "__metadata__" ? !std::exchange(has_metadata_, true)
                                                   : entries.try_emplace(text).second;
        if (is_new) return true;
        return stop((text == "__metadata__" ? text : "tensor " + in_quotes(text)) +
                    ": is there twice");
      }
      case Place::metadata:
        if (metadata.try_emplace(text).second) return true;
        return stop(where() + "is there twice");
      default:
        return true;
    }
  }

  bool string(std::string& text) {
    if (skips()) return true;
    if (place_ == Place::metadata) {
      metadata[*key_] = text;
      return true;
    }
    if (place_ != Place::tensor || key_ != "dtype") return unexpected("a string");
    const DType dtype = dtype_from(text).value_or(DType::other);
    if (dtype == DType::other) entry().other_dtype = text;
    return once(entry().dtype, dtype);
  }

  bool start_array(std::size_t) {
    if (skips()) return skip_into();
    if (place_ == Place::tensor && key_ == "shape") {
      place_ = Place::array;
      return once(entry().shape, std::vector<std::uint64_t>{});
    }
    if (place_ == Place::tensor && key_ == "data_offsets") {
      place_ = Place::array;
      return once(entry().data_offsets, std::vector<std::uint64_t>{});
    }
    return unexpected("an array");
  }
  bool end_array() {
    if (skipped_ > 0) return skip_out();
    place_ = Place::tensor;
    return true;
  }

  bool number_unsigned(std::uint64_t number) {
    if (skips()) return true;
    if (place_ != Place::array) return unexpected("a number");
    (key_ == "shape" ? entry().shape : entry().data_offsets)->push_back(number);
    return true;
  }

  bool end_object() {
    if (skipped_ > 0) return skip_out();
    if (place_ == Place::tensor) {
      const HeaderEntry& done = entry();
      key_.reset();
      if (!done.dtype) return stop(where() + "has no dtype");
      if (!done.shape) return stop(where() + "has no shape");
      if (!done.data_offsets) return stop(where() + "has no data_offsets");
      if (done.data_offsets->size() != 2) {
        return stop(where() + "has " + std::to_string(done.data_offsets->size()) +
                    " data_offsets; it must have 2");
      }
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    key_.reset();
    return true;
  }

  bool null() {
    return (place_ == Place::top && name_ == "__metadata__") || skips() || unexpected("null");
  }
  bool boolean(bool) { return skips() || unexpected("true or false"); }
  bool number_integer(std::int64_t) { return skips() || unexpected("a negative number"); }
  bool number_float(double, const std::string&) {
    return skips() || unexpected("a number that is not whole or too large");
  }
  template <class Binary>
  bool binary(Binary&) {
    return unexpected("binary data");
  }
  bool parse_error(std::size_t position, const std::string&, const std::exception& error) {
    // "[json.exception.parse_error.101] parse error at ...: problem; last read: '...'"
    std::string_view what = error.what();
    what.remove_prefix((std::min)(what.find(": "), what.size()));
    what = what.substr(0, what.find("; last read: "));
    return stop("the header is not JSON at byte " + std::to_string(position) +
                shortened(what, 160));
  }

 private:
  enum class Place { outside, top, metadata, tensor, array };
  /// As many arrays and objects within each other as the reference implementation reads.
  static constexpr int deepest = 127;

  /// Whether a value belongs to a key that the format does not know, and is ignored.
  [[nodiscard]] bool skips() const {
    return skipped_ > 0 || (place_ == Place::tensor && key_ && key_ != "dtype" && key_ != "shape" &&
                            key_ != "data_offsets");
  }
  bool skip_into() {
    constexpr int around = 2;  // the header and the tensor
    if (++skipped_ + around <= deepest) return true;
    return stop("tensor " + in_quotes(name_) + ": " + in_quotes(*key_) +
                " is nested too deeply; it must be at most " + std::to_string(deepest) +
                " levels of the header");
  }
  bool skip_out() {
    --skipped_;
    return true;
  }

  HeaderEntry& entry() { return entries[name_]; }

  bool enter(Place place) {
    place_ = place;
    key_.reset();
    return true;
  }
  template <class Value>
  bool once(std::optional<Value>& value, Value given) {
    if (value) return stop(where() + "is there twice");
    value = std::move(given);
    return true;
  }

  [[nodiscard]] std::string where() const {
    if (place_ == Place::outside) return "the header: ";
    if (place_ == Place::metadata) return "__metadata__: " + (key_ ? in_quotes(*key_) + " " : "");
    std::string text = "tensor " + in_quotes(name_) + ": ";
    if (place_ != Place::top && key_) text += *key_ + ' ';
    return text;
  }
  bool unexpected(const char* found) {
    const char* const legal = place_ == Place::outside    ? "an object"
                              : place_ == Place::top      ? "an object"
                              : place_ == Place::metadata ? "a string"
                              : place_ == Place::array    ? "a whole number from 0 to 2^64 - 1"
                              : key_ == "dtype"           ? "a string"
                                                          : "an array";
    return stop(where() + "is " + found + "; it must be " + legal);
  }
  bool stop(std::string text) {
    problem = std::move(text);
    return false;
  }

  Place place_ = Place::outside;
  std::string name_{};                // of the tensor
  std::optional<std::string> key_{};  // in the innermost object that is not ignored
  int skipped_ = 0;                   // ignored objects and arrays that are open
  bool has_metadata_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_HEADER_READER_HPP
