// SPDX-License-Identifier: MIT
#include "plot.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "shown.hpp"

namespace stream_forecast {

namespace {

/// Inside single quotes gnuplot knows one escape: a doubled quote.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return result + "'";
}

/// The ending may be in capitals.
bool is_svg(const std::string& path) {
  const char letter = path[path.size() - 3];  // the options let .png and .svg pass
  return letter == 's' || letter == 'S';
}

/// gnuplot would take "~" for a folder and "|" for a program.
std::string plain_path(const std::string& path) {
  return path.starts_with('/') ? path : "./" + path;
}

/// 1, 2 or 5 times a power of ten, the smallest of which six cover `range`.
double tic_step(double range) {
  if (!(range > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(range / 6)));
  const double ratio = range / 6 / power;
  return power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
}

/// Rows between two tics: a whole number of the first season, at most eight tics.
std::size_t row_step(const Options& options, std::size_t rows) {
  if (options.periods.empty()) return 0;
  const auto season = static_cast<std::size_t>(options.periods.front().length);
  return rows < 2 * season ? 0 : season * ((rows / season + 7) / 8);
}

void write_data(std::ostream& out, const Ring<PlotPoint>& points) {
  out << "$points << END\n";
  for (std::size_t age = points.size(); age-- > 0;) {
    const PlotPoint& p = points.ago(age);
    out << p.row << ' ' << p.label << ' ' << p.prediction << ' ' << p.prediction - p.label << ' '
        << p.least_squares - p.label << '\n';
  }
  out << "END\n";
}

/// The smallest and the largest of some of a point's numbers.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  template <class Numbers>
  Range(const Ring<PlotPoint>& points, Numbers&& numbers_of) {
    for (std::size_t age = 0; age < points.size(); ++age) {
      for (const double number : numbers_of(points.ago(age))) {
        low = std::min(low, number);
        high = std::max(high, number);
      }
    }
  }
  /// gnuplot warns of an empty range.
  [[nodiscard]] std::string command() const {
    std::ostringstream s;
    s.precision(10);
    if (low < high) return "set yrange [*:*]\n";
    s << "set yrange [" << low - 1 << ':' << high + 1 << "]\n";
    return s.str();
  }
};

std::string script(const Options& options, const std::string& target,
                   const Ring<PlotPoint>& points) {
  const bool svg = is_svg(options.plot);
  const std::string ahead =
      std::to_string(options.horizon) + (options.horizon == 1 ? " row ahead" : " rows ahead");
  const std::string title = (target.size() > 40 ? shown(target) : target) + ", forecast " +
                            (options.label_time.empty() ? ahead : "before its label");
  const Range values(points, [](const PlotPoint& p) { return std::array{p.label, p.prediction}; });
  const Range errors(points, [](const PlotPoint& p) {
    return std::array{p.prediction - p.label, p.least_squares - p.label};
  });
  std::ostringstream s;
  s.precision(10);
  s << "set encoding utf8\n"
    << (svg ? "set terminal svg size 1200,720 font 'sans,15' background 'white'\n"
            : "set terminal pngcairo size 1600,960 font 'sans,15' background 'white'\n")
    << "set output " << quoted(plain_path(options.plot)) << '\n';
  write_data(s, points);
  s << "set border 3 lc rgb '#888888'\n"
       "set tics nomirror out scale 0.6 textcolor rgb '#555555'\n"
       "set format y '%.6g'\n"
       "set grid xtics ytics back lc rgb '#d8d8d8' lw 1 dt 1, lc rgb '#d8d8d8' lw 1 dt 1\n"
       "set key at graph 1, graph 1 right bottom horizontal Left reverse samplen 2 "
       "textcolor rgb '#222222'\n"
       "set lmargin 12\nset rmargin 4\n"
    << "set xrange [" << points.oldest().row << ':' << points.ago(0).row << "]\n";
  if (const std::size_t step = row_step(options, points.size())) s << "set xtics " << step << '\n';
  s << "set multiplot\n"
       "set origin 0,0.38\nset size 1,0.62\nset bmargin 1\nset tmargin 3.2\n"
    << values.command()
    << "set format x ''\n"
       "set label 1 "
    << quoted(title)
    << " noenhanced at graph 0, graph 1 left offset 0,1.2 font ',18' textcolor rgb '#222222'\n"
       "plot $points using 1:2 with lines lw 4 lc rgb '#aab4bf' title 'truth   ', "
       "'' using 1:3 with lines lw 1.6 lc rgb '#c8324a' title 'log-linear attention'\n"
       "set origin 0,0\nset size 1,0.38\nset tmargin 2.2\nset bmargin 3.4\n"
       "set format x '%.0f'\nset xlabel 'row' textcolor rgb '#555555'\n"
       "set label 1 'forecast − truth' at graph 0, graph 1 left offset 0,1 font ',15'\n"
    << errors.command() << "set ytics " << tic_step(errors.high - errors.low)
    << "\nset xzeroaxis lt 1 lc rgb '#666666' lw 1.2\n"
       "plot $points using 1:5 with lines lw 1.6 lc rgb '#8fb3d1' title 'least squares alone   ', "
       "'' using 1:4 with lines lw 1.6 lc rgb '#c8324a' title 'log-linear attention'\n"
       "unset multiplot\n";
  return s.str();
}

/// Whether a file ends as a picture does. gnuplot does not tell of a full disk.
bool is_whole_picture(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::is_regular_file(status)) return std::filesystem::exists(status);
  constexpr std::streamoff tail = 16;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() < tail) return false;
  std::string end(tail, ' ');
  file.seekg(-tail, std::ios::end).read(end.data(), tail);
  return file && end.find(is_svg(path) ? "</svg>" : "IEND") != std::string::npos;
}

}  // namespace

bool in_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool draw(const Options& options, const std::string& target, const Ring<PlotPoint>& points) {
  // Should gnuplot die early, the write fails instead of ending this program.
  const auto previous = std::signal(SIGPIPE, SIG_IGN);
  std::FILE* const gnuplot = popen("gnuplot", "w");
  bool good = gnuplot != nullptr;
  if (good) {
    const std::string text = script(options, target, points);
    good = std::fwrite(text.data(), 1, text.size(), gnuplot) == text.size();
    good = pclose(gnuplot) == 0 && good && is_whole_picture(options.plot);
  }
  std::signal(SIGPIPE, previous);
  return good;
}

}  // namespace stream_forecast
