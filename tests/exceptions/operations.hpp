// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_EXCEPTIONS_OPERATIONS_HPP
#define LOGLINEAR_TESTS_EXCEPTIONS_OPERATIONS_HPP

// Everything that can be done to a layer, one head or several, and to what is made of layers.

#include <cstdint>
#include <string>
#include <utility>

#include "checkpoint/bytes.hpp"
#include "layers.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {

/// A layer of 8 x 9 levels, which buffers up to seven tokens, after `tokens` tokens. Spans of 22
/// tokens after 53 have some that go to the buffer at either end, and two chunks in between, which
/// meet at token 64.
template <class Layer>
Layer used_layer(int tokens, Index d_model = 5, Index d_v = 9) {
  return make_layer<Layer>(
      {.sizes = {d_model, 8, d_v}, .max_levels = 5, .tokens = tokens, .learns = true});
}

/// `visit(name, operation)`: operations on any layer.
template <class Layer, class Visit>
void for_each_operation(Visit visit) {
  using namespace loglinear;
  using Scalar = typename Layer::Scalar;
  Random random(31);
  const Layer other_shape = used_layer<Layer>(9, 7, 12), other_moment = used_layer<Layer>(30);
  const Vector<Scalar> x = random.vector<Scalar>(5),
                       y = Scalar(0.5) * random.vector<Scalar>(other_moment.output_dim());
  const Matrix<Scalar> xs = random.matrix<Scalar>(22, 5),
                       ys = random.matrix<Scalar>(22, other_moment.output_dim());
  const auto moment = other_moment.snapshot();
  const std::string file = saved(other_moment);

  visit("forward", [&](Layer& layer) { layer.forward(x); });
  visit("query_readonly", [&](Layer& layer) { layer.query_readonly(x); });
  visit("train_one", [&](Layer& layer) { layer.train_one(x, y); });
  visit("forward of an expression",
        [&](Layer& layer) { layer.forward(x.transpose() + x.transpose()); });
  visit("advance_to", [&](Layer& layer) { layer.advance_to(layer.size() + 77); });
  visit("set_weight", [&](Layer& layer) {
    const std::string name = layer.weight_names().back();
    layer.set_weight(name, (Scalar(2) * layer.weight(name)).eval());
  });
  visit("state", [](Layer& layer) { static_cast<void>(layer.state()); });
  visit("snapshot", [](Layer& layer) { static_cast<void>(layer.snapshot()); });
  visit("restore", [&](Layer& layer) { layer.restore(moment); });
  visit("copy", [](Layer& layer) { Layer copy(layer); });
  visit("assign", [&](Layer& layer) { layer = other_moment; });
  visit("assign another shape", [&](Layer& layer) { layer = other_shape; });
  visit("forward_span", [&](Layer& layer) { layer.forward_span(xs); });
  visit("forward_span of few", [&](Layer& layer) { layer.forward_span(xs.topRows(3)); });
  visit("train_span", [&](Layer& layer) { layer.train_span(xs, ys); });
  visit("span_gradient", [&](Layer& layer) { static_cast<void>(layer.span_gradient(xs, ys)); });
  visit("save", [](Layer& layer) { static_cast<void>(saved(layer)); });
  visit("load", [&](Layer& layer) { load_bytes(file, layer); });
  visit("load_weights", [&](Layer& layer) { set_weights(layer, weights_of(other_moment)); });
}

/// What is left of a rewindable stream at each depth.
template <class Layer>
std::string bytes_of(const loglinear::Rewindable<Layer>& stream) {
  std::string all = saved(stream.layer()) + std::to_string(stream.rewindable());
  loglinear::Rewindable<Layer> copy(stream);
  while (copy.rewindable() > 0) {
    copy.rewind(1);
    all += saved(copy.layer());
  }
  return all;
}

/// What a layer becomes when it is restored to a moment.
template <class Layer>
std::string bytes_of(const Layer& like, const typename Layer::Snapshot& moment) {
  Layer layer(like);
  const std::string error = error_of([&] { layer.restore(moment); });
  return error.empty() ? saved(layer) : error;
}

/// `check(name, object, bytes, operation)` for streams that can be rewound and for snapshots.
template <class Layer, class Check>
void for_each_operation_around(Check check) {
  using namespace loglinear;
  using Scalar = typename Layer::Scalar;
  Random random(32);
  const Layer layer = used_layer<Layer>(9), later = used_layer<Layer>(31),
              other = used_layer<Layer>(9, 7, 12);
  const Matrix<Scalar> xs = random.matrix<Scalar>(5, 40);

  Rewindable<Layer> stream(layer, {.depth = 9, .snapshot_every = 4});
  for (int t = 0; t < 30; ++t) stream.forward(xs.col(t));
  const auto bytes = [](const Rewindable<Layer>& any) { return bytes_of(any); };
  check("Rewindable::forward", stream, bytes,
        [&](Rewindable<Layer>& any) { any.forward(xs.col(30)); });
  check("Rewindable::rewind", stream, bytes, [&](Rewindable<Layer>& any) { any.rewind(3); });
  check("Rewindable::query_readonly", stream, bytes,
        [&](Rewindable<Layer>& any) { any.query_readonly(xs.col(30)); });
  check("Rewindable =", stream, bytes, [&](Rewindable<Layer>& any) {
    const Rewindable<Layer> fresh(other, {.depth = 2});
    any = fresh;
  });

  using Moment = typename Layer::Snapshot;
  const auto moment_bytes = [&](const Moment& moment) { return bytes_of(layer, moment); };
  const auto take = [&](Moment& moment) { later.snapshot(moment); };
  check("snapshot into nothing", Moment{}, moment_bytes, take);
  check("snapshot into a smaller one", layer.snapshot(), moment_bytes, take);
  check("snapshot into another shape", other.snapshot(), moment_bytes, take);
  if constexpr (requires(Moment & moment) { moment.byte_count(); }) {  // not a vector of them
    check("snapshot = snapshot", layer.snapshot(), moment_bytes, [&](Moment& moment) {
      const Moment another = later.snapshot();
      moment = another;
    });
  }
}

/// The same for parts of a stream.
template <class Layer, loglinear::PartProduct product, class Check>
void for_each_operation_on_parts(Check check) {
  using namespace loglinear;
  using Scalar = typename Layer::Scalar;
  using Part = StreamPart<Layer, product>;
  Random random(33);
  const Layer stream = used_layer<Layer>(9);
  const Matrix<Scalar> xs = random.matrix<Scalar>(5, 40);
  Part part(stream, 9), rest(stream, 9 + 20);
  for (int t = 0; t < 20; ++t) part.write(xs.col(t));
  for (int t = 20; t < 39; ++t) rest.write(xs.col(t));
  const auto bytes = [&](const Part& any) {
    Layer whole(stream);
    any.append_to(whole);
    return saved(whole);
  };
  check("StreamPart::write", part, bytes, [&](Part& any) { any.write(xs.col(39)); });
  check("StreamPart::append", part, bytes, [&](Part& any) { any.append(rest); });
  check("StreamPart =", part, bytes, [&](Part& any) {
    const Part another(stream, 9);
    any = another;
  });
  check(
      "StreamPart::append_to", stream, [](const Layer& layer) { return saved(layer); },
      [&](Layer& layer) { part.append_to(layer); });
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_EXCEPTIONS_OPERATIONS_HPP
