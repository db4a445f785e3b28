// SPDX-License-Identifier: MIT
#include "case.hpp"

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string_view>

namespace loglinear::test {
namespace {

/// JSON has no infinity; what writes one, as Python does for a log decay that forgets everything,
/// writes a bare word. It becomes a string here, as which others write it.
std::string with_quoted_infinities(std::string text) {
  constexpr std::string_view word = "-Infinity";
  for (std::size_t at = text.find(word); at != std::string::npos;
       at = text.find(word, at + word.size() + 1)) {
    if (at > 0 && text[at - 1] == '"') continue;
    text.insert(at + word.size(), 1, '"').insert(at, 1, '"');
  }
  return text;
}

double number_of(const nlohmann::json& value) {
  if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
  return value.get<double>();
}

}  // namespace

Case::Case(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot open " + file.string());
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const nlohmann::json json = nlohmann::json::parse(with_quoted_infinities(text));
  name_ = json.at("case");
  config_ = json.at("config");
  arrays_ = json.at("arrays");
}

std::vector<Eigen::Index> Case::shape(const std::string& array) const {
  return arrays_.at(array).at("shape").get<std::vector<Eigen::Index>>();
}

RowMajor Case::matrix(const std::string& array) const {
  std::vector<double> data;
  for (const auto& value : arrays_.at(array).at("data")) data.push_back(number_of(value));
  Eigen::Index rows = 1, columns = 1;
  const auto sizes = shape(array);
  for (std::size_t n = 0; n < sizes.size(); ++n) (n == 0 ? rows : columns) *= sizes[n];
  if (rows * columns != static_cast<Eigen::Index>(data.size())) {
    throw std::runtime_error("array " + array + " has another size than its shape");
  }
  return Eigen::Map<const RowMajor>(data.data(), rows, columns);
}

void Comparison::array(const Case& expected, const std::string& name, const RowMajor& computed,
                       const std::string& form) {
  numbers(name + form, expected.matrix(name), computed);
}

void Comparison::numbers(const std::string& name, const RowMajor& expected,
                         const RowMajor& computed) {
  if (expected.size() != computed.size()) {
    return note(name + " (size)", std::numeric_limits<double>::infinity());
  }
  if (expected.size() == 0) return;
  const Eigen::Map<const Eigen::VectorXd> a(computed.data(), computed.size());
  const Eigen::Map<const Eigen::VectorXd> b(expected.data(), expected.size());
  const double tolerance = 1e-10 * b.cwiseAbs().maxCoeff() + 1e-14;
  const double error = a.allFinite() ? (a - b).cwiseAbs().maxCoeff() / tolerance
                                     : std::numeric_limits<double>::infinity();
  note(name, error);
}

void Comparison::exact(const std::string& name, std::uint64_t expected, std::uint64_t computed) {
  note(name, expected == computed ? 0 : std::numeric_limits<double>::infinity());
}

void Comparison::note(const std::string& name, double error) {
  if (error > worst_ || where_ == "nothing") {
    worst_ = error;
    where_ = name;
  }
}

}  // namespace loglinear::test
