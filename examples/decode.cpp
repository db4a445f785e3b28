// SPDX-License-Identifier: MIT
// One stream in the two ways that a language model goes through it: prompts at once, by matrix
// products (`chunkwise`), and answers token by token (`recurrent`), both on the same state. Beside
// it, softmax attention answers the same tokens from a cache of all keys and values.
//
// What to look at: the state stays as large as it is and a token costs nearly the same wherever the
// stream stands, while the cache and the time to go through it grow with every token. The last line
// is what makes the other figures worth reading.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <loglinear/sequence.hpp>
#include <random>

namespace {

using Eigen::Index;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Inputs = loglinear::SequenceInputs<float>;

constexpr Index d = 64, answer = 1000, longest_piece = 4096;
constexpr int max_levels = 20;  // enough for a million tokens
/// Where the stream stands when an answer begins; the prompts lie in between.
constexpr std::array<Index, 4> answers_at = {512, 2048, 8192, 32768};
constexpr Index length = answers_at.back() + answer;

/// Queries, keys, values and gates of a gated delta rule, as projections of tokens would give them.
struct Stream {
  Stream() {
    std::mt19937 random(7);
    const auto uniform = [&](Index columns, float from, float to) -> Matrix {
      return Matrix::NullaryExpr(length, columns, [&, from, to] {
        return from + (to - from) * static_cast<float>(random() >> 8) * 0x1p-24F;
      });
    };
    q = uniform(d, -1, 1);
    k = uniform(d, -1, 1).rowwise().normalized();
    v = uniform(d, -1, 1);
    lambda = uniform(Inputs::levels_read(0, length, max_levels), 0.2F, 1);
    g = uniform(1, -2e-4F, 0);
    beta = uniform(1, 0.1F, 0.9F);
  }
  [[nodiscard]] Inputs inputs() const {
    return {.q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta};
  }

  Matrix q, k, v, lambda, g, beta;
};

/// Softmax attention that keeps every key and value.
class KeyValueCache {
 public:
  void append(const Matrix& k, const Matrix& v) {
    keys_.middleRows(tokens_, k.rows()) = k;
    values_.middleRows(tokens_, v.rows()) = v;
    tokens_ += k.rows();
  }
  Eigen::RowVectorXf attend(const Eigen::RowVectorXf& q) {
    weights_.noalias() = keys_.topRows(tokens_) * q.transpose() / std::sqrt(static_cast<float>(d));
    weights_ = (weights_.array() - weights_.maxCoeff()).exp();
    return weights_.transpose() * values_.topRows(tokens_) / weights_.sum();
  }
  [[nodiscard]] Index bytes() const { return 2 * tokens_ * d * static_cast<Index>(sizeof(float)); }

 private:
  Matrix keys_{length, d}, values_{length, d};  // room for all, so that no copy is timed
  Eigen::VectorXf weights_;
  Index tokens_ = 0;
};

template <class Work>
double seconds(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The largest difference of two matrices, relative to the largest coefficient.
double difference(const Matrix& a, const Matrix& b) {
  return static_cast<double>((a - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff());
}

/// Softmax attention of the last token by its definition, in double.
Matrix last_softmax_read(const Stream& stream) {
  const Eigen::VectorXd scores = stream.k.cast<double>() *
                                 stream.q.row(length - 1).transpose().cast<double>() /
                                 std::sqrt(static_cast<double>(d));
  const Eigen::VectorXd weights = scores.array().exp();
  return (weights.transpose() * stream.v.cast<double>() / weights.sum()).cast<float>();
}

}  // namespace

int main() {
  const Stream stream;
  const Inputs in = stream.inputs();
  loglinear::LogLinearState<float> state(max_levels, d, d);
  KeyValueCache cache;
  Matrix out(length, d);
  Eigen::RowVectorXf softmax_read;

  std::printf("gated delta rule, d = %td, %d levels; answers of %td tokens\n\n", d, max_levels,
              answer);
  std::printf("%-10s%41s%28s\n", "", "log-linear attention", "softmax attention");
  std::printf("%-10s%15s%15s%11s%17s%11s\n", "token", "prompt, tok/s", "answer, tok/s", "state",
              "answer, tok/s", "cache");
  Index token = 0;
  for (const Index begin : answers_at) {
    const Index prompt = begin - token;
    const double prompt_seconds = seconds([&] {
      while (token < begin) {
        const Index piece = std::min(longest_piece, begin - token);
        out.middleRows(token, piece) = loglinear::chunkwise(in.slice(token, piece), state);
        token += piece;
      }
    });
    cache.append(stream.k.middleRows(begin - prompt, prompt),
                 stream.v.middleRows(begin - prompt, prompt));
    const double answer_seconds = seconds([&] {
      for (; token < begin + answer; ++token) {
        out.row(token) = loglinear::recurrent(in.slice(token, 1), state);
      }
    });
    const double softmax_seconds = seconds([&] {
      for (Index t = begin; t < token; ++t) {
        cache.append(stream.k.row(t), stream.v.row(t));
        softmax_read = cache.attend(stream.q.row(t));
      }
    });
    const Index state_bytes = state.flat_state().size() * static_cast<Index>(sizeof(float));
    std::printf("%-10td%15.0f%15.0f%7td KiB%17.0f%7td KiB\n", begin,
                static_cast<double>(prompt) / prompt_seconds,
                static_cast<double>(answer) / answer_seconds, state_bytes / 1024,
                static_cast<double>(answer) / softmax_seconds, cache.bytes() / 1024);
  }

  const double error = difference(out, loglinear::chunkwise(in));
  const double softmax_error = difference(softmax_read, last_softmax_read(stream));
  std::printf("\nlargest difference from all %td tokens in one pass: %.1e of the largest read\n",
              length, error);
  if (error <= 1e-4 && softmax_error <= 1e-4) return 0;
  std::fprintf(stderr, "that is too much, or softmax attention is wrong by %.1e\n", softmax_error);
  return 1;
}
