#include "runtime/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "../scratch_folder.h"

namespace gradus::runtime {
namespace {

using testing::errors_of;
using testing::expect_error;

Executable reading(std::vector<ExecutableInput> inputs) {
  Executable executable;
  executable.inputs = std::move(inputs);
  return executable;
}

/// A data set of one array whose bytes count upwards.
Dataset counting(const TensorType& type) {
  Dataset dataset{"test data", {{"x", Tensor(type)}}};
  for (std::size_t i = 0; i < dataset.arrays[0].tensor.bytes.size(); ++i) {
    dataset.arrays[0].tensor.bytes[i] = static_cast<std::byte>(i);
  }
  return dataset;
}

TEST(EpochOrder, IsAPermutationOfSeedAndEpoch) {
  for (const std::int64_t examples : {0, 1, 2, 3, 17, 1000}) {
    for (const bool shuffle : {false, true}) {
      auto order = epoch_order(examples, shuffle, 3, 4);
      EXPECT_TRUE(shuffle || std::is_sorted(order.begin(), order.end()));
      std::sort(order.begin(), order.end());
      ASSERT_EQ(order.size(), static_cast<std::size_t>(examples));
      for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
    }
  }
  EXPECT_EQ(epoch_order(100, true, 1, 0), epoch_order(100, true, 1, 0));
  EXPECT_NE(epoch_order(100, true, 1, 0), epoch_order(100, true, 1, 1));
  EXPECT_NE(epoch_order(100, true, 1, 0), epoch_order(100, true, 2, 0));
  // The same on every machine.
  EXPECT_EQ(epoch_order(8, true, 1, 0), (std::vector<std::uint32_t>{0, 2, 1, 5, 4, 6, 3, 7}));
}

TEST(EpochOrder, EveryPlaceIsEquallyLikely) {
  constexpr int kExamples = 5;
  constexpr int kEpochs = 5000;
  int counts[kExamples][kExamples] = {};
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = epoch_order(kExamples, true, 11, epoch);
    for (std::size_t i = 0; i < kExamples; ++i) ++counts[i][order[i]];
  }
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kEpochs / kExamples, 150);  // 5 deviations
  }
}

/// Example i of a batch is the one behind example i of the batch before.
TEST(ContiguousOrder, ReadsOnInEveryStream) {
  EXPECT_EQ(contiguous_order(7, 3), (std::vector<std::uint32_t>{0, 3, 5, 1, 4, 6, 2}));
  for (const std::int64_t examples : {0, 1, 2, 3, 7, 8, 64, 100}) {
    for (const std::int64_t batch : {0, 1, 3, 8, 64, 200}) {
      SCOPED_TRACE(std::to_string(examples) + " in batches of " + std::to_string(batch));
      const auto order = contiguous_order(examples, batch);
      auto sorted = order;
      std::sort(sorted.begin(), sorted.end());
      ASSERT_EQ(sorted, epoch_order(examples, false, 0, 0));
      const auto streams = static_cast<std::size_t>(batch == 0 ? examples : batch);
      for (std::size_t i = streams; i < order.size(); ++i) {
        EXPECT_EQ(order[i], order[i - streams] + 1);
      }
    }
  }
}

TEST(BatchPlan, CoversEachExampleOnce) {
  for (const std::int64_t examples : {0, 1, 7, 8, 9, 64, 100}) {
    for (const std::int64_t batch : {0, 1, 3, 8, 64, 200}) {
      const BatchPlan plan{examples, batch};
      std::int64_t next = 0;
      for (std::int64_t i = 0; i < plan.batches(); ++i) {
        EXPECT_EQ(plan.first(i), next);
        EXPECT_GE(plan.size(i), 1);
        EXPECT_TRUE(batch == 0 || plan.size(i) <= batch);
        next += plan.size(i);
      }
      EXPECT_EQ(next, examples);
    }
  }
}

TEST(BatchReader, GathersRows) {
  const Dataset dataset = counting({ElementType::u8, {6, 2, 2}});
  BatchReader reader(dataset);
  const std::vector<std::uint32_t> rows = {5, 0, 5};
  const auto inputs = reader.read(reading({{"x", {ElementType::u8, {3, 4, 1}}}}), rows);
  ASSERT_EQ(inputs.size(), 1u);
  const std::vector<int> expected = {20, 21, 22, 23, 0, 1, 2, 3, 20, 21, 22, 23};
  ASSERT_EQ(inputs[0].size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(static_cast<int>(inputs[0][i]), expected[i]);
  }
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(inputs[0].data()) % 64, 0u);
}

TEST(BatchReader, BytesBecomeNumbersFromZeroToOne) {
  const Dataset dataset = counting({ElementType::u8, {1, 256}});
  BatchReader reader(dataset);
  const std::vector<std::uint32_t> rows = {0};
  const auto single = reader.read(reading({{"x", {ElementType::f32, {1, 16, 16}}}}), rows);
  for (std::size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(reinterpret_cast<const float*>(single[0].data())[i], static_cast<float>(i) / 255.0f);
  }
  const auto wide = reader.read(reading({{"x", {ElementType::f64, {1, 256}}}}), rows);
  for (std::size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(reinterpret_cast<const double*>(wide[0].data())[i], static_cast<double>(i) / 255.0);
  }
  const auto whole = reader.read(reading({{"x", {ElementType::i64, {1, 256}}}}), rows);
  EXPECT_EQ(reinterpret_cast<const std::int64_t*>(whole[0].data())[255], 255);
}

TEST(BatchReader, ValuesThatDoNotFitAreNamed) {
  const auto read = [](auto value, ElementType from, ElementType to) {
    Dataset dataset{"test data", {{"x", Tensor(TensorType{from, {2}})}}};
    std::memcpy(dataset.arrays[0].tensor.bytes.data() + sizeof(value), &value, sizeof(value));
    BatchReader reader(dataset);
    const std::vector<std::uint32_t> rows = {0, 1};
    const auto inputs = reader.read(reading({{"x", {to, {2}}}}), rows);
    return std::vector<std::byte>(inputs[0].begin(), inputs[0].end());
  };
  const auto refused = [&](auto value, ElementType from, ElementType to) {
    expect_error([&] { (void)read(value, from, to); }, "E1010", "example 1 of array 'x'",
                 "test data");
  };
  refused(std::int32_t{-1}, ElementType::i32, ElementType::u8);
  refused(std::int32_t{256}, ElementType::i32, ElementType::u8);
  refused(std::int32_t{-1}, ElementType::i32, ElementType::u32);
  refused(std::uint32_t{0x80000000u}, ElementType::u32, ElementType::i32);
  refused(std::int64_t{1} << 31, ElementType::i64, ElementType::i32);
  refused(std::int32_t{(1 << 24) + 1}, ElementType::i32, ElementType::f32);
  refused(std::int64_t{1} << 60, ElementType::i64, ElementType::f64);
  const auto bytes = read(std::int32_t{255}, ElementType::i32, ElementType::u8);
  EXPECT_EQ(bytes[1], std::byte{255});
  const auto floats = read(std::int32_t{-(1 << 24)}, ElementType::i32, ElementType::f32);
  EXPECT_EQ(reinterpret_cast<const float*>(floats.data())[1], -16777216.0f);
  const auto widened = read(0.1f, ElementType::f32, ElementType::f64);
  EXPECT_EQ(reinterpret_cast<const double*>(widened.data())[1], static_cast<double>(0.1f));
  const auto truth = read(true, ElementType::boolean, ElementType::f32);
  EXPECT_EQ(reinterpret_cast<const float*>(truth.data())[1], 1.0f);
}

TEST(CheckInputs, AcceptsFlatAndPaddedShapesOfOneSize) {
  const auto accepted = [](const Shape& array, const Shape& input) {
    Shape shape = array;
    shape.insert(shape.begin(), 3);
    const Dataset dataset = counting({ElementType::u8, shape});
    const std::vector<ModelInput> inputs = {{"x", {ElementType::f32, input}}};
    try {
      check_inputs(dataset, inputs);
      return true;
    } catch (const UserError&) {
      return false;
    }
  };
  EXPECT_TRUE(accepted({28, 28}, {28, 28}));
  EXPECT_TRUE(accepted({28, 28}, {28, 28, 1}));
  EXPECT_TRUE(accepted({28, 28, 1}, {28, 28}));
  EXPECT_TRUE(accepted({28, 28}, {784}));
  EXPECT_TRUE(accepted({784}, {28, 28, 1}));
  EXPECT_TRUE(accepted({}, {1}));
  EXPECT_TRUE(accepted({1, 1}, {}));
  EXPECT_FALSE(accepted({28, 28}, {14, 56}));
  EXPECT_FALSE(accepted({28, 28}, {28, 27}));
  EXPECT_FALSE(accepted({2, 3}, {3, 2}));
}

TEST(CheckInputs, NamesEveryMisfit) {
  Dataset dataset = counting({ElementType::f64, {3, 28, 28}});
  dataset.arrays.push_back({"label", Tensor(TensorType{ElementType::i32, {3}})});
  const std::vector<ModelInput> inputs = {{"image", {ElementType::f32, {784}}},
                                          {"x", {ElementType::f32, {784}}},
                                          {"label", {ElementType::i32, {2}}}};
  const auto found = errors_of([&] { check_inputs(dataset, inputs); });
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].message,
            "no array for the model's input 'image'; offered: 'x' f64[28,28], 'label' i32[]");
  EXPECT_EQ(found[1].message,
            "array 'x' is f64[28,28], which does not convert to the model's f32[784]");
  EXPECT_EQ(found[2].message,
            "array 'label' has i32[] per example, but the model's input is i32[2]");
  for (const Diagnostic& diagnostic : found) EXPECT_EQ(diagnostic.where.file, "test data");
}

TEST(SplitValidation, TakesTheLastExamples) {
  auto [train, validation] = split_validation(counting({ElementType::u8, {10, 2}}), 0.25);
  ASSERT_EQ(train.examples(), 7);
  ASSERT_EQ(validation.examples(), 3);  // 2.5, rounded
  EXPECT_EQ(train.arrays[0].tensor.bytes.size(), 14u);
  EXPECT_EQ(static_cast<int>(train.arrays[0].tensor.bytes[13]), 13);
  EXPECT_EQ(static_cast<int>(validation.arrays[0].tensor.bytes[0]), 14);
  EXPECT_EQ(split_validation(counting({ElementType::u8, {10}}), 0).second.examples(), 0);
  for (const double fraction : {-0.1, 1.0, 0.99, 2.0, 0.0 / 0.0}) {
    expect_error([&] { (void)split_validation(counting({ElementType::u8, {10}}), fraction); },
                 "E1008", "leaves no example", "");
  }
}

}  // namespace
}  // namespace gradus::runtime
