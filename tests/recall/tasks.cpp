// SPDX-License-Identifier: MIT
// The tasks of examples/recall, against instances worked by hand and against what defines them.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "mqar.hpp"
#include "needle.hpp"
#include "sampling.hpp"
#include "selective_copying.hpp"
#include "text.hpp"

using namespace learning;
using namespace recall;
using Numbers = std::vector<std::int64_t>;

namespace {

constexpr std::int64_t none = no_label;

Instance drawn(const Task& task, const Setting& setting, std::uint64_t seed) {
  loglinear::Xorshift64 random = generator_of({seed});
  return task.draw(random, setting, Part::training);
}

}  // namespace

TEST_CASE("draws are within their range and without repetition") {
  loglinear::Xorshift64 random = generator_of({1, 2});
  for (int round = 0; round < 200; ++round) {
    const Numbers some = distinct(random, 5, 12, 4);
    CHECK(std::set<std::int64_t>(some.begin(), some.end()).size() == 4);
    CHECK(*std::min_element(some.begin(), some.end()) >= 5);
    CHECK(*std::max_element(some.begin(), some.end()) < 12);
    Numbers all = weighted_distinct(random, {0.5, 0.25, 0.125}, 3);
    std::sort(all.begin(), all.end());
    CHECK(all == Numbers{0, 1, 2});
  }
  CHECK(generator_of({1, 2}).next() == generator_of({1, 2}).next());
  CHECK(generator_of({1, 2}).next() != generator_of({2, 1}).next());
}

TEST_CASE("weighted draws have the probabilities of drawing one after the other") {
  // Of weights 4, 2, 1: the first is 0 in 4 of 7 cases, and the second then 1 in 2 of 3.
  constexpr int rounds = 20000;
  int first = 0, both = 0;
  loglinear::Xorshift64 random = generator_of({3});
  for (int round = 0; round < rounds; ++round) {
    const Numbers order = weighted_distinct(random, {4, 2, 1}, 2);
    first += order[0] == 0;
    both += order[0] == 0 && order[1] == 1;
  }
  const auto near = [](int count, double probability) {
    const double deviation = std::sqrt(rounds * probability * (1 - probability));
    return std::abs(count - rounds * probability) < 5 * deviation;
  };
  CHECK(near(first, 4.0 / 7));
  CHECK(near(both, 4.0 / 7 * 2 / 3));
}

TEST_CASE("mqar lays out the example of Zoology's documentation") {
  const Instance instance = Mqar::laid_out({2, 4}, {8, 7}, {4, 1}, 16);
  CHECK(instance.tokens == Numbers{2, 8, 4, 7, 0, 0, 4, 0, 0, 0, 0, 0, 2, 0, 0, 0});
  CHECK(instance.labels == Numbers{none, none, none, none, none, none, 7, none, none, none, none,
                                   none, 8, none, none, none});
  CHECK(instance.groups[6] == 4);   // distance 6 - 2, of 4 ... 7
  CHECK(instance.groups[12] == 8);  // distance 12 - 0, of 8 ... 15
}

TEST_CASE("mqar asks once for every key, and the label is what followed it") {
  for (const bool random_filler : {false, true}) {
    const Mqar task(64, random_filler);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      const Setting setting{48, 8};
      const Instance instance = drawn(task, setting, seed);
      REQUIRE(instance.tokens.size() == 48);
      std::map<std::int64_t, std::int64_t> value_of;
      for (std::size_t i = 0; i < 16; i += 2) {
        CHECK((instance.tokens[i] >= 1 && instance.tokens[i] < 32));
        CHECK((instance.tokens[i + 1] >= 32 && instance.tokens[i + 1] < 64));
        value_of[instance.tokens[i]] = instance.tokens[i + 1];
      }
      CHECK(value_of.size() == 8);
      std::set<std::int64_t> asked;
      for (std::size_t i = 0; i < 48; ++i) {
        if (instance.labels[i] == no_label) {
          CHECK((i < 16 || random_filler || instance.tokens[i] == 0));
          continue;
        }
        CHECK((i >= 16 && i % 2 == 0));
        CHECK(value_of.at(instance.tokens[i]) == instance.labels[i]);
        asked.insert(instance.tokens[i]);
      }
      CHECK(asked.size() == 8);
    }
  }
}

TEST_CASE("mqar's first query follows the power law") {
  // One pair, three slots of weights 1, 2^(a-1), 3^(a-1).
  const Mqar task(8, false);
  constexpr int rounds = 20000;
  std::vector<int> counts(3);
  for (std::uint64_t seed = 0; seed < rounds; ++seed) {
    const Instance instance = drawn(task, {8, 1}, seed);
    for (std::size_t slot = 0; slot < 3; ++slot) {
      counts[slot] += instance.labels[2 + 2 * slot] != no_label;
    }
  }
  const double all = 1 + std::pow(2, -0.99) + std::pow(3, -0.99);
  for (std::size_t slot = 0; slot < 3; ++slot) {
    const double p = std::pow(static_cast<double>(slot + 1), -0.99) / all;
    CHECK(std::abs(counts[slot] - rounds * p) < 5 * std::sqrt(rounds * p * (1 - p)));
  }
}

TEST_CASE("a needle lies between distractors") {
  Instance instance(8, 9);
  Needle::hide(instance, 3, 5);
  CHECK(instance.tokens == Numbers{9, 9, 9, 0, 5, 9, 9, 1});
  CHECK(instance.labels == Numbers{none, none, none, none, none, none, none, 5});
  CHECK(instance.groups[7] == 5);  // the fourth of six places: tenths 5

  const Needle task(16);
  std::set<std::int64_t> depths;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const Instance one = drawn(task, {64, 1}, seed);
    const auto marker = std::find(one.tokens.begin(), one.tokens.end(), Needle::marker);
    CHECK(std::count(one.tokens.begin(), one.tokens.end(), Needle::marker) == 1);
    CHECK(*(marker + 1) == one.labels.back());
    CHECK(std::count(one.labels.begin(), one.labels.end(), no_label) == 63);
    depths.insert(one.groups.back());
  }
  CHECK(depths == std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("selective copying repeats the words in their order") {
  const Instance instance = SelectiveCopying::laid_out({7, 5, 7}, {0, 2, 3}, 9);
  CHECK(instance.tokens == Numbers{7, 0, 5, 7, 0, 0, 1, 1, 1});
  CHECK(instance.labels == Numbers{none, none, none, none, none, none, 7, 5, 7});
  CHECK(instance.groups[8] == 2);

  const SelectiveCopying task(16);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Instance one = drawn(task, {40, 6}, seed);
    Numbers words, labels(one.labels.end() - 6, one.labels.end());
    std::copy_if(one.tokens.begin(), one.tokens.begin() + 34, std::back_inserter(words),
                 [](std::int64_t token) { return token != SelectiveCopying::blank; });
    CHECK(words == labels);
    CHECK(*std::min_element(words.begin(), words.end()) >= SelectiveCopying::first_word);
  }
}

TEST_CASE("text predicts the byte that follows") {
  const Text task("abcdefgh", "z\xFFyx");
  const Instance instance = task.starting_at(2, 4, Part::training);
  CHECK(instance.tokens == Numbers{'c', 'd', 'e', 'f'});
  CHECK(instance.labels == Numbers{'d', 'e', 'f', 'g'});
  CHECK(instance.groups == Numbers{1, 2, 2, 4});
  CHECK(task.starting_at(0, 3, Part::evaluation).labels == Numbers{255, 'y', 'x'});

  // Every beginning is possible, and no other.
  std::set<std::int64_t> beginnings;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    beginnings.insert(drawn(task, {4, 1}, seed).tokens[0]);
  }
  CHECK(beginnings == std::set<std::int64_t>{'a', 'b', 'c', 'd'});
}

TEST_CASE("every tenth file of a folder, or the tenth part of a few, is for evaluation") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / "loglinear_recall_text";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  for (char name = 'a'; name < 'k'; ++name) {
    std::ofstream(folder / (std::string(1, name) + ".txt")) << name;
  }
  std::ofstream(folder / "other") << "!";
  const Text task = Text::of_folder(folder.string(), ".txt");
  CHECK(task.part(Part::training) == "abcdefghi");
  CHECK(task.part(Part::evaluation) == "j");
  std::ofstream(folder / "other") << "abcdefghijklmnopqrst";
  const Text one_file = Text::of_folder(folder.string(), "other");
  CHECK(one_file.part(Part::training) == "abcdefghijklmnopqr");
  CHECK(one_file.part(Part::evaluation) == "st");
  CHECK_THROWS_AS(Text::of_folder(folder.string(), ".none"), std::invalid_argument);
  std::filesystem::remove_all(folder);
}

TEST_CASE("settings without instances are refused") {
  const auto refused = [](const Task& task, const Setting& setting) {
    CHECK_THROWS_AS(task.require_legal(setting), std::invalid_argument);
  };
  const Mqar mqar(16, false);
  CHECK_NOTHROW(mqar.require_legal({28, 7}));
  refused(mqar, {28, 8});  // seven keys
  refused(mqar, {26, 7});
  refused(mqar, {29, 7});
  refused(mqar, {28, 0});
  refused(Needle(8), {2, 1});
  refused(SelectiveCopying(8), {7, 4});
  refused(SelectiveCopying(8), {7, 0});
  refused(Text("abcd", "abcde"), {4, 1});
  CHECK_THROWS_AS(Mqar(3, false), std::invalid_argument);
  CHECK_THROWS_AS(Needle(3), std::invalid_argument);
  CHECK_THROWS_AS(SelectiveCopying(3), std::invalid_argument);
}
