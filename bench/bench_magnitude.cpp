// SPDX-License-Identifier: MIT
// Whether the cost of a token depends on the size of numbers. A ratio is the time with inputs of
// some magnitude, or under gates that fade fast, over the time with inputs of order 1 under slow
// gates. Both take turns, and a ratio is the median over the rounds; that of a stream is of its
// slowest 512 tokens. On processors where denormal numbers are slow, code that meets them has
// ratios of 2 to 100.
//
// Usage: bench_magnitude [rounds = 7]. Prints tables and the largest ratio; fails where a result is
// wrong. Streams: d_model = d_k = d_v = 64, 16 levels, weights as they are drawn, gates of one half
// a token where the rule has gates. Sequences: 2048 tokens, d = 64.

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "loglinear/loglinear.hpp"
#include "loglinear/sequence.hpp"
#include "magnitudes.hpp"
#include "samples.hpp"
#include "sequence_data.hpp"

namespace {

using namespace loglinear;
using bench::Index;
using bench::Magnitude;
using bench::Samples;

constexpr Index d = 64, window = 512, stream_length = 10240, constant_length = 1024;
int rounds = 7;
volatile double sink;

void fail(const std::string& what) {
  std::fprintf(stderr, "bench_magnitude: a result is wrong: %s\n", what.c_str());
  std::exit(1);
}

template <class Scalar>
using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

enum class Call { forward, train_one, forward_span, span_gradient };
constexpr const char* call_names[] = {"`forward`", "`train_one`", "`forward_span`",
                                      "`span_gradient`"};

/// One stream through a layer, window by window.
template <class Layer>
class Stream {
 public:
  using Scalar = typename Layer::Scalar;
  Stream(const Layer& layer, Call call, const Rows<Scalar>& x)
      : layer_(layer), call_(call), x_(x) {}

  /// Nanoseconds of the next window. \throws std::invalid_argument where its numbers are too large
  double next() {
    const double ns = bench::processor_nanoseconds([&] { run(); });
    first_ += window;
    return ns;
  }

 private:
  void run() {
    const auto span = x_.middleRows(first_, window);
    if (call_ == Call::forward_span) {
      sink = static_cast<double>(layer_.forward_span(span)(0, 0));
    } else if (call_ == Call::span_gradient) {
      sink = static_cast<double>(layer_.span_gradient(span, span).x(0, 0));
      layer_.advance_to(layer_.size() + window);
    } else {
      for (Index t = 0; t < window; ++t) {
        const auto x = span.row(t);
        sink = static_cast<double>(call_ == Call::forward ? layer_.forward(x)[0]
                                                          : layer_.train_one(x, target_)[0]);
      }
    }
  }

  Layer layer_;
  Call call_;
  const Rows<Scalar>& x_;
  typename Layer::Vector target_ = Layer::Vector::Constant(d, Scalar(0.1));
  Index first_ = 0;
};

/// Whether the layer reads what the same layer in long double does, which knows no such numbers.
template <class Layer>
void require_right(const Layer& layer, const Rows<typename Layer::Scalar>& x, double tolerance) {
  Layer ours = layer;
  auto exact = layer.template cast<long double>();
  for (Index t = 0; t < 100; ++t) {
    ours.forward(x.row(t));
    exact.forward(x.row(t).template cast<long double>());
  }
  const auto expected = exact.raw_read();
  const auto got = ours.raw_read().template cast<long double>();
  const auto scale = static_cast<double>(expected.cwiseAbs().maxCoeff());
  const double smallest = static_cast<double>(std::numeric_limits<typename Layer::Scalar>::min());
  const auto error = static_cast<double>((got - expected).cwiseAbs().maxCoeff());
  if (!(error <= tolerance * scale + 1e4 * smallest)) fail("a read of a stream");
}

template <class Layer>
void stream_row(const std::string& name, const Layer& layer, Call call,
                const Rows<typename Layer::Scalar>& base, double tolerance) {
  using Scalar = typename Layer::Scalar;
  bench::Row row(name + ", " + call_names[static_cast<int>(call)]);
  for (const Magnitude& magnitude : bench::magnitudes<Scalar>()) {
    const Index length = magnitude.is_long ? stream_length : constant_length;
    const Rows<Scalar> full = base.topRows(length), x = bench::scaled(full, magnitude);
    try {
      std::vector<Samples> ratios(static_cast<std::size_t>(length / window));
      for (int round = 0; round < rounds; ++round) {
        Stream<Layer> plain(layer, call, full), other(layer, call, x);
        for (Samples& ratio : ratios) {
          const double ns = plain.next();
          ratio.add(other.next() / ns);
        }
      }
      double worst = 0;
      for (const Samples& ratio : ratios) worst = std::max(worst, ratio.median());
      if (call == Call::forward) require_right(layer, x, tolerance);
      row.add(worst);
    } catch (const std::invalid_argument&) {
      row.add_refused();
    }
  }
}

template <class Scalar, class Stored, class Rule>
void stream_rows(const std::string& name, const Rule& rule) {
  const LogLinearAttention<Rule, Scalar, NormalizedMixture, Stored> layer(
      {.inner = rule, .d_model = d, .d_k = d, .d_v = d, .max_levels = 16, .learning_rate = 0.05});
  std::srand(1);
  const Rows<Scalar> base = Rows<Scalar>::Random(stream_length, d);
  const double tolerance = std::is_same_v<Stored, Scalar> ? 1e-3 : 0.05;
  for (const Call call :
       {Call::forward, Call::train_one, Call::forward_span, Call::span_gradient}) {
    stream_row(name, layer, call, base, tolerance);
  }
}

template <class Scalar, class Stored = Scalar>
void stream_table(const std::string& title) {
  std::vector<std::string> columns;
  for (const Magnitude& magnitude : bench::magnitudes<Scalar>()) columns.push_back(magnitude.name);
  bench::print_header("stream, " + title, columns);
  stream_rows<Scalar, Stored>("no transition", KeyOnly<RetNet>{});
  stream_rows<Scalar, Stored>("scalar gate", GLA{});
  stream_rows<Scalar, Stored>("decay per key row", GLAVector{});
  stream_rows<Scalar, Stored>("decay per value column", Hawk{});
  stream_rows<Scalar, Stored>("delta rule", DeltaNet{});
  stream_rows<Scalar, Stored>("gated delta rule", GatedDeltaNet{});
  stream_rows<Scalar, Stored>("two delta steps", DeltaProduct<2>{});
  stream_rows<Scalar, Stored>("diagonal and rank one", RWKV7{});
}

/// What is timed of a sequence.
enum class Pass { reads, gradient };

template <class Scalar>
double nanoseconds_of(const bench::SequenceData<Scalar>& data, Pass pass) {
  const auto in = data.inputs();
  return bench::processor_nanoseconds([&] {
    if (pass == Pass::reads) {
      sink = static_cast<double>(chunkwise(in)(0, 0));
    } else {
      sink = static_cast<double>(
          chunkwise_gradient<Scalar>(in, data.v.topRows(data.q.rows())).q(0, 0));
    }
  });
}

/// The first tokens against the definition. \throws std::invalid_argument where they are too large
template <class Scalar>
void require_right(const bench::SequenceData<Scalar>& data) {
  const auto few = data.head(200);
  const Rows<Scalar> got = chunkwise(few.inputs()), expected = dense(few.inputs());
  if (!got.allFinite() || !expected.allFinite()) throw std::invalid_argument("too large");
  const double scale = detail::max_abs(expected);
  const double smallest = static_cast<double>(std::numeric_limits<Scalar>::min());
  if (!(detail::max_abs(got - expected) <= 1e-3 * scale + 1e4 * smallest)) fail("a sequence");
}

template <class Scalar>
void sequence_row(const std::string& name, bench::Rule rule, Pass pass) {
  constexpr Index length = 2048;
  const auto base = bench::random_sequence(rule, length, d).template head<Scalar>(length);
  bench::Row row(name + (pass == Pass::reads ? ", `chunkwise`" : ", `chunkwise_gradient`"));
  const auto add = [&](const bench::SequenceData<Scalar>& data) {
    Samples ratio;
    try {
      for (int round = 0; round < rounds; ++round) {
        const double ns = nanoseconds_of(base, pass);
        ratio.add(nanoseconds_of(data, pass) / ns);
      }
      if (pass == Pass::reads) require_right(data);
      row.add(ratio.median());
    } catch (const std::invalid_argument&) {
      row.add_refused();
    }
  };
  for (const double log_decay : {-0.6931471805599453, -5.0}) {
    auto data = base;
    data.g.setConstant(static_cast<Scalar>(log_decay));
    data.g_value.setConstant(static_cast<Scalar>(log_decay));
    add(data);
  }
  const bool is_rule = base.beta.size() > 0;  // whose keys have length 1
  for (const Magnitude& magnitude : bench::magnitudes<Scalar>()) {
    auto data = base;
    const Index leaves = bench::leaves_of(rule);
    data.q = bench::scaled(base.q, magnitude);
    if (!is_rule) data.k = bench::scaled(base.k, magnitude, leaves);
    data.v = bench::scaled(base.v, magnitude, leaves);
    add(data);
  }
}

template <class Scalar>
void sequence_table(const std::string& title) {
  std::vector<std::string> columns{"gate 1/2", "gate e^-5"};
  for (const Magnitude& magnitude : bench::magnitudes<Scalar>()) columns.push_back(magnitude.name);
  bench::print_header("sequence, " + title, columns);
  using bench::Rule;
  for (const Pass pass : {Pass::reads, Pass::gradient}) {
    sequence_row<Scalar>("no transition", Rule::none, pass);
    sequence_row<Scalar>("scalar gate", Rule::scalar_gate, pass);
    sequence_row<Scalar>("decay per key row", Rule::key_gate, pass);
    sequence_row<Scalar>("decay per value column", Rule::value_gate, pass);
    sequence_row<Scalar>("delta rule", Rule::delta, pass);
    sequence_row<Scalar>("gated delta rule", Rule::gated_delta, pass);
    sequence_row<Scalar>("two delta steps", Rule::delta_product, pass);
    sequence_row<Scalar>("diagonal and rank one", Rule::rwkv7, pass);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) rounds = std::max(1, std::atoi(argv[1]));
  stream_table<float>("float");
  stream_table<float, Eigen::bfloat16>("float, bfloat16 levels");
  stream_table<double>("double");
  sequence_table<float>("float");
  sequence_table<double>("double");
  std::printf("\nthe largest ratio is %.2f\n", bench::Row::largest_ratio);
}
