// SPDX-License-Identifier: MIT
// Kinds of transition that the library does not know, and that say what they are made of: whole
// spans of tokens are the same as their tokens one by one, and gradients of spans are those of the
// tokens, by differences.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "catch.hpp"
#include "oracles/differences.hpp"
#include "rules.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Span = detail::RowMajorMatrix<double>;
using Eigen::Index;

/// S <- (I - erase find^T) diag(keep) S diag(fade): everything at once, and in an order that no
/// kind of the library has.
template <class Scalar_, bool fades>
struct Overwrite {
  using Scalar = Scalar_;
  static constexpr bool scales_values = fades;
  Overwrite(Index key_rows, Index d_v)
      : keep(detail::Vector<Scalar>::Ones(key_rows)),
        fade(detail::Vector<Scalar>::Ones(d_v)),
        find(detail::Vector<Scalar>::Zero(key_rows)),
        erase(detail::Vector<Scalar>::Zero(key_rows)) {}

  detail::Vector<Scalar> keep, fade, find, erase;

  [[nodiscard]] bool fits(Index key_rows, Index d_v) const {
    return keep.size() == key_rows && fade.size() == d_v;
  }
  void left(auto&& m) const {
    const detail::Matrix<Scalar> kept = keep.asDiagonal() * m;
    m = kept - erase * (find.transpose() * kept);
  }
  void left_transposed(auto&& q) const {
    const Scalar along = erase.dot(q);
    q = keep.cwiseProduct(q - along * find).eval();
  }
  void right(auto&& m) const {
    if (fades) m = (m * fade.asDiagonal()).eval();
  }
  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                Overwrite& gradient) const {
    const detail::Vector<Scalar> kept = keep.cwiseProduct(s);
    const Scalar along = erase.dot(q), found = find.dot(kept);
    gradient.keep = (q - along * find).cwiseProduct(s);
    gradient.erase = -found * q;
    gradient.find = -along * kept;
    gradient.fade = z.cwiseProduct(d);
  }
  void visit_steps(auto& steps, auto&... gradient) const {
    steps.decay_rows(keep.data(), gradient.keep.data()...);
    steps.look_up(find.data(), gradient.find.data()...);
    steps.write_back(erase.data(), gradient.erase.data()...);
    if constexpr (fades) steps.decay_values(fade.data(), gradient.fade.data()...);
  }
  [[nodiscard]] double norm_bound() const {
    return keep.cwiseAbs().maxCoeff() * (1 + (std::max)(1.0, erase.norm()) * find.norm()) *
           (std::max)(1.0, fade.cwiseAbs().maxCoeff());
  }
  [[nodiscard]] bool all_finite() const {
    return keep.allFinite() && fade.allFinite() && find.allFinite() && erase.allFinite();
  }
};

/// S <- exp(-time) S: its member is not the decay itself.
template <class Scalar_>
struct Elapsed {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;
  Elapsed(Index, Index) {}

  Scalar time{0};

  [[nodiscard]] bool fits(Index, Index) const { return true; }
  void left(auto&& m) const { m *= std::exp(-time); }
  void left_transposed(auto&& q) const { q *= std::exp(-time); }
  void right(auto&&) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&, Elapsed& gradient) const {
    gradient.time = -std::exp(-time) * q.dot(s);
  }
  void visit_steps(auto& steps) const { steps.decay(std::exp(-time)); }
  void visit_steps(auto& steps, Elapsed& gradient) const {
    Scalar d_decay;
    steps.decay(std::exp(-time), d_decay);
    gradient.time = -std::exp(-time) * d_decay;
  }
  [[nodiscard]] double norm_bound() const { return std::exp(-time); }
  [[nodiscard]] bool all_finite() const { return std::isfinite(time); }
};

/// Several updates, of kinds of both sorts, with decays before, between and after them.
template <class Scalar>
using Mixture = TransitionProduct<Elapsed<Scalar>, RankOneUpdate<ScalarDecay<Scalar>>,
                                  Overwrite<Scalar, false>, Elapsed<Scalar>>;

/// Fills the kind's members from the rule's own projections, one after the other, and back.
template <class Member>
void for_each_member(Overwrite<double, true>& kind, Member member) {
  member(kind.keep, 1), member(kind.find, 0), member(kind.erase, 0), member(kind.fade, 1);
}
template <class Member>
void for_each_member(Overwrite<double, false>& kind, Member member) {
  member(kind.keep, 1), member(kind.find, 0), member(kind.erase, 0);
}
template <class Member>
void for_each_member(Elapsed<double>& kind, Member member) {
  Eigen::Map<detail::Vector<double>> time(&kind.time, 1);
  member(time, 0.2);
}
template <class Member>
void for_each_member(RankOneUpdate<ScalarDecay<double>>& kind, Member member) {
  Eigen::Map<detail::Vector<double>> decay(&kind.diagonal.decay, 1);
  member(kind.u, 0), member(kind.p, 0), member(decay, 0.9);
}
template <class... Factors, class Member>
void for_each_member(TransitionProduct<Factors...>& kind, Member member) {
  std::apply([&](auto&... factor) { (for_each_member(factor, member), ...); }, kind.factors);
}

/// Writes k v^T; the members of its kind are `centre + 0.1 projection`.
template <template <class> class Kind>
struct Direct {
  static constexpr double scale = 0.1;
  template <class Scalar>
  using Transition = Kind<Scalar>;

  [[nodiscard]] std::array<Parameter, 1> parameters(Index d_k, Index d_v) const {
    Kind<double> kind(d_k, d_v);
    Index size = 0;
    for_each_member(kind, [&](const auto& values, double) { size += values.size(); });
    return {projection("w_members", size)};
  }
  void prepare(const auto& in, auto& token) const {
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
    Index begin = 0;
    for_each_member(token.transition, [&](auto& values, double centre) {
      values.array() = centre + scale * in.own.segment(begin, values.size()).array();
      begin += values.size();
    });
  }
  void pullback(const auto&, const auto&, const auto& d_token, auto& d_in) const {
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
    Index begin = 0;
    auto d_transition = d_token.transition;
    for_each_member(d_transition, [&](const auto& values, double) {
      d_in.own.segment(begin, values.size()) = scale * values;
      begin += values.size();
    });
  }
};

template <class Scalar>
using Everything = Overwrite<Scalar, true>;
template <class Scalar>
using RowsAlone = Overwrite<Scalar, false>;

template <template <class> class Kind>
LogLinearAttention<Direct<Kind>> layer_of(ReadOrder order, int levels) {
  return make_layer<LogLinearAttention<Direct<Kind>>>(
      {.max_levels = levels, .read_order = order, .tokens = 11});
}

/// c sqrt(d) eps, grown by the number of tokens that a read sums over; reads are of order 1.
constexpr double tolerance = 1e-11;
constexpr double gradient_tolerance = 1e-6;  // max|a - b| / max|b| for each array

template <template <class> class Kind>
void check_spans() {
  for (const ReadOrder order : read_orders) {
    for (const int levels : {2, 10}) {
      for (const Index tokens : {1, 70, 133}) {
        CAPTURE(name_of(order), levels, tokens);
        auto streaming = layer_of<Kind>(order, levels), span = streaming;
        const Span x = Normal(9).matrix<double>(tokens, 5, 1);
        CHECK(detail::max_abs(span.forward_span(x) - one_by_one(streaming, x)) <= tolerance);
        const auto state = streaming.state();
        CHECK(detail::max_abs(span.state() - state) <= tolerance * (1 + detail::max_abs(state)));
      }
    }
  }
}

template <template <class> class Kind>
void check_gradients() {
  for (const ReadOrder order : read_orders) {
    CAPTURE(name_of(order));
    const auto layer = layer_of<Kind>(order, 4);
    Normal normal(12);
    const Span x = normal.matrix<double>(67, 5, 1), d_out = normal.matrix<double>(67, 9, 1);
    const auto gradient = layer.span_gradient(x, d_out);
    for (const std::string& weight : layer.weight_names()) {
      CAPTURE(weight);
      const Span at = layer.weight(weight), found = gradient.weight(weight);
      double error = 0;
      for (Index i = 0; i < at.size(); i += 1 + at.size() / 9) {
        const double difference = derivative(1e-4, [&](double by) {
          auto moved = layer;
          Span to = at;
          to.data()[i] += by;
          moved.set_weight(weight, to);
          return one_by_one(moved, x).cwiseProduct(d_out).sum();
        });
        error = std::max(error, std::abs(difference - found.data()[i]));
      }
      CHECK(found.cwiseAbs().maxCoeff() > 1e-6);
      CHECK(error <= gradient_tolerance * found.cwiseAbs().maxCoeff());
    }
  }
}

static_assert(HasSteps<Everything<double>> && HasSteps<Elapsed<double>> &&
              HasSteps<Mixture<double>>);

}  // namespace

TEST_CASE("spans of a kind that the library does not know are its tokens one by one", "[law]") {
  SECTION("row decay, update, value decay") {
    check_spans<Everything>();
  }
  SECTION("row decay, update") {
    check_spans<RowsAlone>();
  }
  SECTION("a decay with a parameter of its own") {
    check_spans<Elapsed>();
  }
  SECTION("a product with kinds of the library") {
    check_spans<Mixture>();
  }
}

TEST_CASE("gradients of such spans are those of their tokens, by differences", "[grad]") {
  SECTION("row decay, update, value decay") {
    check_gradients<Everything>();
  }
  SECTION("row decay, update") {
    check_gradients<RowsAlone>();
  }
  SECTION("a decay with a parameter of its own") {
    check_gradients<Elapsed>();
  }
  SECTION("a product with kinds of the library") {
    check_gradients<Mixture>();
  }
}

TEST_CASE("the steps of a kind are counted", "[law]") {
  const auto counts = [](const auto& kind) {
    StepCounts steps;
    kind.visit_steps(steps);
    return steps;
  };
  const StepCounts mixture = counts(Mixture<double>(3, 2));
  CHECK(mixture.updates == 2);
  CHECK(mixture.decays);
  CHECK(mixture.decays_by_row);
  CHECK_FALSE(mixture.decays_values);
  CHECK(counts(Everything<double>(3, 2)).decays_values);
  const StepCounts plain = step_counts<Identity<double>>(3, 2);
  CHECK(plain.updates == 0);
  CHECK_FALSE(plain.decays);
  CHECK_FALSE(step_counts<ScalarDecay<double>>(3, 2).decays_by_row);
}
