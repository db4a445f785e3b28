// SPDX-License-Identifier: MIT
#include "case.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace golden {

Case::Case(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot open " + file.string());
  const nlohmann::json json = nlohmann::json::parse(in);
  name_ = json.at("case");
  config_ = json.at("config");
  arrays_ = json.at("arrays");
}

std::vector<Eigen::Index> Case::shape(const std::string& array) const {
  return arrays_.at(array).at("shape").get<std::vector<Eigen::Index>>();
}

RowMajor Case::matrix(const std::string& array) const {
  const auto data = arrays_.at(array).at("data").get<std::vector<double>>();
  const Eigen::Index rows = shape(array).empty() ? 1 : shape(array).front();
  const auto size = static_cast<Eigen::Index>(data.size());
  const Eigen::Index columns = rows == 0 ? 0 : size / rows;
  if (rows * columns != size) throw std::runtime_error("array " + array + " is not rectangular");
  return Eigen::Map<const RowMajor>(data.data(), rows, columns);
}

void Comparison::array(const Case& expected, const std::string& name, const RowMajor& computed) {
  const RowMajor wanted = expected.matrix(name);
  if (wanted.size() != computed.size()) {
    return note(name + " (size)", std::numeric_limits<double>::infinity());
  }
  if (wanted.size() == 0) return;
  const Eigen::Map<const Eigen::VectorXd> a(computed.data(), computed.size());
  const Eigen::Map<const Eigen::VectorXd> b(wanted.data(), wanted.size());
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

}  // namespace golden
