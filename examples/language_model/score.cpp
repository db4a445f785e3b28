// SPDX-License-Identifier: MIT
// Bits per byte that a model needs for a text, by the number of bytes before: one row an octave, so
// that what happens beyond the trained length shows. The file is read in pieces, so that a long
// text goes through in constant memory, but for the keys and values of attention without a window.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "byte_model.hpp"
#include "text_file.hpp"

namespace {

struct Options {
  std::string folder{}, file{};
  std::size_t length = 0;  // of a stretch; 0 for the whole file
  std::size_t stretches = 1;
};

/// Sums of bits by octave: octave o has the bytes with 2^o ... 2^(o + 1) - 1 bytes before them.
struct Octave {
  double bits = 0;
  std::size_t bytes = 0;
};

/// -log2 of the softmax of one row at `token`.
template <class Row>
double bits_of(const Row& logits, std::int32_t token) {
  const Eigen::ArrayXd values = logits.transpose().template cast<double>();
  const double largest = values.maxCoeff();
  const double log_sum = largest + std::log((values - largest).exp().sum());
  return (log_sum - values[token]) / std::log(2.0);
}

/// `length` bytes of text from an empty stream, in pieces.
void score_stretch(const language_model::Model& model, language_model::TextFile& text,
                   std::size_t begin, std::size_t length, language_model::Model::Cache& cache,
                   std::vector<Octave>& octaves) {
  constexpr std::size_t piece = 1024;
  cache.reset();
  for (std::size_t first = 0; first + 1 < length; first += piece) {
    const std::size_t count = std::min(piece, length - 1 - first);
    const auto tokens = text.tokens(begin + first, count + 1);  // and what the last one predicts
    const auto logits = model.logits(std::span(tokens).first(count), cache);
    for (std::size_t t = 0; t < count; ++t) {
      const std::size_t before = first + t + 1;
      const auto octave = static_cast<std::size_t>(std::bit_width(before)) - 1;
      octaves.resize(std::max(octaves.size(), octave + 1));
      octaves[octave].bits += bits_of(logits.row(static_cast<Eigen::Index>(t)), tokens[t + 1]);
      ++octaves[octave].bytes;
    }
  }
}

void score(const Options& options) {
  if (options.length == 1) {
    throw std::invalid_argument("--length is 1; it must be 0, for the whole file, or at least 2");
  }
  const auto model = language_model::load_byte_model(options.folder);
  language_model::TextFile text(options.file);
  if (text.size() < 2) throw std::runtime_error(options.file + ": has fewer than 2 bytes");
  const std::size_t length =
      options.length == 0 ? text.size() : std::min(options.length, text.size());
  const std::size_t stretches = std::min(options.stretches, text.size() / length);
  const std::size_t room = (text.size() - length) / std::max<std::size_t>(1, stretches - 1);
  auto cache = model.make_cache();
  std::vector<Octave> octaves;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < stretches; ++i) {
    score_stretch(model, text, i * room, length, cache, octaves);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  Octave all;
  std::printf("bytes before,bytes,bits per byte\n");
  for (std::size_t o = 0; o < octaves.size(); ++o) {
    const auto [bits, bytes] = octaves[o];
    all.bits += bits;
    all.bytes += bytes;
    std::printf("%zu-%zu,%zu,%.4f\n", std::size_t{1} << o, (std::size_t{2} << o) - 1, bytes,
                bits / static_cast<double>(bytes));
  }
  std::printf("all,%zu,%.4f\n", all.bytes, all.bits / static_cast<double>(all.bytes));
  language_model::require_written();
  std::fprintf(stderr, "%zu bytes in %.2f s, %.0f bytes/s; %s\n", all.bytes, seconds,
               static_cast<double>(all.bytes) / seconds,
               language_model::memory_text(model, cache).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Bits per byte of a text, by the number of bytes before.");
  app.add_option("model", options.folder, "folder with config.json and model.safetensors")
      ->required();
  app.add_option("file", options.file, "the text")->required();
  app.add_option("--length", options.length, "bytes of a stretch, at least 2; 0: the whole file")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 60))
      ->capture_default_str();
  app.add_option("--stretches", options.stretches, "stretches, evenly over the file")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    score(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "score: %s\n", error.what());
    return 1;
  }
}
