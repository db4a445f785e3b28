// SPDX-License-Identifier: MIT
// No message grows with the file: names, dtypes, shapes and lists are quoted shortened, on one line
// that a terminal can bear.
#include <string>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;

const std::string megabyte(1000000, 'n');

void is_short(const std::string& message) {
  CAPTURE(message.substr(0, 1000));
  CHECK(!message.empty());
  CHECK(message.size() < 1000);
  for (const char c : message) CHECK_FALSE((static_cast<unsigned char>(c) < 0x20 || c == 0x7F));
}
void is_short_refusal(const std::string& header, std::size_t data = 0) {
  is_short(test::error_of([&] { (void)test::parsed(test::with_header(header, data)); }));
}

std::string million_entries(const std::string& one) {
  std::string all = one;
  for (int i = 1; i < 1000000; ++i) all += ',' + one;
  return all;
}

}  // namespace

TEST_CASE("Headers with a megabyte where a word belongs") {
  const std::string quoted = '"' + megabyte + '"';
  is_short_refusal(megabyte);
  is_short_refusal('{' + megabyte + '}');
  is_short_refusal('{' + quoted + ":1}");
  is_short_refusal('{' + quoted + ':');
  is_short_refusal("{\"" + megabyte);
  is_short_refusal("{\"" + megabyte + "\xFF\":1}");
  is_short_refusal("{\"" + megabyte + "\n\":1}");
  is_short_refusal('{' + quoted + ":{},\"x\":1}");
  is_short_refusal('{' + quoted + ":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}," +
                   quoted + ":1}");
  is_short_refusal("{\"t\":{\"dtype\":" + quoted + ",\"shape\":[1]}}");
  is_short_refusal("{\"t\":{\"shape\":" + quoted + "}}");
  is_short_refusal("{\"t\":{\"shape\":[" + std::string(1000000, '9') + "]}}");
  is_short_refusal("{\"t\":{\"shape\":[1." + std::string(1000000, '9') + "]}}");
  is_short_refusal("{\"t\":{\"shape\":[" + std::string(1000000, '-') + "]}}");
  is_short_refusal("{\"t\":{" + quoted + ":1}}");
  is_short_refusal("{\"__metadata__\":{" + quoted + ":1}}");
  is_short_refusal("{\"__metadata__\":{" + quoted + ":" + quoted + ',' + quoted + ":" + quoted +
                   "}}");
  is_short_refusal("{\"__metadata__\":" + quoted + '}');
}

TEST_CASE("Shapes of a million dimensions") {
  for (const char* const length : {"1", "2", "9223372036854775807", "0"}) {
    for (const char* const dtype : {"F32", "F4"}) {
      is_short_refusal(std::string("{\"t\":{\"dtype\":\"") + dtype + "\",\"shape\":[" +
                           million_entries(length) + "],\"data_offsets\":[0,7]}}",
                       7);
    }
  }
  Tensor tensor{.dtype = DType::f32, .shape = std::vector<std::uint64_t>(1000000, 1), .bytes = {}};
  CHECK(tensor.description() == "F32[1, 1, 1, 1, 1, 1, 1, 1, ...: 1000000 dimensions]");
  tensor.shape.assign(8, 2);
  CHECK(tensor.description() == "F32[2, 2, 2, 2, 2, 2, 2, 2]");
  tensor.shape.assign(9, 2);
  CHECK(tensor.description() == "F32[2, 2, 2, 2, 2, 2, 2, 2, ...: 9 dimensions]");
}

TEMPLATE_TEST_CASE("Layers and tensors of long names and long shapes", "", float, double) {
  using Layer = LogLinearAttention<GLA, TestType>;
  const typename Layer::Options options{.d_model = 3, .d_k = 4, .d_v = 2, .max_levels = 3};
  Layer layer(options);
  const Eigen::VectorXf one = Eigen::VectorXf::Ones(1);

  Tensors tensors;
  for (int i = 0; i < 20000; ++i) tensors.add(std::to_string(i) + std::string(100, 'x'), one);
  is_short(test::error_of([&] { (void)tensors["t"]; }));
  is_short(test::error_of([&] { (void)tensors[megabyte]; }));
  is_short(test::error_of([&] { set_weights(layer, tensors); }));
  is_short(test::error_of([&] { set_weights(layer, tensors, {}, {.prefix = "1"}); }));
  is_short(test::error_of([&] { set_weights(layer, tensors, {}, {.prefix = megabyte}); }));
  is_short(test::error_of([&] { set_weights(layer, tensors, {{megabyte, megabyte}}); }));
  tensors.add(weights_of(layer));
  is_short(test::error_of([&] { set_weights(layer, tensors); }));
  is_short(test::error_of([&] { set_weights(layer, tensors, {{"w_key", megabyte}}); }));

  Tensors long_shape = weights_of(layer);
  Tensor key{.dtype = DType::f32, .shape = std::vector<std::uint64_t>(1000000, 1), .bytes = {}};
  key.shape[3] = 2;
  key.bytes.resize(8);
  long_shape.add("long", key);
  is_short(test::error_of([&] { set_weights(layer, long_shape, {{"w_key", "long"}}); }));
  long_shape.add(megabyte, one, DType::f32);
  is_short(test::error_of([&] { long_shape.add(megabyte, one); }));
  is_short(test::error_of([&] { long_shape.add(megabyte + 'x', one, DType::i32); }));

  Checkpoint checkpoint;
  checkpoint.put("", layer);
  Tensors more = checkpoint.tensors();
  more.add(megabyte, one);
  Checkpoint surplus(more);
  surplus.get("", layer);
  is_short(test::error_of([&] { surplus.require_all_read(); }));
}

TEST_CASE("Names in messages stay text") {
  // Cut between characters of several bytes, and without what a terminal obeys.
  std::string name = "x";
  for (int i = 0; i < 100; ++i) name += "\xE2\x82\xAC";
  const std::string message = test::error_of([&] { (void)Tensors()[name]; });
  std::string shown = "x";
  for (int i = 0; i < 26; ++i) shown += "\xE2\x82\xAC";
  CHECK(message == "loglinear: tensors: tensor \"" + shown + "...\": is missing; there are none");
  CHECK(test::error_of([&] {
          (void)Tensors()
              ["\x1B[31m\x7F\xC2\x9B"
               "1m"];
        }) == "loglinear: tensors: tensor \"?[31m??1m\": is missing; there are none");
}
