// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_KEYS_HPP
#define STREAM_FORECAST_KEYS_HPP

// The one-hot keys of the memories: what is alike of two rows, as the number of a slot.
//
//     --category origin               the text of a column
//     --category @48                  the row of a season of 48
//     --category origin*@1440/24      both together: every pair has a slot of its own

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "saved_rows.hpp"

namespace stream_forecast {

inline constexpr int longest_period = 1'000'000;

/// A factor of a key: a column's text, or which of `parts` equal parts of a season the clock is in.
struct KeyTerm {
  std::string column;  ///< empty for a season
  int period = 0, parts = 0;
};

/// A key as the command line names it.
struct Category {
  std::string text;
  std::vector<KeyTerm> terms;
};

/// "@48" or "@1440/24". \return none if it is neither
[[nodiscard]] inline std::optional<KeyTerm> parse_season(std::string_view text) {
  KeyTerm term;
  const char* const end = text.data() + text.size();
  if (!text.starts_with('@')) return {};
  const auto period = std::from_chars(text.data() + 1, end, term.period);
  if (period.ec != std::errc{} || term.period < 2 || term.period > longest_period) return {};
  term.parts = term.period;
  if (period.ptr == end) return term;
  if (*period.ptr != '/') return {};
  const auto parts = std::from_chars(period.ptr + 1, end, term.parts);
  const bool good = parts.ec == std::errc{} && parts.ptr == end && term.parts >= 1;
  return good && term.parts <= term.period ? std::optional(term) : std::nullopt;
}

/// TERM or TERM*TERM... \return none if a term is empty or a season is none
[[nodiscard]] inline std::optional<Category> parse_category(const std::string& text) {
  Category category{text, {}};
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('*', begin), text.size());
    const std::string term = text.substr(begin, end - begin);
    if (term.empty()) return {};
    if (term[0] == '@') {
      const auto season = parse_season(term);
      if (!season) return {};
      category.terms.push_back(*season);
    } else {
      category.terms.push_back({term, 0, 0});
    }
    begin = end + 1;
  }
  return category;
}

/// Slots of one category. Its values take them as they come; once all are taken, a new value
/// shares the slot that its hash names. Values are known by a hash of 64 bits.
class SlotTable {
 public:
  explicit SlotTable(std::size_t most) : most_(most) {}

  std::size_t slot(std::uint64_t hash) {
    const auto found = slots_.find(hash);
    if (found != slots_.end()) return found->second;
    if (hashes_.size() == most_) return static_cast<std::size_t>(hash % most_);
    slots_.emplace(hash, hashes_.size());
    hashes_.push_back(hash);
    return hashes_.size() - 1;
  }
  [[nodiscard]] std::size_t size() const { return hashes_.size(); }

  /// For checkpoints: a row a slot, the hash in two halves, which doubles hold exactly.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    constexpr double half = 4294967296.0;
    if constexpr (loglinear::detail::is_written<Self>) {
      const Rows<double> rows = loaded_rows<double>(part, "hashes", 2, self.most_);
      SlotTable table(self.most_);
      for (Eigen::Index i = 0; i < rows.rows(); ++i) {
        for (const double number : {rows(i, 0), rows(i, 1)})
          loglinear::detail::require_between("half of a hash", number, 0.0, half - 1);
        table.slot((static_cast<std::uint64_t>(rows(i, 0)) << 32) +
                   static_cast<std::uint64_t>(rows(i, 1)));
      }
      loglinear::detail::require_size("different hashes", static_cast<Eigen::Index>(table.size()),
                                      rows.rows());
      self = std::move(table);
    } else {
      Rows<double> rows(static_cast<Eigen::Index>(self.hashes_.size()), 2);
      for (Eigen::Index i = 0; i < rows.rows(); ++i) {
        const std::uint64_t hash = self.hashes_[static_cast<std::size_t>(i)];
        rows(i, 0) = static_cast<double>(hash >> 32);
        rows(i, 1) = static_cast<double>(hash & 0xFFFFFFFF);
      }
      part("hashes", rows);
    }
  }

 private:
  std::size_t most_;
  std::unordered_map<std::uint64_t, std::size_t> slots_;
  std::vector<std::uint64_t> hashes_;  // of the slots, in their order
};

/// The slots of a row: one for each category.
using Keys = std::vector<std::size_t>;

class KeyMaker {
 public:
  KeyMaker(const std::vector<Category>& categories, std::size_t most_slots)
      : categories_(categories), tables_(categories.size(), SlotTable(most_slots)) {}

  /// \param texts  of all column terms, in their order \param clock  of the row forecast
  void fill(const std::vector<std::string>& texts, std::uint64_t clock, Keys& keys) {
    keys.resize(categories_.size());
    std::size_t text = 0;
    for (std::size_t i = 0; i < categories_.size(); ++i) {
      std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
      const auto add = [&](std::string_view bytes) {
        for (const char c : bytes)
          hash = (hash ^ static_cast<unsigned char>(c)) * std::uint64_t{0x100000001b3};
      };
      for (const KeyTerm& term : categories_[i].terms) {
        if (term.column.empty()) {
          const auto period = static_cast<std::uint64_t>(term.period);
          add(std::to_string(clock % period * static_cast<std::uint64_t>(term.parts) / period));
        } else {
          add(texts[text++]);
        }
        add("\x1f");  // so that "a" beside "bc" is not "ab" beside "c"
      }
      keys[i] = tables_[i].slot(hash);
    }
  }

  [[nodiscard]] std::size_t slots(std::size_t category) const { return tables_[category].size(); }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (std::size_t i = 0; i < self.tables_.size(); ++i) {
      part(("category" + std::to_string(i)).c_str(), self.tables_[i]);
    }
  }

 private:
  std::vector<Category> categories_;
  std::vector<SlotTable> tables_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_KEYS_HPP
