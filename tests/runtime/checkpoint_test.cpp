#include "runtime/checkpoint.h"

#include <gtest/gtest.h>

#include "runtime/memory.h"
#include "runtime/safetensors.h"
#include "scratch_folder.h"

namespace gradus::runtime {
namespace {

using testing::errors_of;
using testing::expect_error;
using testing::file_bytes;
using testing::ScratchFolder;

StateLayout example_layout() {
  StateLayout layout;
  layout.add("dense/kernel", {ElementType::f32, {2, 3}}, StateKind::parameter);
  layout.add("norm/mean", {ElementType::f32, {3}}, StateKind::statistic);
  layout.add("dense/kernel/momentum", {ElementType::f32, {2, 3}}, StateKind::slot);
  layout.add("step", {ElementType::i64, {}}, StateKind::counter);
  return layout;
}

/// Entry number i filled with bytes of i + 1; the padding stays 0.
AlignedBytes example_state(const StateLayout& layout) {
  AlignedBytes state(static_cast<std::size_t>(layout.bytes));
  for (std::size_t i = 0; i < layout.entries.size(); ++i) {
    const StateEntry& entry = layout.entries[i];
    std::memset(state.data() + entry.offset, static_cast<int>(i + 1),
                static_cast<std::size_t>(entry.type.byte_size()));
  }
  return state;
}

Progress example_progress() {
  return {.step = 17,
          .epoch = 3,
          .batch = 2,
          .sums = {0.1, 1e300, -1.0 / 3},
          .examples_in_sums = {64, 32, 64},
          .train = {0.25, 1.0 / 3},
          .validation = {},
          .seed = 0xFFFFFFFFFFFFFFFFu,
          .batch_size = 32,
          .examples = 150,
          .shuffle = false,
          .vocabulary = {"characters", {10, 0x10FFFF}},
          .model_hash = "abc",
          .version = "0.1"};
}

TEST(Checkpoint, WholeStateAndProgressComeBack) {
  const ScratchFolder folder;
  const StateLayout layout = example_layout();
  const AlignedBytes state = example_state(layout);
  save_checkpoint(folder.path("checkpoint"), layout, state, example_progress());
  AlignedBytes loaded(state.size());
  EXPECT_EQ(load_checkpoint(folder.path("checkpoint"), layout, loaded), example_progress());
  EXPECT_EQ(loaded, state);
}

TEST(Checkpoint, WeightsAreParametersAndStatistics) {
  const ScratchFolder folder;
  const StateLayout layout = example_layout();
  const AlignedBytes state = example_state(layout);
  save_weights(folder.path("weights"), layout, state, "abc");
  save_checkpoint(folder.path("checkpoint"), layout, state, example_progress());
  EXPECT_EQ(SafetensorsReader(folder.path("weights")).entries().size(), 2u);
  for (const char* name : {"weights", "checkpoint"}) {
    AlignedBytes loaded(state.size());
    load_weights(folder.path(name), layout, loaded);
    AlignedBytes expected = state;
    for (const char* other : {"dense/kernel/momentum", "step"}) {
      const StateEntry* entry = layout.find(other);
      std::memset(expected.data() + entry->offset, 0,
                  static_cast<std::size_t>(entry->type.byte_size()));
    }
    EXPECT_EQ(loaded, expected);
  }
}

TEST(Checkpoint, WeightsBelowSomeNamesLeaveTheOthersAlone) {
  const ScratchFolder folder;
  StateLayout trained;
  trained.add("encoder/dense/kernel", {ElementType::f32, {4}}, StateKind::parameter);
  trained.add("encoder/norm/mean", {ElementType::f32, {2}}, StateKind::statistic);
  trained.add("encoders/kernel", {ElementType::f32, {3}}, StateKind::parameter);
  trained.add("old_head/kernel", {ElementType::f32, {7}}, StateKind::parameter);
  trained.add("encoder/dense/kernel/m", {ElementType::f32, {4}}, StateKind::slot);
  save_checkpoint(folder.path("checkpoint"), trained, example_state(trained), example_progress());
  StateLayout layout;
  layout.add("encoder/norm/mean", {ElementType::f32, {2}}, StateKind::statistic);
  layout.add("encoder/dense/kernel", {ElementType::f32, {4}}, StateKind::parameter);
  layout.add("encoders/kernel", {ElementType::f32, {3}}, StateKind::parameter);
  layout.add("head/kernel", {ElementType::f32, {5}}, StateKind::parameter);
  const auto load = [&](const std::vector<std::string>& of) {
    AlignedBytes state(static_cast<std::size_t>(layout.bytes));
    load_weights(folder.path("checkpoint"), layout, state, of);
    std::vector<int> first;
    for (const StateEntry& entry : layout.entries) {
      first.push_back(static_cast<int>(state[static_cast<std::size_t>(entry.offset)]));
    }
    return first;
  };
  EXPECT_EQ(load({"encoder"}), (std::vector<int>{2, 1, 0, 0}));
  EXPECT_EQ(load({"encoder/dense", "encoders"}), (std::vector<int>{0, 1, 3, 0}));
  EXPECT_EQ(errors_of([&] { (void)load({}); }).size(), 2u);  // one head missing, one unexpected
  EXPECT_EQ(errors_of([&] { (void)load({"head"}); }).size(), 1u);
  expect_error([&] { (void)load({"encoder", "tail"}); }, "E1005", "no parameter below 'tail'", "");
}

TEST(Checkpoint, DifferencesAreListed) {
  const ScratchFolder folder;
  const StateLayout layout = example_layout();
  save_checkpoint(folder.path("checkpoint"), layout, example_state(layout), example_progress());
  StateLayout other;
  other.add("dense/kernel", {ElementType::f32, {3, 2}}, StateKind::parameter);
  other.add("norm/mean", {ElementType::f64, {3}}, StateKind::statistic);
  other.add("dense/bias", {ElementType::f32, {3}}, StateKind::parameter);
  other.add("step", {ElementType::i64, {}}, StateKind::counter);
  AlignedBytes state(static_cast<std::size_t>(other.bytes), std::byte{9});
  const AlignedBytes before = state;
  const auto found =
      errors_of([&] { (void)load_checkpoint(folder.path("checkpoint"), other, state); });
  ASSERT_EQ(found.size(), 4u);
  for (const Diagnostic& diagnostic : found) {
    EXPECT_EQ(diagnostic.code, "E1005");
    EXPECT_EQ(diagnostic.where.file, folder.path("checkpoint"));
  }
  EXPECT_EQ(found[0].message,
            "different: 'dense/kernel' is f32[2,3] in the file and f32[3,2] in the model");
  EXPECT_EQ(found[1].message,
            "different: 'norm/mean' is f32[3] in the file and f64[3] in the model");
  EXPECT_EQ(found[2].message, "missing: parameter 'dense/bias' f32[3]");
  EXPECT_EQ(found[3].message, "unexpected: 'dense/kernel/momentum' f32[2,3]");
  EXPECT_EQ(state, before);
  EXPECT_EQ(errors_of([&] { load_weights(folder.path("checkpoint"), other, state); }).size(), 3u);
}

TEST(Checkpoint, OnlyCheckpointsCanBeResumed) {
  const ScratchFolder folder;
  const StateLayout layout = example_layout();
  AlignedBytes state = example_state(layout);
  const std::string path = folder.path("file");
  const auto expect_rejected = [&](const std::string& text) {
    expect_error([&] { (void)load_checkpoint(path, layout, state); }, "E1006", text, path);
  };
  save_weights(path, layout, state, "abc");
  expect_rejected("the file is no checkpoint");
  write_safetensors(path, {}, {});
  expect_rejected("the file is no checkpoint");
  for (const char* manifest : {"", "[", "[]", "{}", "3"}) {
    write_safetensors(path, {}, {{"gradus", manifest}});
    expect_rejected("damaged manifest");
  }
  write_safetensors(path, {}, {{"gradus", R"({"format":99,"kind":"checkpoint"})"}});
  expect_rejected("format 99");
  write_safetensors(path, {}, {{"gradus", R"({"format":1,"kind":"checkpoint"})"}});
  expect_rejected("damaged manifest");
  write_safetensors(path, {}, {{"gradus", R"({"format":1,"kind":"checkpoint","step":"x"})"}});
  expect_rejected("damaged manifest");
}

TEST(Checkpoint, SameStateSameBytes) {
  const ScratchFolder folder;
  const StateLayout layout = example_layout();
  const AlignedBytes state = example_state(layout);
  save_checkpoint(folder.path("1"), layout, state, example_progress());
  save_checkpoint(folder.path("2"), layout, state, example_progress());
  EXPECT_EQ(file_bytes(folder.path("1")), file_bytes(folder.path("2")));
}

}  // namespace
}  // namespace gradus::runtime
