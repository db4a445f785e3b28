// SPDX-License-Identifier: MIT
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <iostream>
#include <limits>
#include <loglinear/mode/mode_text.hpp>
#include <loglinear/version.hpp>
#include <variant>

#include "defaults.hpp"

namespace stream_forecast {

namespace {

/// "48:24", a length and its number of harmonics; "48" takes all that the sampling can show.
bool parse_period(const std::string& text, Period& period) {
  const char* const end = text.data() + text.size();
  const auto length = std::from_chars(text.data(), end, period.length);
  if (length.ec != std::errc{} || period.length < 2 || period.length > longest_period) return false;
  period.harmonics = std::min(period.length / 2, 64);
  if (length.ptr == end) return true;
  if (*length.ptr != ':') return false;
  const auto harmonics = std::from_chars(length.ptr + 1, end, period.harmonics);
  return harmonics.ec == std::errc{} && harmonics.ptr == end && period.harmonics >= 1 &&
         period.harmonics <= period.length / 2;
}

std::string wrong_period(const std::string& text) {
  Period ignored;
  if (text == "none" || parse_period(text, ignored)) return {};
  return "'" + text + "' is not LENGTH or LENGTH:HARMONICS with 2 <= LENGTH <= " +
         std::to_string(longest_period) + " and 1 <= HARMONICS <= LENGTH/2, nor 'none'";
}

std::string wrong_picture(const std::string& file) {
  const auto ends_with = [&](const char* ending) {
    return CLI::detail::to_lower(file).ends_with(ending);
  };
  return ends_with(".png") || ends_with(".svg") ? ""
                                                : "'" + file + "' ends neither in .png nor in .svg";
}

bool is_tab(const std::string& text) {
  return text == "tab" || text == "\\t";
}

std::string wrong_delimiter(const std::string& text) {
  const bool one = text.size() == 1 && text[0] != '"' && text[0] != '\n' && text[0] != '\r';
  return one || is_tab(text) ? "" : "'" + text + "' is neither one character nor 'tab'";
}

/// CLI::Range lets NaN pass: no comparison with it is true.
CLI::Validator between(double low, double high, bool low_open = false) {
  const auto shown = [](double value) {
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return text;
  };
  const std::string range = (low_open ? "above " : "from ") + shown(low) + " to " + shown(high);
  return CLI::Validator(
      [=](const std::string& text) {
        double value = 0;
        const bool number = CLI::detail::lexical_cast(text, value);
        const bool inside = (low_open ? value > low : value >= low) && value <= high;
        return number && inside ? std::string{} : "'" + text + "' is not a number " + range;
      },
      range, "between");
}

std::string wrong_seed(const std::string& text) {
  std::uint64_t seed = 0;  // the parser itself would let -1 wrap around
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  const bool good = error == std::errc{} && end == text.data() + text.size() && seed > 0;
  return good ? "" : "'" + text + "' is not a whole number from 1 to 2^64 - 1";
}

CLI::Validator check(std::string (*wrong)(const std::string&), const char* name) {
  return CLI::Validator([wrong](const std::string& text) { return wrong(text); }, "", name);
}

/// A rule alone or log_linear(rule, ...). \throws loglinear::ModeSyntaxError
loglinear::LogLinear parse_inner(const std::string& text) {
  using namespace loglinear;
  const AttentionMode mode = parse_mode(text);
  if (const auto* log_linear = std::get_if<LogLinear>(&mode)) return *log_linear;
  return {.inner = parse_inner_mode(text), .max_levels = default_levels};
}

std::string wrong_inner(const std::string& text) {
  try {
    parse_inner(text);
    return {};
  } catch (const loglinear::ModeSyntaxError& error) {
    const std::string what = error.what();
    return what.substr(what.find("column"));
  }
}

/// All rules and level weights with their arguments and defaults, for the help.
std::string rule_list() {
  std::string list;
  for (const std::string& rule : loglinear::mode_signatures()) list += "  " + rule + '\n';
  list += '\n';
  list += "Level weights, the value of level_weights:\n";
  for (const std::string& weights : loglinear::level_weights_signatures()) {
    list += "  " + weights + '\n';
  }
  return list;
}

std::string wrong_category(const std::string& text) {
  return parse_category(text) ? ""
                              : "'" + text +
                                    "' is not TERM or TERM*TERM..., a TERM being a column, @PERIOD "
                                    "or @PERIOD/PARTS with 1 <= PARTS <= PERIOD, 2 <= PERIOD <= " +
                                    std::to_string(longest_period);
}

std::string wrong_lag(const std::string& text) {
  int lag = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), lag);
  const bool good = error == std::errc{} && end == text.data() + text.size() && lag >= 1;
  return text == "none" || (good && lag <= longest_period)
             ? ""
             : "'" + text + "' is neither a whole number from 1 to " +
                   std::to_string(longest_period) + " nor 'none'";
}

constexpr const char* description =
    R"(Forecasts a column of a CSV stream row by row: log-linear attention into recursive
least squares, always predicting before learning, beside rivals with the same inputs.

Attention is a memory of (situation, outcome) pairs: its key is the time of the season, or what
--category says, its value what the target did over the horizon; a forecast asks what came of
such situations before. Least squares then learns from the inputs and the answer. The cascade
answers on all time scales at once, the rivals by means that decay at each visit of a key.)";

constexpr const char* footer =
    R"text(The layer of the rule is shown twice, as a mixture of levels and with one state; max_levels and
level_weights concern the former only. gate_bias b makes gates of sigmoid(b + ...): 0 forgets
half a row, 8 some 0.03 %; rwkv and rwkv7 likewise forget the slower the larger it is. key_only
only writes k v^T (k normalised if the rule does): no decay, no gate.

Progress goes to standard output at doubling intervals; its loss is the absolute error.
Predictions, plot, checkpoint, input and standard output must be files of their own.
Exit status: 0, all well; 1, a file asked for could not be written; 2, wrong options or input.

One step ahead on the shipped data, then one day ahead, then rows of other times and places:
  stream_forecast
  stream_forecast --horizon 48 --seasonal-lag none --key-period 336 --recency 0.1 \
                  --initial-covariance 0.2 --inner "gated_delta_net(beta_scale=0.1, gate_bias=8)"
  stream_forecast flights.csv --target taxi_out --time minute --label-time known \
                  --period 1440:8 --category origin --category 'origin*@1440/24')text";

}  // namespace

Parsed parse_options(int argc, const char* const* argv) {
  Options o;
  o.file = STREAM_FORECAST_DEFAULT_DATA;
  std::vector<std::string> periods;
  std::string delimiter, scalar = "double", key_period;
  std::string inner = loglinear::to_text(o.mode.inner);
  std::optional<int> season;
  std::optional<long> warm_up;
  std::vector<std::string> categories, seasonal_lags;
  bool no_header = false;

  CLI::App app(description, "stream_forecast");
  app.footer("Rules:\n" + rule_list() + '\n' + footer);
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", LOGLINEAR_VERSION_STRING);
  const CLI::Validator rows_ahead = between(1, 100'000);

  app.add_option("FILE", o.file,
                 "the CSV file, '-' for standard input; default: taylor.csv of the examples");

  const char* input = "Input";
  app.add_option("--target", o.target, "column to forecast, by name or number (default: the last)")
      ->group(input);
  app.add_option("--feature", o.features,
                 "further input column, as known when a forecast is made; repeatable")
      ->group(input)
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--time", o.time,
                 "column of whole numbers that never fall: the clock of periods and seasons; with "
                 "--label-time, in the same unit")
      ->group(input);
  app.add_option("--label-time", o.label_time,
                 "column: when the row's target is known; the forecast is then for the row itself, "
                 "made when it comes, and learnt from at the first row that is as late")
      ->group(input);
  app.add_option("--delimiter", delimiter,
                 "between fields: one character, 'tab' or '\\t' (default: ,)")
      ->group(input)
      ->check(check(wrong_delimiter, "delimiter"));
  app.add_flag("--no-header", no_header, "the first line is data; columns go by number")
      ->group(input);
  app.add_flag(
         "--skip-bad-rows", o.skip_bad_rows,
         "skip and count malformed rows instead of stopping; they still move the clock; without "
         "a header most of the first 100 rows say how many columns there are")
      ->group(input);

  const char* task = "Task and inputs";
  CLI::Option* const horizon =
      app.add_option("--horizon", o.horizon, "rows ahead to forecast; labels come as late")
          ->capture_default_str()
          ->group(task)
          ->check(rows_ahead);
  app.add_option("--lags", o.lags, "last values of the target among the inputs")
      ->capture_default_str()
      ->group(task)
      ->check(between(0, 10'000));
  app.add_option("--seasonal-lag", seasonal_lags,
                 "input: the change over the horizon so many rows before the one forecast; "
                 "repeatable; 'none' for none (default: up to seven of the shortest period and one "
                 "and two of the longest)")
      ->group(task)
      ->take_all()
      ->allow_extra_args(false)
      ->check(check(wrong_lag, "lag"));
  app.add_option("--period", periods,
                 "season as LENGTH or LENGTH:HARMONICS rows; repeatable; 'none' for no season "
                 "(default: 48:24 336:60)")
      ->group(task)
      ->take_all()
      ->allow_extra_args(false)
      ->check(check(wrong_period, "period"));
  app.add_option(
         "--season", season,
         "rows in the season of the rival 'same time last season' (default: the longest period)")
      ->group(task)
      ->check(between(1, longest_period));
  app.add_option("--warm-up", warm_up,
                 "first rows: they set the scale, and no forecast made in them is scored, of any "
                 "model (default: two of the longest period, else 100)")
      ->group(task)
      ->check(between(0, 10'000'000));

  const char* memory = "Keys and the cascade";
  app.add_option("--category", categories,
                 "one-hot key: columns, as text, and seasons joined by '*', such as origin, "
                 "@48 or origin*@1440/24, the hour of a day of minutes; repeatable (default: "
                 "@LENGTH of each period)")
      ->group(memory)
      ->take_all()
      ->allow_extra_args(false)
      ->check(check(wrong_category, "category"));
  app.add_option("--slots", o.slots,
                 "the most different values that a category tells apart; it grows up to them, then "
                 "new values share slots by their hash")
      ->capture_default_str()
      ->group(memory)
      ->check(between(1, 1 << 20));
  app.add_option("--levels", o.levels, "of the cascade; N for 2^(N-1) rows, then the last folds")
      ->capture_default_str()
      ->group(memory)
      ->check(between(1, loglinear::max_level_limit));
  app.add_option("--state-decay", o.state_decay,
                 "with --category: weight of the past a row, of the rival with one state")
      ->capture_default_str()
      ->group(memory)
      ->check(between(0, 1, true));
  app.add_option("--kappa", o.kappa,
                 "how much an estimate leans on the older one, of the rivals on 0; in visits")
      ->capture_default_str()
      ->group(memory)
      ->check(between(0, 1e6, true));
  app.add_option("--decay", o.decays,
                 "weight of a key's past at a visit, of a rival and in the bank; repeatable "
                 "(default: 0.5 0.8 0.9 0.95 0.99)")
      ->group(memory)
      ->take_all()
      ->allow_extra_args(false)
      ->check(between(0, 1, true));

  const char* layer = "Attention";
  app.add_option("--inner", inner,
                 "the rule, from the list below; RULE alone is log_linear(RULE, max_levels=" +
                     std::to_string(default_levels) + ")")
      ->capture_default_str()
      ->group(layer)
      ->check(check(wrong_inner, "rule"));
  app.add_option("--key-period", key_period,
                 "the season whose time is the key, one of the periods, or 'all' for all inputs "
                 "(default: the first period)")
      ->group(layer);
  app.add_option("--d-k", o.d_k,
                 "size of keys; 0 for one a key input, else a random projection of them")
      ->capture_default_str()
      ->group(layer)
      ->check(between(0, 4096));
  app.add_option("--d-v", o.d_v,
                 "size of values: the change over the horizon, then the last values")
      ->capture_default_str()
      ->group(layer)
      ->check(between(1, 4096));
  app.add_option("--recency", o.recency,
                 "by how much older levels weigh less; 0 weighs all the same")
      ->capture_default_str()
      ->group(layer)
      ->check(between(-100, 100));
  app.add_option("--learning-rate", o.learning_rate, "of the layer's weights; 0 leaves them fixed")
      ->capture_default_str()
      ->group(layer)
      ->check(between(0, 1000));
  app.add_option("--seed", o.seed, "of the layer's random weights, at least 1")
      ->capture_default_str()
      ->group(layer)
      ->check(check(wrong_seed, "seed"));
  app.add_option("--scalar", scalar, "float or double")
      ->capture_default_str()
      ->group(layer)
      ->check(CLI::IsMember(std::vector<std::string>{"float", "double"}));

  const char* readout = "Least squares";
  app.add_option("--forgetting", o.forgetting, "weight of the past a row")
      ->capture_default_str()
      ->group(readout)
      ->check(between(0, 1, true));
  app.add_option("--initial-covariance", o.initial_covariance,
                 "the smaller, the stronger the pull towards 0")
      ->capture_default_str()
      ->group(readout)
      ->check(between(0, 1e9, true));

  const char* output = "Output";
  app.add_option("--predictions", o.predictions, "write every forecast to this CSV file")
      ->group(output);
  app.add_option("--plot", o.plot, "draw the last rows to this .png or .svg file (needs gnuplot)")
      ->group(output)
      ->check(check(wrong_picture, "picture"));
  app.add_option("--plot-rows", o.plot_rows, "how many rows to draw")
      ->capture_default_str()
      ->group(output)
      ->check(between(2, 100'000));

  const char* checkpoints = "Checkpoints";
  app.add_option("--save", o.save,
                 "write a checkpoint to this file at the end of the input; it replaces the file in "
                 "one step; a last line without its newline is used, but not saved: --load reads "
                 "it again")
      ->group(checkpoints);
  app.add_option("--save-every", o.save_every, "write it every so many rows, too; 0: do not")
      ->capture_default_str()
      ->group(checkpoints)
      ->check(between(0, 1e15));
  app.add_option("--load", o.load,
                 "go on from this checkpoint, made with the same options: the rows of FILE that it "
                 "has seen are skipped, '-' is taken to begin with the header and the row after "
                 "them, and the predictions file is continued; a last row that had no newline may "
                 "come again, whole")
      ->group(checkpoints);

  const auto refuse = [](const std::string& message) {
    std::cerr << "stream_forecast: " << message << "\nRun with --help for the options.\n";
    return Parsed{{}, 2};
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return {{}, app.exit(error)};
    return refuse(error.what());
  }

  if (o.time.empty() != o.label_time.empty())
    return refuse("--time and --label-time need each other");
  const bool by_time = !o.time.empty();
  if (by_time && horizon->count() > 0)
    return refuse("--horizon: with --label-time a forecast is for the row itself");
  std::vector<double> sorted = o.decays;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    return refuse("--decay: each may be given once");
  if (o.save_every > 0 && o.save.empty()) return refuse("--save-every needs --save");
  o.has_header = !no_header;
  if (!delimiter.empty()) o.delimiter = is_tab(delimiter) ? '\t' : delimiter[0];
  if (!periods.empty()) o.periods.clear();
  for (const std::string& text : periods) {
    if (text == "none" && periods.size() > 1)
      return refuse("--period none allows no other --period");
    if (text != "none" && !parse_period(text, o.periods.emplace_back()))
      return refuse(wrong_period(text));
  }
  int longest = 0;
  for (const Period& period : o.periods) longest = std::max(longest, period.length);
  if (by_time && season) return refuse("--season: with --label-time there is no row a season ago");
  o.season = by_time ? 0 : season.value_or(longest);
  o.warm_up = warm_up.value_or(by_time ? 1000 : longest > 0 ? 2 * longest : 100);
  if (seasonal_lags.empty()) {
    if (!by_time) o.seasonal_lags = default_seasonal_lags(o);
  } else if (by_time && seasonal_lags.front() != "none") {
    return refuse("--seasonal-lag: with --label-time there is no row so long ago");
  }
  for (const std::string& text : seasonal_lags) {
    if (text == "none" && seasonal_lags.size() > 1)
      return refuse("--seasonal-lag none allows no other --seasonal-lag");
    if (text == "none") continue;
    o.seasonal_lags.push_back(std::stoi(text));
    if (o.seasonal_lags.back() < o.horizon)
      return refuse("--seasonal-lag: " + text + " is below the horizon, " +
                    std::to_string(o.horizon) + ": that change is not known yet");
  }
  o.categories = default_categories(o.periods);
  if (!categories.empty()) {
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_group() == layer && option->count() > 0 && option->get_name() != "--scalar")
        return refuse(option->get_name() +
                      " is of the layer, which --category leaves out: its keys are not one-hot");
    }
    o.keys_are_columns = true;
    o.categories.clear();
    for (const std::string& text : categories) o.categories.push_back(*parse_category(text));
  }
  o.mode = parse_inner(inner);
  o.key_period = o.periods.empty() ? 0 : o.periods.front().length;
  if (key_period == "all") {
    o.key_period = 0;
  } else if (!key_period.empty()) {
    const auto named = [&](const Period& p) { return std::to_string(p.length) == key_period; };
    const auto found = std::find_if(o.periods.begin(), o.periods.end(), named);
    if (found == o.periods.end()) {
      return refuse("--key-period: '" + key_period +
                    "' is neither the length of a --period nor 'all'");
    }
    o.key_period = found->length;
  }
  o.single_precision = scalar == "float";
  return {o, 0};
}

}  // namespace stream_forecast
