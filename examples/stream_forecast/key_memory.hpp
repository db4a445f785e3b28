// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_KEY_MEMORY_HPP
#define STREAM_FORECAST_KEY_MEMORY_HPP

// What came of rows with the same keys: the cascade over the levels of log-linear attention, and
// its rivals, one state and means that decay. Least squares on [inputs; estimates] makes the
// forecast of either.

#include <algorithm>
#include <loglinear/readout/cascade.hpp>
#include <loglinear/stream/log_linear_state.hpp>
#include <loglinear/transitions/decays.hpp>
#include <string>
#include <utility>
#include <vector>

#include "forecaster.hpp"

namespace stream_forecast {

/// Of each key and decay the mean (sum_i d^i y_i) / (sum_i d^i + kappa) of what it saw i visits
/// ago.
template <class Scalar>
class DecayedMeans {
 public:
  DecayedMeans(const Options& options, std::vector<double> decays)
      : decays_(std::move(decays)),
        kappa_(static_cast<Scalar>(options.kappa)),
        most_(static_cast<std::size_t>(options.slots)),
        tables_(options.categories.size()) {}

  [[nodiscard]] Eigen::Index features() const {
    return static_cast<Eigen::Index>(tables_.size() * decays_.size());
  }
  void read(const Keys& keys, Scalar* out) {
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      for (const Mean& mean : row(i, keys[i])) *out++ = mean.sum / (mean.mass + kappa_);
    }
  }
  void write(const Keys& keys, Scalar value) {
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      std::vector<Mean>& means = row(i, keys[i]);
      for (std::size_t j = 0; j < decays_.size(); ++j) {
        const auto decay = static_cast<Scalar>(decays_[j]);
        means[j] = {decay * means[j].sum + value, decay * means[j].mass + 1};
      }
    }
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    const auto width = static_cast<Eigen::Index>(2 * self.decays_.size());
    for (std::size_t i = 0; i < self.tables_.size(); ++i) {
      const std::string name = "table" + std::to_string(i);
      auto& table = self.tables_[i];
      if constexpr (loglinear::detail::is_written<Self>) {
        const Rows<Scalar> rows = loaded_rows<Scalar>(part, name.c_str(), width, self.most_);
        table.assign(static_cast<std::size_t>(rows.rows()), {});
        for (Eigen::Index slot = 0; slot < rows.rows(); ++slot) {
          for (Eigen::Index j = 0; j < width; j += 2) {
            loglinear::detail::require_between("a mass", rows(slot, j + 1), Scalar(0),
                                               std::numeric_limits<Scalar>::max());
            table[static_cast<std::size_t>(slot)].push_back({rows(slot, j), rows(slot, j + 1)});
          }
        }
      } else {
        Rows<Scalar> rows(static_cast<Eigen::Index>(table.size()), width);
        for (Eigen::Index slot = 0; slot < rows.rows(); ++slot) {
          for (Eigen::Index j = 0; j < width; j += 2) {
            const Mean& mean =
                table[static_cast<std::size_t>(slot)][static_cast<std::size_t>(j / 2)];
            rows(slot, j) = mean.sum;
            rows(slot, j + 1) = mean.mass;
          }
        }
        part(name.c_str(), rows);
      }
    }
  }

 private:
  struct Mean {
    Scalar sum = 0, mass = 0;
  };
  std::vector<Mean>& row(std::size_t category, std::size_t slot) {
    auto& table = tables_[category];
    while (table.size() <= slot) table.emplace_back(decays_.size());
    return table[slot];
  }

  std::vector<double> decays_;
  Scalar kappa_;
  std::size_t most_;
  std::vector<std::vector<std::vector<Mean>>> tables_;  // of each category, slot and decay
};

/// A cascade for each category; its keys grow as slots are taken.
template <class Scalar>
class Cascades {
 public:
  explicit Cascades(const Options& options) : most_(options.slots) {
    for (std::size_t i = 0; i < options.categories.size(); ++i) {
      parts_.emplace_back(
          typename Part::Options{.d_k = 1, .max_levels = options.levels, .kappa = options.kappa});
    }
  }

  [[nodiscard]] Eigen::Index features() const {
    return static_cast<Eigen::Index>(parts_.size()) * parts_.front().feature_count();
  }
  void read(const Keys& keys, Scalar* out) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const auto& estimates = parts_[i].features(one_hot(i, keys[i]));
      out = std::copy_n(estimates.data(), estimates.size(), out);
    }
  }
  void write(const Keys& keys, Scalar value) {
    value_[0] = value;
    for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i].write(one_hot(i, keys[i]), value_);
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (std::size_t i = 0; i < self.parts_.size(); ++i) {
      const std::string name = "cascade" + std::to_string(i);
      auto slots = static_cast<std::uint64_t>(self.parts_[i].d_k());
      part((name + ".slots").c_str(), slots);
      if constexpr (loglinear::detail::is_written<Self>) {
        loglinear::detail::require_between("the number of slots", slots,
                                           static_cast<std::uint64_t>(self.parts_[i].d_k()),
                                           static_cast<std::uint64_t>(self.most_));
        self.parts_[i].grow_keys(static_cast<Eigen::Index>(slots));
      }
      part(name.c_str(), self.parts_[i]);
    }
  }

 private:
  using Part = loglinear::Cascade<Scalar>;

  const Vector<Scalar>& one_hot(std::size_t category, std::size_t slot) {
    const auto place = static_cast<Eigen::Index>(slot);
    Part& part = parts_[category];
    if (place >= part.d_k()) part.grow_keys(std::min(most_, std::max(place + 1, 2 * part.d_k())));
    key_.setZero(part.d_k());
    key_[place] = Scalar(1);
    return key_;
  }

  Eigen::Index most_;
  std::vector<Part> parts_;
  Vector<Scalar> key_, value_ = Vector<Scalar>::Zero(1);
};

/// The same with one state, in which everything decays at each row: linear attention.
template <class Scalar>
class OneState {
 public:
  explicit OneState(const Options& options)
      : decay_(1, 1),
        kappa_(static_cast<Scalar>(options.kappa)),
        most_(options.slots),
        states_(options.categories.size(), State(1, 1, 2)) {
    decay_.decay = static_cast<Scalar>(options.state_decay);
  }

  [[nodiscard]] Eigen::Index features() const { return static_cast<Eigen::Index>(states_.size()); }
  void read(const Keys& keys, Scalar* out) {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const auto slot = static_cast<Eigen::Index>(keys[i]);
      if (slot >= states_[i].d_k()) grow(states_[i], std::max(slot + 1, 2 * states_[i].d_k()));
      const auto level = states_[i].level(0);
      *out++ = level(slot, 0) / (level(slot, 1) + kappa_);
    }
  }
  void write(const Keys& keys, Scalar value) {
    value_ << value, Scalar(1);
    for (std::size_t i = 0; i < states_.size(); ++i) {
      key_.setZero(states_[i].d_k());
      key_[static_cast<Eigen::Index>(keys[i])] = Scalar(1);
      states_[i].undergo(decay_);
      states_[i].push_leaf(key_, value_);
    }
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (std::size_t i = 0; i < self.states_.size(); ++i) {
      const std::string name = "state" + std::to_string(i);
      auto& state = self.states_[i];
      auto slots = static_cast<std::uint64_t>(state.d_k());
      part((name + ".slots").c_str(), slots);
      if constexpr (loglinear::detail::is_written<Self>) {
        loglinear::detail::require_between("the number of slots", slots,
                                           static_cast<std::uint64_t>(state.d_k()),
                                           static_cast<std::uint64_t>(self.most_));
        self.grow(state, static_cast<Eigen::Index>(slots));
      }
      part(name.c_str(), state);
    }
  }

 private:
  using State = loglinear::LogLinearState<Scalar>;

  void grow(State& state, Eigen::Index slots) const {
    State grown(1, std::min(most_, slots), 2);
    Rows<Scalar> level = Rows<Scalar>::Zero(grown.d_k(), 2);
    level.topRows(state.d_k()) = state.level(0);
    grown.replace(state.size(), [&](int) -> const Rows<Scalar>& { return level; });
    state = std::move(grown);
  }

  loglinear::ScalarDecay<Scalar> decay_;
  Scalar kappa_;
  Eigen::Index most_;
  std::vector<State> states_;
  Vector<Scalar> key_;
  Eigen::Matrix<Scalar, 2, 1> value_;
};

template <class Scalar, class Memory>
class KeyedForecaster final : public Forecaster<Scalar> {
 public:
  KeyedForecaster(const Options& options, Eigen::Index inputs, Memory memory)
      : memory_(std::move(memory)),
        readout_(options, inputs + memory_.features()),
        features_(inputs + memory_.features()) {}

  double forecast(const Now<Scalar>& now) override {
    features_.head(now.inputs.size()) = now.inputs;
    memory_.read(now.keys, features_.data() + now.inputs.size());
    return now.history.scaling.restored(readout_.predict(features_, now.ticket));
  }
  void learn(const Lesson<Scalar>& lesson) override {
    readout_.learn(lesson);
    memory_.write(lesson.keys, lesson.outcome[0]);
  }

  void save(loglinear::Checkpoint& to, const std::string& name) const override {
    to.put(name + ".memory", memory_);
    to.put(name + ".readout", readout_);
  }
  void load(loglinear::Checkpoint& from, const std::string& name) override {
    from.get(name + ".memory", memory_);
    from.get(name + ".readout", readout_);
  }
  [[nodiscard]] std::optional<std::size_t> tickets() const override { return readout_.tickets(); }

 private:
  Memory memory_;
  Readout<Scalar> readout_;
  Vector<Scalar> features_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_KEY_MEMORY_HPP
