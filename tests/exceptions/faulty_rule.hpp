// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_EXCEPTIONS_FAULTY_RULE_HPP
#define LOGLINEAR_TESTS_EXCEPTIONS_FAULTY_RULE_HPP

// A rule and level weights that throw at any call they get, before and after having written.

#include <array>

#include "exceptions/injection.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {

/// Something that the library cannot know.
struct Fault {};

/// Calls until one throws; negative for never.
inline int calls_before_fault = -1;
inline int faults = 0;
inline void may_throw() {
  if (calls_before_fault < 0 || calls_before_fault-- > 0) return;
  ++faults;
  throw Fault{};
}

struct Faults {
  using Error = Fault;

  void arm(int place) const {
    faults = 0;
    calls_before_fault = place;
  }
  [[nodiscard]] int disarm() const {
    calls_before_fault = -1;
    return faults;
  }
  static Tally& tally() {
    static Tally tally("exceptions of a rule or of level weights");
    return tally;
  }
};

/// What copies may throw, and moves may not.
struct FaultyCopies {
  FaultyCopies() = default;
  FaultyCopies(const FaultyCopies&) { may_throw(); }
  FaultyCopies& operator=(const FaultyCopies&) {
    may_throw();
    return *this;
  }
  FaultyCopies(FaultyCopies&&) = default;
  FaultyCopies& operator=(FaultyCopies&&) = default;
  ~FaultyCopies() = default;
};

/// A rule of the library's that throws.
template <class Rule>
struct Faulty {
  Rule rule{};
  FaultyCopies copies{};

  template <class Scalar>
  using Transition = typename Rule::template Transition<Scalar>;

  [[nodiscard]] Eigen::Index leaves() const {
    may_throw();
    return loglinear::detail::leaves_of(rule);
  }
  [[nodiscard]] auto parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    may_throw();
    return rule.parameters(d_k, d_v);
  }
  [[nodiscard]] Eigen::Index key_rows(Eigen::Index d_k) const {
    may_throw();
    return loglinear::detail::key_rows_of(rule, d_k);
  }
  void validate() const {
    may_throw();
    loglinear::detail::validate_rule(rule);
  }
  void prepare(const auto& in, auto& token) const {
    may_throw();
    rule.prepare(in, token);
    may_throw();
  }
  void prepare_query(const auto& in, auto& query) const {
    may_throw();
    loglinear::detail::prepare_query(rule, in, query);
    may_throw();
  }
  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    may_throw();
    if constexpr (!requires { rule.prepare_query(in, d_in.q); }) d_in.q = d_token.query;
    rule.pullback(in, token, d_token, d_in);
    may_throw();
  }
  friend std::string to_text(const Faulty&) {
    may_throw();
    return "faulty";
  }
};

/// The usual mixture, likewise.
struct FaultyWeights {
  loglinear::NormalizedMixture mixture{};
  FaultyCopies copies{};

  [[nodiscard]] std::array<loglinear::Parameter, 1> parameters(Eigen::Index n) const {
    may_throw();
    return mixture.parameters(n);
  }
  template <class Scalar>
  void resolve(int levels) {
    may_throw();
    mixture.resolve<Scalar>(levels);
  }
  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    may_throw();
    mixture.weigh(raw, free, lambda);
    may_throw();
  }
  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    may_throw();
    mixture.pullback(raw, free, lambda, d_lambda, d_raw, d_free);
    may_throw();
  }
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_EXCEPTIONS_FAULTY_RULE_HPP
