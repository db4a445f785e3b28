// SPDX-License-Identifier: MIT
#include "training.hpp"

#include <torch/nn/utils/clip_grad.h>
#include <torch/serialize.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <loglinear/checkpoint/detail/files.hpp>
#include <loglinear/detail/base/checks.hpp>
#include <map>
#include <span>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "batch.hpp"
#include "sampling.hpp"
#include "schedule.hpp"

namespace learning {

namespace {

/// Weights drawn from this seed. LibTorch's generator serves nothing else.
Model drawn(const ModelShape& shape, std::int64_t seed) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  return Model(shape);
}

/// Matrices decay, embeddings, vectors and filters do not.
std::unique_ptr<torch::optim::AdamW> optimizer_of(const Model& model, double weight_decay) {
  std::vector<torch::Tensor> matrices, others;
  for (const auto& item : model->named_parameters()) {
    const bool is_matrix = item.key().ends_with(".weight") && item.value().dim() == 2 &&
                           item.key().find("convolution") == std::string::npos;
    (is_matrix ? matrices : others).push_back(item.value());
  }
  using torch::optim::AdamWOptions;
  const auto group = [](std::vector<torch::Tensor> weights, double decay) {
    return torch::optim::OptimizerParamGroup(
        std::move(weights),
        std::make_unique<AdamWOptions>(AdamWOptions().betas({0.9, 0.98}).weight_decay(decay)));
  };
  return std::make_unique<torch::optim::AdamW>(
      std::vector{group(std::move(matrices), weight_decay), group(std::move(others), 0)});
}

/// What the labels of a group add up to.
struct Sum {
  std::int64_t labels = 0;
  double loss = 0, right = 0;
};

/// The standard deviation of some numbers.
class Spread {
 public:
  void add(double x) {
    ++count_;
    const double d = x - mean_;
    mean_ += d / count_;
    squares_ += d * (x - mean_);
  }
  [[nodiscard]] double deviation() const {
    return count_ < 2 ? 0 : std::sqrt(squares_ / (count_ - 1));
  }

 private:
  double count_ = 0, mean_ = 0, squares_ = 0;
};

torch::Tensor is_right(const torch::Tensor& logits, const torch::Tensor& labels) {
  return logits.argmax(1).eq(labels);
}

/// Sequences of a length have their share of the items that those of full length have.
Setting setting_of(const TrainingOptions& o, std::int64_t length, std::int64_t items) {
  return {length, std::max<std::int64_t>(1, items * length / o.length)};
}

Setting setting_at(const TrainingOptions& o, std::int64_t step, std::int64_t items) {
  if (o.first_length == 0) return {o.length, items};
  return setting_of(o, growing_length(step, o.steps, o.first_length, o.length), items);
}

}  // namespace

Training::Training(const Task& task, const ModelShape& shape, TrainingOptions options,
                   std::int64_t seed, const std::string& identity, const Workers& workers)
    : task_(task),
      options_(std::move(options)),
      seed_(seed),
      identity_(identity + " seed=" + std::to_string(seed)),
      model_(drawn(shape, seed)),
      optimizer_(optimizer_of(model_, options_.weight_decay)),
      workers_(workers) {
  if (workers.count() > options_.batch) {
    loglinear::detail::fail("the number of processes", workers.count(), "at most ", options_.batch,
                            ", the sequences of a batch");
  }
  if (options_.first_length > 0 && !doubles_to(options_.first_length, options_.length)) {
    loglinear::detail::fail("first_length", options_.first_length, "0, or ", options_.length,
                            ", the length, over a power of two");
  }
  if (options_.first_length > 0) {
    // Longer sequences are legal if the shortest are.
    for (const std::int64_t items : options_.items) {
      task.require_legal(setting_of(options_, options_.first_length, items));
    }
  }
}

void Training::add_up_gradients() {
  std::vector<torch::Tensor> gradients;
  for (const torch::Tensor& weights : model_->parameters()) {
    if (weights.grad().defined()) gradients.push_back(weights.grad());
  }
  std::vector<torch::Tensor> flat;
  for (const torch::Tensor& gradient : gradients) flat.push_back(gradient.flatten());
  torch::Tensor all = torch::cat(flat);
  workers_.add_up(std::span(all.data_ptr<float>(), static_cast<std::size_t>(all.numel())));
  std::int64_t first = 0;
  for (torch::Tensor& gradient : gradients) {
    gradient.copy_(all.narrow(0, first, gradient.numel()).view_as(gradient));
    first += gradient.numel();
  }
}

Training::Outcome Training::step() {
  const TrainingOptions& o = options_;
  const auto seed = static_cast<std::uint64_t>(seed_);
  loglinear::Xorshift64 random = generator_of({seed, static_cast<std::uint64_t>(step_)});
  const std::int64_t choice = between(random, 0, static_cast<std::int64_t>(o.items.size()));
  const Setting setting = setting_at(o, step_, o.items[static_cast<std::size_t>(choice)]);
  const std::int64_t count = o.random_count ? between(random, 0, setting.length) : 0;
  const std::int64_t first = workers_.begin(o.batch, workers_.rank());
  const std::int64_t size = workers_.begin(o.batch, workers_.rank() + 1) - first;
  const Batch batch = training_batch(task_, setting, size, seed, step_, first);

  for (auto& group : optimizer_->param_groups()) {
    static_cast<torch::optim::AdamWOptions&>(group.options())
        .lr(o.learning_rate * cosine_share(step_, o.warm_up, o.steps));
  }
  optimizer_->zero_grad();
  const torch::Tensor logits = model_(batch.tokens, batch.positions, count);
  torch::Tensor loss = torch::nn::functional::cross_entropy(logits, batch.labels);
  std::array<double, 3> sums{static_cast<double>(batch.labels.size(0)), 0, 0};  // labels, and means
  if (workers_.are_many()) {
    // The mean over the labels of all workers.
    const double own = sums[0];
    workers_.add_up(std::span(sums).first(1));
    loss = loss * (own / sums[0]);
  }
  loss.backward();
  if (workers_.are_many()) add_up_gradients();
  torch::nn::utils::clip_grad_norm_(model_->parameters(), o.gradient_norm);
  optimizer_->step();
  ++step_;

  sums[1] = loss.item<double>();
  {
    const torch::NoGradGuard counting;
    sums[2] = is_right(logits, batch.labels).to(torch::kDouble).sum().item<double>() / sums[0];
  }
  workers_.add_up(std::span(sums).last(2));
  if (!std::isfinite(sums[1])) {
    throw std::runtime_error("the loss is " + std::to_string(sums[1]) + " at step " +
                             std::to_string(step_) + "; a lower --learning-rate may help");
  }
  return {sums[1], sums[2]};
}

std::vector<Score> Training::scores(const std::vector<Setting>& tests, std::int64_t instances) {
  const torch::NoGradGuard no_gradients;
  std::vector<Score> scores;
  for (const Setting& setting : tests) {
    Sum all;
    std::map<std::int64_t, Sum> groups;
    Spread means;
    // As many tokens at once as in training.
    const std::int64_t most =
        std::max<std::int64_t>(1, options_.batch * options_.length / setting.length);
    for (std::int64_t first = 0; first < instances; first += most) {
      const std::int64_t size = std::min(most, instances - first);
      const Batch batch = test_batch(task_, setting, size, first);
      const torch::Tensor logits = model_(batch.tokens, batch.positions);
      const torch::Tensor loss =
          torch::nn::functional::cross_entropy(
              logits, batch.labels,
              torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kNone))
              .to(torch::kDouble);
      const torch::Tensor right = is_right(logits, batch.labels).to(torch::kDouble);
      for (std::int64_t i = 0; i < loss.size(0); ++i) {
        for (Sum* sum : {&all, &groups[batch.groups.data_ptr<std::int64_t>()[i]]}) {
          ++sum->labels;
          sum->loss += loss.data_ptr<double>()[i];
          sum->right += right.data_ptr<double>()[i];
        }
      }
      const torch::Tensor by_instance = loss.view({size, -1}).mean(1);
      for (std::int64_t i = 0; i < size; ++i) means.add(by_instance.data_ptr<double>()[i]);
    }
    const auto add = [&](const std::string& group, const Sum& sum, double deviation) {
      const auto n = static_cast<double>(sum.labels);
      scores.push_back({setting, group, sum.labels, sum.loss / n, sum.right / n, deviation});
    };
    add("all", all, means.deviation());
    for (const auto& [group, sum] : groups) add(std::to_string(group), sum, 0);
  }
  return scores;
}

void Training::save(const std::string& path) const {
  if (!workers_.is_first()) return;
  torch::serialize::OutputArchive archive, weights, moments;
  archive.write("run", c10::IValue(identity_));
  archive.write("step", c10::IValue(step_));
  archive.write("seconds", c10::IValue(seconds));
  model_->save(weights);
  optimizer_->save(moments);
  archive.write("weights", weights);
  archive.write("moments", moments);
  std::ostringstream out;
  archive.save_to(out);
  const std::string bytes = out.str();
  loglinear::detail::Replacement(path).write(
      {std::as_bytes(std::span(bytes.data(), bytes.size()))});
}

void Training::load(const std::string& path) {
  torch::serialize::InputArchive archive, weights, moments;
  std::string bytes;
  if (workers_.is_first() && std::filesystem::exists(path)) {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    if (bytes.empty()) throw std::runtime_error(path + " cannot be read");
  }
  workers_.broadcast(bytes);
  if (bytes.empty()) return;
  std::istringstream in(bytes);
  archive.load_from(in);
  c10::IValue run, step, spent;
  archive.read("run", run);
  if (run.toStringRef() != identity_) {
    throw std::runtime_error(path + " is of another training: " + run.toStringRef());
  }
  archive.read("step", step);
  archive.read("seconds", spent);
  archive.read("weights", weights);
  archive.read("moments", moments);
  model_->load(weights);
  optimizer_->load(moments);
  step_ = step.toInt();
  seconds = spent.toDouble();
}

}  // namespace learning
