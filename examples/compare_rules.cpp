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
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "stream_forecast/csv_reader.hpp"
#include "stream_forecast/defaults.hpp"
#include "stream_forecast/memory.hpp"
#include "stream_forecast/pipeline.hpp"

namespace {

using namespace stream_forecast;

/// What the table says of a rule.
struct Entry {
  std::string rule;
  std::string_view paper;  ///< its arXiv number; empty for what is in none
  std::string_view equation;
  std::string transition;
  std::string mode;
  int group = 0;  ///< rules of a group stand together
};

// What older tokens undergo.
using loglinear::Identity, loglinear::KeyDecay, loglinear::RankOneUpdate, loglinear::ScalarDecay,
    loglinear::UpdatePerLeaf, loglinear::ValueDecay;

const char* factor(std::type_identity<Identity<float>>) {
  return "identity";
}
const char* factor(std::type_identity<ScalarDecay<float>>) {
  return "scalar";
}
const char* factor(std::type_identity<KeyDecay<float>>) {
  return "diagonal";
}
void set_transition(Entry& entry, std::type_identity<ScalarDecay<float>>) {
  entry.transition = "one decay";
}
void set_transition(Entry& entry, std::type_identity<KeyDecay<float>>) {
  entry.transition = "decay per key row", entry.group = 1;
}
void set_transition(Entry& entry, std::type_identity<ValueDecay<float>>) {
  entry.transition = "decay per value column", entry.group = 2;
}
template <class Diagonal>
void set_transition(Entry& entry, std::type_identity<RankOneUpdate<Diagonal>>) {
  entry.transition = std::string(factor(std::type_identity<Diagonal>{})) + " − rank one";
  entry.group = 3;
}
void set_transition(Entry& entry, std::type_identity<UpdatePerLeaf<float>>) {
  set_transition(entry, std::type_identity<UpdatePerLeaf<float>::Update>{});
  entry.transition = "decay × (" + entry.transition + ")";
  entry.group = 4;
}

/// Modes whose gates forget as the shipped stream asks; other rules forget slowly.
constexpr std::array tuned{"retnet(gamma=0.99)",
                           "gla(gate_bias=5)",
                           "rwkv(initial_decay=0.005, gate_bias=8)",
                           "mlstm(gate_bias=5, input_bias=4)",
                           "mamba2(initial_a_log=-4.5, initial_dt_bias=0.5)",
                           "gla_vector(gate_bias=5)",
                           "hgrn2(lower_bound=0.98, gate_bias=1)",
                           "tied_hgrn2(lower_bound=0.98, gate_bias=1)",
                           "hawk(gate_bias=5)",
                           "rg_lru(initial_lambda=5)",
                           "gated_delta_net(beta_scale=0.5, gate_bias=8)",
                           "rwkv7(gate_bias=8)",
                           "kda(initial_dt_bias=-8)",
                           "delta_product(gate_bias=8, beta_bias=-1)",
                           "gated_delta_product(initial_dt_bias=-8, beta_bias=-1)"};

template <class Mode>
std::string mode_of() {
  for (const std::string_view mode : tuned) {
    if (mode.substr(0, mode.find('(')) == Mode::info.text) return std::string(mode);
  }
  return loglinear::to_text(loglinear::slow<Mode>());
}

/// All rules of the library's list, by what older tokens undergo, and what is left of two of them.
std::vector<Entry> all_entries() {
  std::vector<Entry> entries;
  loglinear::Rules::for_each([&]<class Mode>(std::type_identity<Mode>) {
    loglinear::visit_rule(Mode{}, [&]<class Rule>(const Rule&) {
      if constexpr (loglinear::detail::leaves_of<Rule>() <= 2) {
        constexpr int leaves = loglinear::detail::leaves_of<Rule>();
        std::string name(Rule::info.name);
        if (leaves > 1) name += '<' + std::to_string(leaves) + '>';
        Entry& entry = entries.emplace_back(
            Entry{name, Rule::info.paper, Rule::info.equation, {}, mode_of<Mode>()});
        set_transition(entry, std::type_identity<typename Rule::template Transition<float>>{});
        if (leaves == 2) entry.transition += "²";
      }
    });
  });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.group < b.group; });
  const auto mode = [](const char* rule) {
    return "log_linear(" + std::string(rule) + ", max_levels=20, key_only=true)";
  };
  entries.push_back({"KeyOnly<RetNet>", "", "S <- S + k v^T", "none", mode("retnet")});
  entries.push_back({"KeyOnly<DeltaNet>", "", "S <- S + k^ v^T", "none", mode("delta_net")});
  return entries;
}

/// An equation of the comments as it is printed.
std::string typeset(std::string_view equation) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 21> signs{{
      {"<-", "←"},    {"^T", "ᵀ"},     {"^2", "²"},   {"k^", "k̂"},    {"k~", "k̃"},    {"sg(", "σ("},
      {"alpha", "α"}, {"Lambda", "Λ"}, {"sqrt", "√"}, {"gamma", "γ"}, {"kappa", "κ"}, {"beta", "β"},
      {"D", "Δ"},     {".", "·"},      {"w'", "w′"},  {"W'", "W′"},   {"_1", "₁"},    {"_2", "₂"},
      {"_j", "ⱼ"},    {" * ", " ∘ "},  {"-", "−"},
  }};
  std::string text(equation);
  for (const auto& [plain, sign] : signs) {
    for (std::size_t at = text.find(plain); at != std::string::npos;
         at = text.find(plain, at + sign.size())) {
      text.replace(at, plain.size(), sign);
    }
  }
  return text;
}

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
  const auto mape = [&](const char* column) {
    const auto& standings = pipeline->standings();
    return standings[index_of(standings, column)].metrics.mape();
  };
  return {mape("log_linear_attention"), mape("linear_attention"), mape("least_squares")};
}

/// The settings of stream_forecast's README.
Options one_step() {
  Options options;
  options.key_period = 48;
  options.decays.clear();  // the table shows none of those rivals
  options.seasonal_lags = default_seasonal_lags(options);
  return options;
}
Options one_day() {
  Options options = one_step();
  options.horizon = 48;
  options.key_period = 336;
  options.recency = 0.1;
  options.initial_covariance = 0.2;
  options.seasonal_lags.clear();  // the first half of the stream is better without
  return options;
}

std::vector<Row> read_rows(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string(path) + ": cannot be opened for reading");
  CsvReader reader(file, path);
  reader.select({""});
  std::vector<Row> rows;
  for (CsvRow cells; reader.read(cells);) {
    Row& row = rows.emplace_back();
    row.target = cells.values[0];
    row.number = row.clock = cells.index;
  }
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
  const std::string name = '`' + entry.rule + '`', paper(entry.paper);
  return paper.empty() ? name : '[' + name + "](https://arxiv.org/abs/" + paper + ')';
}

void print_introduction(int rounds) {
  std::printf(
      "# Every rule, log-linear beside one state\n\n"
      "What a token costs under each rule, and how well the rule forecasts, with one state and "
      "with the hierarchy.\n\n"
      "Made by `examples/compare`, which also puts names and updates into the README; %s, %s, no "
      "`-march`."
      "\n\n"
      "* **update**: S is the state, k̂ = k / its length, σ the logistic sigmoid, ∘ the product by "
      "coefficients; biases are left out.\n  **transition**: what all older tokens undergo.\n"
      "* Figures are pairs, **one state / log-linear**, of the same rule.\n"
      "* **KiB**: the size of the state at d_k = d_v = %d in single precision; log-linear with %d "
      "levels, enough for %ld tokens.\n  Neither ever grows.\n"
      "* **ns**: nanoseconds of processor time a token, the layer's whole forward pass at d_model "
      "= d_k = d_v = %d in single\n  precision, tokens %llu to %llu of a stream with %.1f levels "
      "active on average; the lower quartile of %d rounds. The\n  hierarchy keeps its newest "
      "leaves apart and writes them together. With decays, a level is rewritten only when a "
      "carry\n  reaches it. With delta rules, the three levels above the newest leaves are "
      "rewritten after every 16 updates, see\n"
      "  [what a token does](../docs/real_time.md#what-a-token-does).\n"
      "* **step, day**: the mean absolute percentage error of forecasts of [electricity "
      "demand](data/README.md) one step and one\n  day ahead. Each forecast is made before its "
      "row is learnt. One step ahead takes stream_forecast's defaults, one day\n  ahead the "
      "settings of [its README](stream_forecast/README.md). One step ahead, all levels weigh the "
      "same. So the hierarchy\n  reads what one state reads, except for the drawn gates, and "
      "least squares with seasonal lags leave a rule little to\n  add. A day ahead, newer levels "
      "weigh more.\n\n",
      processor().c_str(), compiler, static_cast<int>(d), default_levels,
      1L << (default_levels - 1), static_cast<int>(d),
      static_cast<unsigned long long>(window_begin),
      static_cast<unsigned long long>(window_begin + window - 1), Timing::active_levels(), rounds);
}

/// Between the two marks stands what examples/compare copies into the README.
void print_table(const std::vector<Entry>& entries, const std::vector<Row>& rows, int rounds) {
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
                linked_name(entry).c_str(), typeset(entry.equation).c_str(),
                entry.transition.c_str(), state_size(*layers[2 * i]),
                state_size(*layers[2 * i + 1]), costs[2 * i], costs[2 * i + 1], step.one_state,
                step.log_linear, day.one_state, day.log_linear);
    std::fflush(stdout);
  }
  std::printf(
      "| least squares alone | | | | | %.3f | %.3f |\n"
      "<!-- end of the table of rules -->\n\n",
      step.least_squares, day.least_squares);
}

void print_modes(const std::vector<Entry>& entries) {
  std::printf(
      "The figures are of these modes, as `stream_forecast --inner` reads them; their gates forget "
      "slowly.\n\n");
  for (const Entry& entry : entries) {
    std::printf("* `%s`: `%s`\n", entry.rule.c_str(), entry.mode.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 25;
    if (argc > 2 || rounds < 1) throw std::invalid_argument("usage: compare_rules [ROUNDS]");
    const std::vector<Row> rows = read_rows(STREAM_FORECAST_DEFAULT_DATA);
    print_introduction(rounds);
    const std::vector<Entry> entries = all_entries();
    print_table(entries, rows, rounds);
    print_modes(entries);
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "compare_rules: %s\n", error.what());
    return 2;
  }
}
