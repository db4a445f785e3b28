// SPDX-License-Identifier: MIT
// Prints examples/RULES.md: every rule's equation, transition, state, cost a token and worth on the
// shipped stream, log-linear beside one state. compare_rules [ROUNDS of the timing, 25]
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <loglinear/fenwick.hpp>
#include <loglinear/mode/mode_text.hpp>
#include <memory>
#include <string>
#include <vector>

#include "stream_forecast/csv_reader.hpp"
#include "stream_forecast/memory.hpp"
#include "stream_forecast/pipeline.hpp"

namespace {

using namespace stream_forecast;

/// What the table says of a rule.
struct Entry {
  const char* rule;
  const char* paper;  ///< its arXiv number; empty for what is in none
  const char* equation;
  const char* transition;
  const char* mode;  ///< gates that forget slowly, or as fast as the stream asks where it must
};

constexpr std::array entries{
    Entry{"RetNet", "2307.08621", "S ← γ S + k vᵀ", "one decay", "retnet(gamma=0.99)"},
    Entry{"GLA", "2312.06635", "S ← σ(w·x) S + k vᵀ", "one decay", "gla(gate_bias=5)"},
    Entry{"RWKV", "2305.13048", "S ← exp(−d − softplus(w·x)) S + exp(k) vᵀ", "one decay",
          "rwkv(initial_decay=0.005, gate_bias=8)"},
    Entry{"MLSTM", "2405.04517", "S ← σ(w·x) S + σ(w′·x) k vᵀ", "one decay",
          "mlstm(gate_bias=5, input_bias=4)"},
    Entry{"Mamba2", "2405.21060", "S ← exp(−Δ exp A) S + Δ k vᵀ, Δ = softplus(w·x + b)",
          "one decay", "mamba2(initial_a_log=-4.5, initial_dt_bias=0.5)"},
    Entry{"GLAVector", "2312.06635", "S ← diag(σ(W x)) S + k vᵀ", "decay per key row",
          "gla_vector(gate_bias=5)"},
    Entry{"HGRN2", "2404.07904", "S ← diag(l + (1 − l) σ(W x)) S + k vᵀ", "decay per key row",
          "hgrn2(lower_bound=0.98, gate_bias=1)"},
    Entry{"Hawk", "2402.19427", "h ← σ(W x) ∘ h + σ(W′ x) ∘ v", "decay per value column",
          "hawk(gate_bias=5)"},
    Entry{"DeltaNet", "2102.11174", "S ← (I − k̂ k̂ᵀ) S + k̂ vᵀ", "identity − rank one", "delta_net"},
    Entry{"GatedDeltaNet", "2412.06464", "S ← a (I − β k̂ k̂ᵀ) S + β k̂ vᵀ", "scalar − rank one",
          "gated_delta_net(beta_scale=0.5, gate_bias=8)"},
    Entry{"RWKV7", "2503.14456", "S ← (diag(w) − (a ∘ κ) κᵀ) S + k̃ vᵀ", "diagonal − rank one",
          "rwkv7(gate_bias=8)"},
    Entry{"DeltaProduct<2>", "2502.10297",
          "S ← H₂ H₁ a S + β₁ H₂ k̂₁ v₁ᵀ + β₂ k̂₂ v₂ᵀ, Hⱼ = I − βⱼ k̂ⱼ k̂ⱼᵀ",
          "decay × (identity − rank one)²", "delta_product(gate_bias=8, beta_bias=-1)"},
    Entry{"KeyOnly<RetNet>", "", "S ← S + k vᵀ", "none",
          "log_linear(retnet, max_levels=20, key_only=true)"},
    Entry{"KeyOnly<DeltaNet>", "", "S ← S + k̂ vᵀ", "none",
          "log_linear(delta_net, max_levels=20, key_only=true)"},
};

loglinear::LogLinear parse(const std::string& text) {
  const loglinear::AttentionMode mode = loglinear::parse_mode(text);
  if (const auto* log_linear = std::get_if<loglinear::LogLinear>(&mode)) return *log_linear;
  return {.inner = loglinear::parse_inner_mode(text), .max_levels = default_levels};
}

/// Whatever else runs on the machine only ever slows a round down.
double lower_quartile(std::vector<double> values) {
  const auto quarter = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 4);
  std::nth_element(values.begin(), quarter, values.end());
  return *quarter;
}

// Cost a token, the whole forward pass.

constexpr Eigen::Index d = 64;
constexpr std::uint64_t window_begin = 3072, window = 1024;  // about 4000 tokens

using Layer = std::unique_ptr<Memory<float>>;

class Timing {
 public:
  Timing() {
    std::srand(1);
    for (int i = 0; i < 251; ++i) inputs_.push_back(Eigen::VectorXf::Random(d));
  }

  /// Nanoseconds a token of each layer. All take turns, so that they share whatever disturbs them.
  [[nodiscard]] std::vector<double> costs(const std::vector<Layer>& layers, int rounds) const {
    std::vector<std::vector<double>> samples(layers.size());
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < layers.size(); ++i) {
        samples[i].push_back(nanoseconds(*layers[i]));
      }
    }
    std::vector<double> quartiles(layers.size());
    std::transform(samples.begin(), samples.end(), quartiles.begin(), lower_quartile);
    return quartiles;
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

/// What a state of single precision takes, in KiB.
double state_size(const Memory<float>& memory) {
  return static_cast<double>(memory.levels() * memory.key_rows() * d) * sizeof(float) / 1024;
}

/// The rule's name, a link to its paper.
std::string linked_name(const Entry& entry) {
  const std::string name = std::string("`") + entry.rule + '`', paper = entry.paper;
  return paper.empty() ? name : '[' + name + "](https://arxiv.org/abs/" + paper + ')';
}

void print_introduction(int rounds) {
  std::printf(
      "# Every rule, log-linear beside one state\n\n"
      "Made by `examples/compare`, which also puts the table into the README; %s, %s, no `-march`."
      "\n\n"
      "* **update**: S is the state, k̂ = k / its length, σ the logistic sigmoid, ∘ the product by "
      "coefficients; biases are left out.\n  **transition**: what all older tokens undergo.\n"
      "* Figures are pairs, **one state / log-linear**, of the same rule.\n"
      "* **KiB**: the size of the state at d_k = d_v = %d in single precision; log-linear with %d "
      "levels, enough for %ld tokens.\n  Neither ever grows.\n"
      "* **ns**: nanoseconds of processor time a token, the layer's whole forward pass at d_model "
      "= d_k = d_v = %d in single\n  precision, tokens %llu to %llu of a stream with %.1f levels "
      "active on average; the lower quartile of %d rounds. With\n  one decay or none the hierarchy "
      "keeps its newest leaves apart and writes them together; other rules rewrite every\n  active "
      "level at every token.\n"
      "* **step, day**: MAPE in percent of forecasts of [electricity demand](data/README.md) one "
      "step and one day ahead, each\n  made before its row is learned from, by stream_forecast's "
      "defaults for the one and the settings of\n  [its README](stream_forecast/README.md) for "
      "the other. One step ahead all levels weigh the same: the hierarchy then\n  reads what one "
      "state does, but for the drawn gates. A day ahead newer levels weigh more.\n\n",
      processor().c_str(), compiler, static_cast<int>(d), default_levels,
      1L << (default_levels - 1), static_cast<int>(d),
      static_cast<unsigned long long>(window_begin),
      static_cast<unsigned long long>(window_begin + window - 1), Timing::active_levels(), rounds);
}

/// Between the two marks stands what examples/compare copies into the README.
void print_table(const std::vector<Row>& rows, int rounds) {
  std::vector<Layer> layers;  // of every entry, in one state and in the hierarchy
  for (const Entry& entry : entries) {
    for (const States states : {States::one, States::hierarchy}) {
      layers.push_back(
          make_memory<float>(parse(entry.mode), states, {.d_model = d, .d_k = d, .d_v = d}));
    }
  }
  const std::vector<double> costs = Timing().costs(layers, rounds);
  std::printf(
      "<!-- table of rules: made by examples/compare -->\n"
      "| rule | update | transition | KiB | ns | step | day |\n"
      "|---|---|---|--:|--:|--:|--:|\n");
  Worth step, day;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const loglinear::LogLinear mode = parse(entry.mode);
    Options options = one_step();
    options.mode = mode;
    step = worth(options, rows);
    options = one_day();
    options.mode = mode;
    day = worth(options, rows);
    std::printf("| %s | %s | %s | %g / %g | %.0f / %.0f | %.3f / %.3f | %.3f / %.3f |\n",
                linked_name(entry).c_str(), entry.equation, entry.transition,
                state_size(*layers[2 * i]), state_size(*layers[2 * i + 1]), costs[2 * i],
                costs[2 * i + 1], step.one_state, step.log_linear, day.one_state, day.log_linear);
    std::fflush(stdout);
  }
  std::printf(
      "| least squares alone | | | | | %.3f | %.3f |\n"
      "<!-- end of the table of rules -->\n\n",
      step.least_squares, day.least_squares);
}

void print_modes() {
  std::printf(
      "The modes with which the figures were taken, as `stream_forecast --inner` reads them; their "
      "gates forget slowly.\n\n");
  for (const Entry& entry : entries) std::printf("* `%s`: `%s`\n", entry.rule, entry.mode);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 25;
    if (argc > 2 || rounds < 1) throw std::invalid_argument("usage: compare_rules [ROUNDS]");
    const std::vector<Row> rows = read_rows(STREAM_FORECAST_DEFAULT_DATA);
    print_introduction(rounds);
    print_table(rows, rounds);
    print_modes();
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "compare_rules: %s\n", error.what());
    return 2;
  }
}
