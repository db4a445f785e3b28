// SPDX-License-Identifier: MIT
// Prints examples/RULES.md: every rule's equation, state, cost a token and worth on the shipped
// stream, log-linear beside one state. compare_rules [rounds of the timing, 15 unless given]
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <loglinear/fenwick.hpp>
#include <loglinear/mode_text.hpp>
#include <string>
#include <vector>

#include "stream_forecast/csv_reader.hpp"
#include "stream_forecast/memory.hpp"
#include "stream_forecast/pipeline.hpp"

namespace {

using namespace stream_forecast;

/// What the table says of a rule. The mode's gates are set to forget slowly, or as fast as the
/// stream asks where the rule offers no choice.
struct Entry {
  const char* mode;
  const char* equation;
  const char* transition;
};

constexpr std::array entries{
    Entry{"retnet(gamma=0.99)", "S ← γ S + k vᵀ", "one decay"},
    Entry{"gla(gate_bias=5)", "S ← σ(w·x) S + k vᵀ", "one decay"},
    Entry{"rwkv(initial_decay=0.005, gate_bias=8)", "S ← exp(−d − softplus(w·x)) S + exp(k) vᵀ",
          "one decay"},
    Entry{"mlstm(gate_bias=5, input_bias=4)", "S ← σ(w·x) S + σ(w′·x) k vᵀ", "one decay"},
    Entry{"mamba2(initial_a_log=-4.5, initial_dt_bias=0.5)",
          "S ← exp(−Δ exp A) S + Δ k vᵀ, Δ = softplus(w·x + b)", "one decay"},
    Entry{"gla_vector(gate_bias=5)", "S ← diag(σ(W x)) S + k vᵀ", "decay per key row"},
    Entry{"hgrn2(lower_bound=0.98, gate_bias=1)", "S ← diag(l + (1 − l) σ(W x)) S + k vᵀ",
          "decay per key row"},
    Entry{"hawk(gate_bias=5)", "h ← σ(W x) ∘ h + σ(W′ x) ∘ v", "decay per value column"},
    Entry{"delta_net", "S ← (I − k̂ k̂ᵀ) S + k̂ vᵀ", "identity − rank one"},
    Entry{"gated_delta_net(beta_scale=0.5, gate_bias=8)", "S ← a (I − β k̂ k̂ᵀ) S + β k̂ vᵀ",
          "scalar − rank one"},
    Entry{"rwkv7(gate_bias=8)", "S ← (diag(w) − (a ∘ κ) κᵀ) S + k̃ vᵀ", "diagonal − rank one"},
    Entry{"delta_product(gate_bias=8, beta_bias=-1)",
          "S ← H₂ H₁ a S + β₁ H₂ k̂₁ v₁ᵀ + β₂ k̂₂ v₂ᵀ, Hⱼ = I − βⱼ k̂ⱼ k̂ⱼᵀ",
          "decay × (identity − rank one)²"},
    Entry{"log_linear(retnet, max_levels=20, key_only=true)", "S ← S + k vᵀ", "none"},
    Entry{"log_linear(delta_net, max_levels=20, key_only=true)", "S ← S + k̂ vᵀ", "none"},
};

loglinear::LogLinear parse(const std::string& text) {
  const loglinear::AttentionMode mode = loglinear::parse_mode(text);
  if (const auto* log_linear = std::get_if<loglinear::LogLinear>(&mode)) return *log_linear;
  return {.inner = loglinear::parse_inner_mode(text), .max_levels = default_levels};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Cost a token, the whole forward pass.

constexpr Eigen::Index d = 64;
constexpr std::uint64_t window_begin = 3072, window = 1024;  // about 4000 tokens

class Timing {
 public:
  Timing() {
    std::srand(1);
    for (int i = 0; i < 251; ++i) inputs_.push_back(Eigen::VectorXf::Random(d));
  }

  struct Costs {
    double one_state = 0, log_linear = 0;  ///< nanoseconds
  };
  /// Medians over the rounds; the two layers take turns, so that they share whatever disturbs them.
  [[nodiscard]] Costs costs(Memory<float>& one_state, Memory<float>& log_linear, int rounds) const {
    std::vector<double> ones, logs;
    for (int round = 0; round < rounds; ++round) {
      ones.push_back(nanoseconds(one_state));
      logs.push_back(nanoseconds(log_linear));
    }
    return {median(ones), median(logs)};
  }

  [[nodiscard]] static double active_levels() {
    double sum = 0;
    for (std::uint64_t n = window_begin; n < window_begin + window; ++n) {
      sum += loglinear::active_level_count(n, default_levels);
    }
    return sum / static_cast<double>(window);
  }

 private:
  [[nodiscard]] double nanoseconds(Memory<float>& memory) const {
    memory.reset();
    std::uint64_t t = 0;
    for (; t < window_begin; ++t) memory.take(inputs_[t % inputs_.size()]);
    const std::clock_t start = std::clock();  // of the processor: others may share the machine
    for (; t < window_begin + window; ++t) memory.take(inputs_[t % inputs_.size()]);
    return 1e9 / CLOCKS_PER_SEC * static_cast<double>(std::clock() - start) /
           static_cast<double>(window);
  }

  std::vector<Eigen::VectorXf> inputs_;
};

// Worth on the stream.

struct Worth {
  double log_linear = 0, one_state = 0, least_squares = 0;  ///< MAPE
};

Worth worth(const Options& options, const std::vector<Row>& rows) {
  const auto pipeline = make_pipeline(options, [](const Outcome&) {});
  for (const Row& row : rows) pipeline->add(row);
  pipeline->finish();
  const auto& standings = pipeline->standings();
  return {standings[log_linear].metrics.mape(), standings[one_state].metrics.mape(),
          standings[least_squares].metrics.mape()};
}

/// The settings of stream_forecast's README.
Options one_step() {
  Options options;
  options.key_period = 48;
  return options;
}
Options one_day() {
  Options options;
  options.horizon = 48;
  options.key_period = 336;
  options.recency = 0.1;
  options.initial_covariance = 0.2;
  return options;
}

std::vector<Row> read_rows(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string(path) + ": cannot be opened for reading");
  CsvReader reader(file, path);
  reader.select({""});
  std::vector<Row> rows;
  for (CsvRow row; reader.read(row);) rows.push_back({row.values[0], {}, row.index});
  return rows;
}

#ifdef __clang__
constexpr const char* compiler = __VERSION__;  // says Clang
#else
constexpr const char* compiler = "GCC " __VERSION__;
#endif

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

/// A state of so many levels: its shape and its size in memory.
std::string state_size(const Memory<float>& memory, bool show_levels) {
  const auto numbers = static_cast<double>(memory.levels() * memory.key_rows() * d);
  const double kibibytes = numbers * sizeof(float) / 1024;
  char text[96];
  std::snprintf(text, sizeof text, "%s%lld × %lld, %.*f KiB",
                show_levels ? (std::to_string(memory.levels()) + " × ").c_str() : "",
                static_cast<long long>(memory.key_rows()), static_cast<long long>(d),
                kibibytes < 1 ? 2 : 0, kibibytes);
  return text;
}

void print_table(const std::vector<Row>& rows, int rounds) {
  const Timing timing;
  std::printf(
      "# Every rule, log-linear beside one state\n\n"
      "Made by `examples/compare > examples/RULES.md`; %s, %s.\n\n"
      "* **mode**: as `stream_forecast --inner` takes it, its gates set to forget slowly. In the "
      "equations S is the state,\n  k̂ = k / its length, σ the logistic sigmoid, ∘ the product by "
      "coefficients; biases are left out.\n"
      "* **state**: rows × columns at d_k = d_v = %d in single precision; log-linear, the levels "
      "before them, here enough for\n  %ld tokens. Neither ever grows.\n"
      "* **ns**: nanoseconds of processor time a token, the layer's whole forward pass at d_model "
      "= "
      "d_k = d_v = %d in single\n  precision, tokens %llu to %llu of a stream with %.1f levels "
      "active on average; medians of %d rounds. With one decay or none\n  the hierarchy gathers "
      "its newest leaves before it writes them, "
      "where one state writes all of itself at every token.\n"
      "* **step, day**: MAPE in percent of forecasts of [electricity demand](data/README.md) one "
      "step and one day ahead, by\n  stream_forecast's defaults for the one and the settings of "
      "[its README](stream_forecast/README.md) for the other, with\n  the table's modes. One step "
      "ahead all levels weigh the same: the hierarchy then reads what one state does, but for\n  "
      "the drawn gates. A day ahead newer levels weigh more.\n\n",
      processor().c_str(), compiler, static_cast<int>(d), 1L << (default_levels - 1),
      static_cast<int>(d), static_cast<unsigned long long>(window_begin),
      static_cast<unsigned long long>(window_begin + window - 1), Timing::active_levels(), rounds);
  std::printf(
      "| mode | equation | transition | state: one | state: log-linear | ns: one | ns: log-linear "
      "| "
      "step: one | step: log-linear | day: one | day: log-linear |\n"
      "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  Worth step, day;
  for (const Entry& entry : entries) {
    const loglinear::LogLinear mode = parse(entry.mode);
    const MemoryShape shape{.d_model = d, .d_k = d, .d_v = d};
    const auto one = make_memory<float>(mode, States::one, shape);
    const auto hierarchy = make_memory<float>(mode, States::hierarchy, shape);
    const Timing::Costs costs = timing.costs(*one, *hierarchy, rounds);
    Options options = one_step();
    options.mode = mode;
    step = worth(options, rows);
    options = one_day();
    options.mode = mode;
    day = worth(options, rows);
    std::printf("| `%s` | %s | %s | %s | %s | %.0f | %.0f | %.3f | %.3f | %.3f | %.3f |\n",
                entry.mode, entry.equation, entry.transition, state_size(*one, false).c_str(),
                state_size(*hierarchy, true).c_str(), costs.one_state, costs.log_linear,
                step.one_state, step.log_linear, day.one_state, day.log_linear);
    std::fflush(stdout);
  }
  std::printf("| least squares alone | | | | | | | %.3f | %.3f | %.3f | %.3f |\n",
              step.least_squares, step.least_squares, day.least_squares, day.least_squares);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
    if (argc > 2 || rounds < 1) throw std::invalid_argument("usage: compare_rules [ROUNDS]");
    print_table(read_rows(STREAM_FORECAST_DEFAULT_DATA), rounds);
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "compare_rules: %s\n", error.what());
    return 2;
  }
}
