// SPDX-License-Identifier: MIT
// No operation of a state meets a denormal number, with every kind of transition.

#include "catch.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "magnitude/denormals.hpp"
#include "random_kinds.hpp"

namespace {

using namespace loglinear;
using test::DenormalWatch;
using test::Index;

template <class Stored>
using ScalarOf = detail::Accumulator<Stored>;

template <class Stored, class Kind>
void check_kind() {
  using Scalar = ScalarOf<Stored>;
  INFO(typeid(Kind).name());
  DenormalWatch watch;
  test::Random random(6);
  bool is_normal = true;
  for (const test::Fading& fading : test::fading_streams<Scalar>()) {
    LogLinearState<Stored> state(6, 5, 4), later(6, 5, 4);
    Kind kind(5, 4);
    test::Vector<Scalar> out = test::Vector<Scalar>::Zero(4);
    const test::Vector<Scalar> lambda = random.template vector<Scalar>(6),
                               query = random.template vector<Scalar>(5);
    for (const test::Vector<Scalar>& x : fading.inputs<Scalar>(random, 9)) {
      test::RandomKind{random, false}.fill(kind);
      watch("undergo", [&] { state.undergo(kind); });
      watch("push_leaf", [&] { state.push_leaf(x.head(5), x.tail(4)); });
      watch("query_mixed", [&] { state.query_mixed(query, lambda, out); });
      is_normal = is_normal && test::has_no_denormals(out);
      watch("query_mixed, faint", [&] { state.query_mixed(x.head(5), lambda, out); });
      is_normal = is_normal && test::has_no_denormals(out);
      if (!std::is_same_v<Stored, Eigen::half>) {
        is_normal = is_normal && test::has_no_denormals(state.flat_state().template cast<Scalar>());
      }
    }
    later.reset();
    watch("advance_to", [&] {
      state.advance_to(state.size() + 37);
      later.advance_to(state.size());
    });
    watch("add", [&] { state.add(later); });
    watch("replace", [&] {
      later.replace(state.size(), [&](int l) { return state.level(l).template cast<Scalar>(); });
    });
    watch("cast", [&] { static_cast<void>(state.template cast<float>()); });
  }
  CHECK(watch.met() == "");
  CHECK(is_normal);
}

}  // namespace

TEMPLATE_TEST_CASE("No operation of a state meets a denormal number", "[magnitude]", float, double,
                   Eigen::bfloat16, Eigen::half) {
  using Scalar = ScalarOf<TestType>;
  check_kind<TestType, Identity<Scalar>>();
  check_kind<TestType, ScalarDecay<Scalar>>();
  check_kind<TestType, KeyDecay<Scalar>>();
  check_kind<TestType, ValueDecay<Scalar>>();
  check_kind<TestType, test::Delta<Scalar>>();
  check_kind<TestType, test::PlainDelta<Scalar>>();
  check_kind<TestType, test::RowDelta<Scalar>>();
  check_kind<TestType, test::TwoLeaves<Scalar>>();
  check_kind<TestType, test::RowsAndColumns<Scalar>>();
  check_kind<TestType, test::DeltaAndColumns<Scalar>>();
  check_kind<TestType, test::Turn<Scalar>>();
}
