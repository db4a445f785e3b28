// SPDX-License-Identifier: MIT
// The lists of members by which the values of a stream are copied, taken into snapshots, stored in
// checkpoints and cast: a member that is in none of them is noticed here, and what is listed
// arrives, bit for bit.
#include "loglinear/stream/detail/fields.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/snapshot.hpp"
#include "random_kinds.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using namespace loglinear::test;

/// The bytes of the members in a value's list.
struct CountBytes {
  std::size_t& bytes;

  template <class Count>
  void operator()(const char*, detail::CountField<Count>) const {
    bytes += sizeof(Count);
  }
  template <class Numbers>
  void operator()(const char*, detail::RowsField<Numbers>) const {
    bytes += sizeof(Numbers);
  }
  template <class Values>
  void operator()(const char*, detail::LaterField<Values>) const {
    bytes += sizeof(Values);
  }
  template <class Value>
  void operator()(const char*, const Value&) const {
    bytes += sizeof(Value);
  }
};

/// A value of 8-byte members alone, of which there is no padding: its size is that of its lists.
template <class Value>
void check_lists(const Value& value) {
  std::size_t bytes = 0;
  Value::fields(CountBytes{bytes}, value);
  std::apply([&](const auto&... fixed) { ((bytes += sizeof(fixed)), ...); }, Value::fixed(value));
  CHECK(bytes == sizeof(Value));
}

/// What a visitor of parts meets: every number in memory under its full name.
struct Recorder {
  std::string prefix;
  std::map<std::string, std::vector<double>>& found;

  template <class Part>
  void operator()(const std::string& name, const Part& part) const {
    const std::string full = prefix + name;
    if constexpr (std::is_arithmetic_v<Part>) {
      found[full] = {static_cast<double>(part)};
    } else if constexpr (requires { part.derived(); }) {
      for (Index i = 0; i < part.rows(); ++i) {
        for (Index j = 0; j < part.cols(); ++j) {
          found[full].push_back(static_cast<double>(part(i, j)));
        }
      }
    } else {
      detail::Parts::visit(part, Recorder{full + "/", found});
    }
  }
};
template <class Value>
std::map<std::string, std::vector<double>> parts_of(const Value& value) {
  std::map<std::string, std::vector<double>> found;
  detail::Parts::visit(value, Recorder{"", found});
  return found;
}

/// A stream with something in every member: leaves, pending products of all tiers, levels.
template <class Kind>
auto long_stream(Index tokens) {
  using Stream = detail::StreamState<Kind>;
  constexpr Index key_rows = 9, d_v = 8;
  Stream stream(9, key_rows, d_v, 1);
  detail::ReadMemory<Kind> memory(stream.read_shape());
  Random random(31);
  RandomKind fill{random, true};
  Token<Kind> token(key_rows, d_v, 1);
  detail::Vector<double> lambda = detail::Vector<double>::Ones(9), read(d_v);
  for (Index t = 0; t < tokens; ++t) {
    token.keys = random.matrix<double>(key_rows, 1);
    token.values = random.matrix<double>(d_v, 1);
    token.query = random.vector<double>(key_rows);
    fill.fill(token.transition);
    stream.read({token.query.data(), lambda.data(), ReadOrder::before_push}, memory, read.data(),
                token.transition, memory.looked_up);
    stream.write(token, stream.admit(token), memory.looked_up);
  }
  return stream;
}

template <template <class> class KindOf>
void check_kind() {
  using Kind = KindOf<double>;
  const auto stream = long_stream<Kind>(8 * 31 + 5);
  check_lists(stream.buffer());
  check_lists(stream.tiers());
  check_lists(stream.tiers().recent());
  check_lists(detail::PendingProduct<Kind>(9, 8));
  check_lists(stream.levels());
  check_lists(stream.levels().storage());
  check_lists(stream);

  // The account of levels: what a checkpoint names beside the levels themselves.
  std::size_t numbers = 0;
  const auto expected = parts_of(stream);
  for (const auto& [name, values] : parts_of(stream.levels())) {
    if (name.find("level") == std::string::npos) numbers += values.size();
  }
  CHECK(numbers * sizeof(double) == sizeof(detail::LevelsAccount));

  // Every part differs from that of a stream that has taken nothing, but perhaps the growth.
  const auto nothing = parts_of(long_stream<Kind>(0));
  for (const auto& [name, values] : expected) {
    const auto before = nothing.find(name);
    CAPTURE(name);
    CHECK((name == "growth" || before == nothing.end() || before->second != values));
  }

  // Snapshots and casts bring all of them along, into a stream that held something else.
  StreamSnapshot<Kind> moment;
  moment.take(long_stream<Kind>(3));
  moment.take(stream);
  auto other = long_stream<Kind>(77);
  moment.restore(other);
  CHECK(parts_of(other) == expected);
  const auto there = stream.template cast<KindOf<long double>, long double>();
  const auto back = there.template cast<Kind, double>();
  CHECK(parts_of(back) == expected);
}

}  // namespace

TEST_CASE("every member of a stream's values is in a list, and what is listed arrives") {
  check_kind<ScalarDecay>();
  check_kind<KeyDecay>();
  check_kind<ValueDecay>();
  check_kind<Delta>();
  check_kind<TwoLeaves>();
  check_kind<RowsAndColumns>();
  check_kind<DeltaAndColumns>();
}
