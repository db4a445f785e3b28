// SPDX-License-Identifier: MIT
// The errors of each step of training on streams of two targets and four inputs, at scales of the
// inputs from 10^-3 to 10^3: the table of docs/making_it_learn.md.
//
//   steps [file.csv:column ...]
//
// The inputs of a file are its last four values, in deviations from its mean; the targets are half
// the next value and half the one after it, in tanh. A number is the root of the mean squared error
// over the last quarter of 2,000 rows, in deviations of the targets; always to predict the mean of
// the targets has 1.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <loglinear/loglinear.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace loglinear;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr Index rows = 2000, inputs = 4, targets = 2;

struct Stream {
  std::string name;
  MatrixXd x = MatrixXd::Zero(rows, inputs), y = MatrixXd::Zero(rows, targets);
};

MatrixXd normals(Xorshift64& random, Index n, Index columns) {
  return MatrixXd::NullaryExpr(n, columns, [&] { return random.normal(); });
}

/// Made streams: functions of the inputs, of what they remember, and of the recent past.
std::vector<Stream> made_streams() {
  std::vector<Stream> all(6);
  Xorshift64 random(11);
  const MatrixXd now = normals(random, inputs, targets).colwise().normalized();
  const MatrixXd past = normals(random, inputs, targets).colwise().normalized();
  const MatrixXd white = normals(random, rows, inputs);
  MatrixXd smooth = white, waves(rows, inputs), uniform(rows, inputs);
  for (Index t = 0; t < rows; ++t) {
    if (t > 0) smooth.row(t) = 0.9 * smooth.row(t - 1) + std::sqrt(0.19) * white.row(t);
    for (Index j = 0; j < inputs; ++j) {
      waves(t, j) = std::sin(0.1 * static_cast<double>(t) + static_cast<double>(j));
      uniform(t, j) = 2 * random.uniform() - 1;
    }
  }
  const auto tanh_of = [](const MatrixXd& m) { return MatrixXd(m.array().tanh()); };
  all[0] = {"linear", white, 0.25 * white * now};
  all[1] = {"bent", white, tanh_of((0.5 * white * now).array() + 0.2)};
  all[2] = {"uniform", uniform, tanh_of(uniform * now)};
  all[3] = {"smooth", smooth, 0.25 * smooth * now};
  all[4] = {"recent past", smooth, 0.25 * smooth * now};
  all[4].y.bottomRows(rows - 1) += 0.25 * smooth.topRows(rows - 1) * past;
  all[4].y = tanh_of(all[4].y);
  all[5] = {"waves", waves, MatrixXd(rows, targets)};
  for (Index t = 0; t < rows; ++t) {
    all[5].y(t, 0) = 0.8 * std::sin(0.1 * static_cast<double>(t) + 4);
    all[5].y(t, 1) = 0.8 * std::cos(0.1 * static_cast<double>(t) + 4);
  }
  return all;
}

/// A column of a file as such a stream.
Stream stream_of(const std::string& argument) {
  const std::size_t colon = argument.rfind(':');
  std::ifstream file(argument.substr(0, colon));
  const std::string wanted = argument.substr(colon + 1);
  std::string line, cell;
  std::vector<double> values;
  std::size_t place = 0;
  for (bool is_head = true; std::getline(file, line); is_head = false) {
    std::istringstream cells(line);
    for (std::size_t i = 0; std::getline(cells, cell, ','); ++i) {
      cell.erase(std::remove(cell.begin(), cell.end(), '"'), cell.end());
      if (is_head && cell == wanted) place = i;
      if (!is_head && i == place) values.push_back(std::atof(cell.c_str()));
    }
  }
  const auto needed = static_cast<std::size_t>(rows + inputs + targets);
  if (values.size() < needed) {
    std::fprintf(stderr, "%s: fewer than %zu values\n", argument.c_str(), needed);
    std::exit(2);
  }
  const Eigen::Map<const VectorXd> all(values.data(), static_cast<Index>(needed));
  const VectorXd z =
      (all.array() - all.mean()) / std::sqrt((all.array() - all.mean()).square().mean());
  Stream stream;
  stream.name = wanted;
  for (Index t = 0; t < rows; ++t) {
    stream.x.row(t) = z.segment(t, inputs).transpose();
    stream.y.row(t) = (0.5 * z.segment(t + inputs, targets).array()).tanh().transpose();
  }
  return stream;
}

struct Choice {
  const char* name;
  std::optional<Step> step;
  std::optional<double> rate;
  bool bias = true;
};

/// 9.99 where the layer refuses to go on.
template <class Rule>
double error_of(const Rule& rule, const Choice& choice, const Stream& stream, double scale) {
  LogLinearAttention<Rule> layer({.inner = rule,
                                  .d_model = inputs,
                                  .d_k = 8,
                                  .d_v = targets,
                                  .learning_rate = choice.rate,
                                  .step = choice.step,
                                  .bias = choice.bias});
  constexpr Index scored = rows / 4;
  double error = 0;
  for (Index t = 0; t < rows; ++t) {
    const VectorXd x = scale * stream.x.row(t).transpose(), y = stream.y.row(t).transpose();
    try {
      const double one = (layer.train_one(x, y) - y).squaredNorm();
      if (t >= rows - scored) error += one;
    } catch (const std::invalid_argument&) {
      return 9.99;
    }
  }
  const MatrixXd last = stream.y.bottomRows(scored);
  return std::sqrt(error / (last.rowwise() - last.colwise().mean()).squaredNorm());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Stream> streams = made_streams();
  for (int i = 1; i < argc; ++i) streams.push_back(stream_of(argv[i]));
  const std::array choices{Choice{"`sgd` 0.05, no biases", {}, 0.05, false},
                           Choice{"`sgd` 0.5", {}, 0.5},
                           Choice{"`sgd` 2", {}, 2},
                           Choice{"`adam` 0.001", Step{.rule = StepRule::adam}, 0.001},
                           Choice{"`adam` 0.01", Step{.rule = StepRule::adam}, 0.01},
                           Choice{"`normalized` 0.005", Step{}, 0.005},
                           Choice{"`normalized` 0.02, the default", {}, {}},
                           Choice{"`normalized` 0.05", Step{}, 0.05}};
  std::printf("| step and rate |");
  for (const Stream& stream : streams) std::printf(" %s |", stream.name.c_str());
  std::printf(" worst scale |\n|---|");
  for (std::size_t i = 0; i <= streams.size(); ++i) std::printf("--:|");
  std::printf("\n");
  for (const Choice& choice : choices) {
    std::printf("| %s |", choice.name);
    double worst = 0;
    for (const Stream& stream : streams) {
      double at_one = 0;
      for (const double scale : {1.0, 1e-3, 1e3}) {
        const double mean =
            (error_of(GatedDeltaNet{}, choice, stream, scale) +
             error_of(GLA{}, choice, stream, scale) + error_of(RetNet{}, choice, stream, scale)) /
            3;
        if (scale >= 1 && scale <= 1) at_one = mean;
        worst = (std::max)(worst, mean);
      }
      std::printf(" %.2f |", at_one);
    }
    std::printf(" %.2f |\n", worst);
    std::fflush(stdout);
  }
}
