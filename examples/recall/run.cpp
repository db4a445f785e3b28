// SPDX-License-Identifier: MIT
#include "run.hpp"

#include <torch/nn/utils/clip_grad.h>
#include <torch/serialize.h>
#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <loglinear/checkpoint/detail/files.hpp>
#include <loglinear/detail/base/checks.hpp>
#include <map>
#include <span>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "batch.hpp"
#include "mqar.hpp"
#include "needle.hpp"
#include "sampling.hpp"
#include "schedule.hpp"
#include "selective_copying.hpp"
#include "text.hpp"

namespace recall {

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

torch::Tensor is_right(const torch::Tensor& logits, const torch::Tensor& labels) {
  return logits.argmax(1).eq(labels);
}

}  // namespace

std::unique_ptr<Task> make_task(const Configuration& c) {
  std::unique_ptr<Task> task;
  if (c.task == "mqar") task = std::make_unique<Mqar>(c.vocabulary, c.random_filler);
  if (c.task == "needle") task = std::make_unique<Needle>(c.vocabulary);
  if (c.task == "selective_copying") task = std::make_unique<SelectiveCopying>(c.vocabulary);
  if (c.task == "text") {
    task = std::make_unique<Text>(Text::of_folder(c.text, c.text_ending));
  }
  if (!task) {
    loglinear::detail::fail("task", c.task, "mqar, needle, selective_copying or text");
  }
  for (const std::int64_t items : c.items) task->require_legal({c.length, items});
  for (const Setting& setting : c.evaluations) task->require_legal(setting);
  return task;
}

ModelShape shape_of(const Configuration& c) {
  std::int64_t longest = c.length;
  for (const Setting& setting : c.evaluations) longest = std::max(longest, setting.length);
  const auto levels =
      static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(longest - 1))) + 1;
  return {.vocabulary = c.vocabulary,
          .blocks = c.blocks,
          .tied = c.tied,
          // One seed on MQAR with 32 pairs: Mamba-2 (mlp) has 4.6 percent after 1200 steps with
          // 0.02 and 99.8 with 1, where what a mixer adds does not drown the token; softmax
          // attention is right after 250 steps with 0.02 and still at 2.5 percent after 900 with 1.
          .embedding_deviation = c.mixer == "softmax" ? 0.02 : 1.0,
          .mixer = c.mixer,
          .weighting = c.weighting,
          .sizes = {.d_model = c.d_model,
                    .heads = c.heads,
                    .d_k = c.key_size,
                    .d_v = c.expand * c.d_model / c.heads,
                    .levels = levels}};
}

Run::Run(const Task& task, const Configuration& configuration, std::int64_t seed)
    : task_(task),
      configuration_(configuration),
      seed_(seed),
      model_(drawn(shape_of(configuration), seed)),
      optimizer_(optimizer_of(model_, configuration.weight_decay)) {}

Run::Outcome Run::step() {
  const Configuration& c = configuration_;
  const auto seed = static_cast<std::uint64_t>(seed_);
  loglinear::Xorshift64 random = generator_of({seed, static_cast<std::uint64_t>(step_)});
  const std::int64_t choice = between(random, 0, static_cast<std::int64_t>(c.items.size()));
  const Batch batch = training_batch(task_, {c.length, c.items[static_cast<std::size_t>(choice)]},
                                     c.batch, seed, step_);

  for (auto& group : optimizer_->param_groups()) {
    static_cast<torch::optim::AdamWOptions&>(group.options())
        .lr(c.learning_rate * cosine_share(step_, c.warm_up, c.steps));
  }
  optimizer_->zero_grad();
  const torch::Tensor logits = model_(batch.tokens, batch.positions);
  const torch::Tensor loss = torch::nn::functional::cross_entropy(logits, batch.labels);
  loss.backward();
  torch::nn::utils::clip_grad_norm_(model_->parameters(), c.gradient_norm);
  optimizer_->step();
  ++step_;

  const auto value = loss.item<double>();
  if (!std::isfinite(value)) {
    throw std::runtime_error("the loss is " + std::to_string(value) + " at step " +
                             std::to_string(step_) + "; a lower --learning-rate may help");
  }
  const torch::NoGradGuard counting;
  return {value, is_right(logits, batch.labels).to(torch::kDouble).mean().item<double>()};
}

std::vector<Score> Run::scores() {
  const torch::NoGradGuard no_gradients;
  std::vector<Score> scores;
  for (const Setting& setting : configuration_.evaluations) {
    struct Sum {
      std::int64_t labels = 0;
      double loss = 0, right = 0;
    };
    std::map<std::int64_t, Sum> groups;
    Sum all;
    // As many tokens at once as in training.
    const std::int64_t most =
        std::max<std::int64_t>(1, configuration_.batch * configuration_.length / setting.length);
    for (std::int64_t first = 0; first < configuration_.test_instances; first += most) {
      const std::int64_t size = std::min(most, configuration_.test_instances - first);
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
    }
    const auto add = [&](const std::string& group, const Sum& sum) {
      const auto n = static_cast<double>(sum.labels);
      scores.push_back({setting, group, sum.labels, sum.loss / n, sum.right / n});
    };
    add("all", all);
    for (const auto& [group, sum] : groups) add(std::to_string(group), sum);
  }
  return scores;
}

std::string Run::identity() const {
  return configuration_.line() + " seed=" + std::to_string(seed_);
}

void Run::save(const std::string& path) const {
  torch::serialize::OutputArchive archive, weights, moments;
  archive.write("run", c10::IValue(identity()));
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

void Run::load(const std::string& path) {
  torch::serialize::InputArchive archive, weights, moments;
  archive.load_from(path);
  c10::IValue run, step, spent;
  archive.read("run", run);
  if (run.toStringRef() != identity()) {
    throw std::runtime_error(path + " is of another run: " + run.toStringRef());
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

}  // namespace recall
