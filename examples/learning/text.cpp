// SPDX-License-Identifier: MIT
#include "text.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <loglinear/detail/base/checks.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

#include "sampling.hpp"

namespace learning {

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) throw std::invalid_argument("learning: " + path.string() + " cannot be read");
  return bytes;
}

}  // namespace

Text::Text(std::string training, std::string evaluation)
    : training_(std::move(training)), evaluation_(std::move(evaluation)) {}

Text Text::of_folder(const std::string& folder, const std::string& ending) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.is_regular_file() && entry.path().string().ends_with(ending)) {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    loglinear::detail::fail("the number of files '" + folder + "/*" + ending + "'", files.size(),
                            "at least 1");
  }
  std::sort(files.begin(), files.end());
  std::string training, evaluation;
  for (std::size_t i = 0; i < files.size(); ++i) {
    (i % 10 == 9 ? evaluation : training) += contents(files[i]);
  }
  if (files.size() < 10) {
    const std::size_t kept = training.size() - training.size() / 10;
    evaluation = training.substr(kept);
    training.resize(kept);
  }
  return {std::move(training), std::move(evaluation)};
}

void Text::require_legal(const Setting& setting) const {
  const std::size_t shorter = std::min(training_.size(), evaluation_.size());
  loglinear::detail::require_between("length", setting.length, std::int64_t{1},
                                     static_cast<std::int64_t>(shorter) - 1);
}

Instance Text::starting_at(std::int64_t first, std::int64_t length, Part part) const {
  const std::string& text = this->part(part);
  const auto byte = [&](std::size_t i) {
    return static_cast<std::int64_t>(
        static_cast<unsigned char>(text[static_cast<std::size_t>(first) + i]));
  };
  Instance instance(length);
  for (std::size_t i = 0; i < instance.tokens.size(); ++i) {
    instance.tokens[i] = byte(i);
    instance.labels[i] = byte(i + 1);
    instance.groups[i] = octave_of(static_cast<std::int64_t>(i) + 1);
  }
  return instance;
}

Instance Text::draw(loglinear::Xorshift64& random, const Setting& setting, Part part) const {
  const auto size = static_cast<std::int64_t>(this->part(part).size());
  return starting_at(between(random, 0, size - setting.length), setting.length, part);
}

}  // namespace learning
