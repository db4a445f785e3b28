// SPDX-License-Identifier: MIT
#include "plot.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sstream>

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

std::string script(const Options& options, const std::string& target,
                   const Ring<PlotPoint>& points) {
  std::ostringstream s;
  s.precision(10);
  const bool svg =
      options.plot.size() > 3 && (options.plot.ends_with("svg") || options.plot.ends_with("SVG"));
  s << (svg ? "set terminal svg size 1200,720 font 'sans,15' background 'white'\n"
            : "set terminal pngcairo size 1600,960 font 'sans,15' background 'white'\n")
    << "set output " << quoted(options.plot) << "\n"
    << "$points << END\n";
  for (std::size_t age = points.size(); age-- > 0;) {
    const PlotPoint& p = points.ago(age);
    s << p.row << ' ' << p.label << ' ' << p.prediction << ' ' << p.prediction - p.label << ' '
      << p.least_squares - p.label << '\n';
  }
  s << "END\n"
    << "set encoding utf8\n"
       "set border 3 lc rgb '#888888'\n"
       "set tics nomirror out scale 0.6 textcolor rgb '#444444'\n"
       "set format y '%.6g'\n"
       "set grid ytics lc rgb '#e4e4e4' lw 1 dt 1\n"
       "set key above right horizontal textcolor rgb '#222222' samplen 2.5\n"
       "set lmargin 13\nset rmargin 4\n"
    << "set xrange [" << points.oldest().row << ':' << points.ago(0).row << "]\n";
  if (!options.periods.empty() &&
      points.size() < 24 * static_cast<std::size_t>(options.periods[0].length) &&
      points.size() > 2 * static_cast<std::size_t>(options.periods[0].length)) {
    s << "set xtics "
      << options.periods[0].length *
             (points.size() > 8 * static_cast<std::size_t>(options.periods[0].length) ? 2 : 1)
      << '\n';
  }
  s << "set multiplot\n"
       "set origin 0,0.36\nset size 1,0.63\nset bmargin 1.2\nset tmargin 4\n"
       "set format x ''\n"
       "set title "
    << quoted(target + ", forecast " + std::to_string(options.horizon) +
              (options.horizon == 1 ? " row" : " rows") + " ahead")
    << " noenhanced offset 0,0.6 textcolor rgb '#222222'\n"
       "plot $points using 1:2 with lines lw 3 lc rgb '#9aa5b1' title 'truth', "
       "'' using 1:3 with lines lw 1.6 lc rgb '#d1495b' title 'log-linear attention'\n"
       "unset title\n"
       "set origin 0,0\nset size 1,0.37\nset tmargin 2.2\nset bmargin 3.6\n"
       "set format x '%.0f'\nset xlabel 'row' textcolor rgb '#444444'\n"
       "set ylabel 'forecast − truth' textcolor rgb '#444444'\n"
       "set arrow 1 from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#666666' lw 1 back\n"
       "plot $points using 1:5 with lines lw 1.4 lc rgb '#b9c6d3' title 'least squares alone', "
       "'' using 1:4 with lines lw 1.6 lc rgb '#d1495b' title 'log-linear attention'\n"
       "unset multiplot\n";
  return s.str();
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
    good = pclose(gnuplot) == 0 && good;
  }
  std::signal(SIGPIPE, previous);
  return good;
}

}  // namespace stream_forecast
