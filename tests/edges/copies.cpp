// SPDX-License-Identifier: MIT
// Assignment to itself, exchange with itself, and objects that were moved from: they can be
// assigned to and destroyed.

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "layers.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "mixers_cases.hpp"

namespace {

using namespace loglinear;

/// The same object, in a way that no compiler sees through.
template <class Object>
Object& same(Object& object) {
  Object* volatile pointer = &object;
  return *pointer;
}

/// \param other  of another shape
template <class Object, class BytesOf, class Use>
void check(const Object& original, const Object& other, BytesOf bytes_of, Use use) {
  const std::string before = bytes_of(original), before_other = bytes_of(other);
  Object object(original);
  object = same(object);
  CHECK((bytes_of(object) == before));
  std::swap(object, same(object));
  CHECK((bytes_of(object) == before));

  // Moved into a new object, and into one of another shape.
  Object target(std::move(object));
  CHECK((bytes_of(target) == before));
  object = other;
  CHECK((bytes_of(object) == before_other));
  object = std::move(target);
  CHECK((bytes_of(object) == before));
  target = original;
  CHECK((bytes_of(target) == before));
  std::swap(object, target);
  CHECK((bytes_of(object) == before));
  CHECK((bytes_of(target) == before));

  // Moved to itself is moved from.
  object = std::move(same(object));
  object = std::move(target);
  CHECK((bytes_of(object) == before));
  target = std::move(object);
  object = target;
  Object undisturbed(original);
  use(object);
  use(target);
  use(undisturbed);
  CHECK((bytes_of(object) == bytes_of(undisturbed)));
  CHECK((bytes_of(target) == bytes_of(undisturbed)));
  // Destroyed in either state.
  std::vector<Object> many(3, original);
  many.push_back(std::move(many[0]));
  many.erase(many.begin());
  CHECK((bytes_of(many.back()) == before));
  const Object left = std::move(many.front());
  CHECK((bytes_of(left) == before));
}

const auto saved = [](const auto& object) { return test::saved(object); };

template <class Layer>
Layer used(Eigen::Index d_model, Eigen::Index d_v, int tokens = 21) {
  return test::make_layer<Layer>({.sizes = {d_model, 6, d_v}, .tokens = tokens});
}
const auto use = [](auto& layer) {
  using Layer = std::remove_reference_t<decltype(layer)>;
  layer.train_one(test::Vector<typename Layer::Scalar>::Ones(layer.d_model()),
                  test::Vector<typename Layer::Scalar>::Zero(layer.output_dim()));
};

}  // namespace

TEMPLATE_TEST_CASE("Layers: to itself, and moved from", "", LogLinearAttention<GLA>,
                   (LogLinearAttention<GatedDeltaNet, float>), LogLinearAttention<DeltaProduct<2>>,
                   LinearAttention<Hawk>,
                   (LogLinearAttention<DeltaNet, float, MeanMixture, Eigen::half>),
                   MultiHeadAttention<LogLinearAttention<GatedDeltaNet>>) {
  check(used<TestType>(5, 9), used<TestType>(4, 7), saved, use);
}

TEST_CASE("States: to itself, and moved from") {
  const auto used_state = [](auto state) {
    for (int t = 0; t < 5; ++t) {
      state.push_leaf(Eigen::VectorXd::LinSpaced(state.d_k(), 1, 2),
                      Eigen::VectorXd::LinSpaced(state.d_v(), 1, 3));
    }
    return state;
  };
  const auto push = [](auto& state) {
    state.push_leaf(Eigen::VectorXd::Ones(state.d_k()), Eigen::VectorXd::Ones(state.d_v()));
  };
  using State = LogLinearState<double>;
  check(used_state(State(4, 3, 5)), used_state(State(5, 2, 7)), saved, push);
  check(used_state(State(4, 3, 5)), State(2, 6, 5), saved, push);  // as many coefficients
  using Fixed = LogLinearState<double, 3, 5, 4>;
  static_assert(Fixed::is_inline);
  check(used_state(Fixed()), Fixed(), saved, push);
  using Large = LogLinearState<double, 16, 16, 32>;
  static_assert(!Large::is_inline);
  check(used_state(Large()), Large(), saved, push);
}

TEST_CASE("Readouts: to itself, and moved from") {
  using Readout = RecursiveLeastSquares<double>;
  Readout readout({.features = 4, .outputs = 2}), other({.features = 3});
  readout.update(Eigen::VectorXd::Ones(4), Eigen::VectorXd::Ones(2));
  check(readout, other, saved, [](Readout& any) {
    any.update(Eigen::VectorXd::LinSpaced(any.features(), 0, 1),
               Eigen::VectorXd::Ones(any.outputs()));
  });
}

TEMPLATE_TEST_CASE("Snapshots, streams and parts: to itself, and moved from", "",
                   LogLinearAttention<GLA>, LogLinearAttention<GatedDeltaNet>) {
  using Layer = TestType;
  const Layer layer = used<Layer>(5, 9), other = used<Layer>(4, 7);
  using Moment = typename Layer::Snapshot;
  const auto moment_bytes = [&](const Moment& moment) {
    Layer copy = moment.size() == layer.size() || moment.size() == 0 ? layer : other;
    copy.restore(moment);
    return test::saved(copy);
  };
  check(layer.snapshot(), used<Layer>(4, 7, 9).snapshot(), moment_bytes,
        [&](Moment& moment) { used<Layer>(5, 9, 0).snapshot(moment); });

  using Stream = Rewindable<Layer>;
  const auto stream_bytes = [](const Stream& stream) {
    Stream copy(stream);
    copy.rewind(copy.rewindable());
    return test::saved(stream.layer()) + test::saved(copy.layer());
  };
  const auto forward = [](Stream& stream) {
    stream.forward(Eigen::VectorXd::Ones(stream.layer().d_model()));
  };
  Stream stream(layer, {.depth = 5, .snapshot_every = 2}), other_stream(other, {.depth = 2});
  for (int t = 0; t < 9; ++t) forward(stream);
  check(stream, other_stream, stream_bytes, forward);

  using Part = StreamPart<Layer, PartProduct::matrix>;
  const auto write = [&](Part& part) { part.write(Eigen::VectorXd::Ones(5)); };
  Part part(layer, layer.size()), empty(layer, layer.size());
  for (int t = 0; t < 9; ++t) write(part);
  check(
      part, empty,
      [&](const Part& any) {
        Layer whole(layer);
        any.append_to(whole);
        return test::saved(whole);
      },
      write);
}

TEST_CASE("A snapshot that was moved from holds nothing, and can be taken anew") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  Layer layer = used<Layer>(5, 9);
  auto moment = layer.snapshot();
  const auto kept = std::move(moment);
  CHECK(moment.size() == 0);
  CHECK(test::mentions(test::error_of([&] { layer.restore(moment); }), {"the snapshot is empty"}));
  layer.forward(Eigen::VectorXd::Ones(5));
  const std::string later = test::saved(layer);
  layer.snapshot(moment);
  layer.restore(kept);
  CHECK((test::saved(layer) != later));
  layer.restore(moment);
  CHECK((test::saved(layer) == later));
}

TEST_CASE("Caches of mixers: to itself, and moved from") {
  const LogLinearMamba2<double> mixer(
      {.hidden_size = 6, .expand = 1, .num_heads = 2, .head_dim = 3, .state_size = 4});
  using Cache = MixerCache<double>;
  Cache cache = mixer.make_cache();
  const auto step = [&](Cache& any) {
    static_cast<void>(mixer.step(Eigen::VectorXd::LinSpaced(6, 0, 1), any));
  };
  step(cache);
  Cache moved_from = cache;
  const Cache moved_to = std::move(moved_from);
  CHECK((moved_from.size() == 0 && moved_from.num_heads() == 0 && moved_to.size() == 1));
  CHECK(test::mentions(test::error_of([&] { step(moved_from); }), {"cache is of another shape"}));
  check(cache, mixer.make_cache(), saved, step);
  const Cache moved(std::move(cache));
  CHECK((cache.size() == 0 && cache.num_heads() == 0));
  CHECK_THROWS_AS(mixer.forward(Eigen::MatrixXd::Ones(1, 6), cache), std::invalid_argument);
  cache = moved;
  CHECK(cache == moved);
}
