// The gradients of every model of models/, as large as it is or made smaller by what stands here:
// every loss with respect to every parameter that an update takes down, against differences in f64.

#include <algorithm>
#include <map>
#include <vector>

#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

/// Settings that take a model's size away and none of its parts.
const std::map<std::string, std::vector<std::string>> kSmaller = {
    {"bert_small",
     {"model.inputs.text=i32[12]", "data.length=12", "model.blocks.bert.layers.3.repeat=1"}},
    {"bert_brackets", {"model.blocks.bert.layers.3.repeat=1"}},
    {"bert_brackets_classifier", {"model.blocks.bert.layers.3.repeat=1"}},
    {"char_lstm", {"model.inputs.text=i32[12]", "model.inputs.next=i32[12]", "data.length=12"}},
    {"gpt_small",
     {"model.inputs.text=i32[12]", "model.inputs.next=i32[12]", "data.length=12",
      "model.layers.3.repeat=1"}},
    {"gpt2_small",
     {"model.inputs.text=i32[12]", "model.inputs.next=i32[12]", "data.length=12",
      "model.layers.0.input_dim=50", "model.layers.0.output_dim=12", "model.layers.3.repeat=2",
      "model.layers.5.units=50", "model.blocks.attend.layers.1.num_heads=3",
      "model.blocks.attend.layers.1.key_dim=4", "model.blocks.feed_forward.layers.1.units=24",
      "model.blocks.feed_forward.layers.2.units=12"}},
    {"resnet18",
     {"model.inputs.image=f32[32,32,3]", "model.layers.0.filters=8", "model.layers.3.filters=8",
      "model.layers.4.filters=12", "model.layers.5.filters=12", "model.layers.6.filters=16",
      "model.layers.7.filters=16", "model.layers.8.filters=20", "model.layers.9.filters=20",
      "model.layers.11.units=10"}},
    {"transformer_reverse", {"model.layers.2.repeat=1", "model.layers.4.repeat=1"}},
    {"vgg11",
     {"model.layers.0.filters=8", "model.layers.2.filters=8", "model.layers.4.filters=12",
      "model.layers.5.filters=12", "model.layers.6.filters=12", "model.layers.8.units=16"}},
    {"vit_small",
     {"model.inputs.image=f32[32,32,3]", "model.layers.0.filters=24", "model.layers.1.shape=[4,24]",
      "model.layers.4.repeat=2", "model.layers.6.limit=[\"batch\",1,24]", "model.layers.8.units=10",
      "model.blocks.attend.layers.1.key_dim=4", "model.blocks.feed_forward.layers.1.units=48",
      "model.blocks.feed_forward.layers.2.units=24"}},
};

std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(GRADUS_SOURCE_DIR) / "models")) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

class ModelGradients : public testing::TestWithParam<std::string> {};

TEST_P(ModelGradients, AreSlopes) {
  std::string command =
      "gradus gradcheck models/" + GetParam() + ".json --random-inputs --batch 2 --samples 1";
  if (const auto smaller = kSmaller.find(GetParam()); smaller != kSmaller.end()) {
    for (const std::string& setting : smaller->second) command += " --set '" + setting + "'";
  }
  const Outcome outcome = run_shell(GRADUS_SOURCE_DIR, command);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("  ok\n"), std::string::npos) << outcome.output;
}

INSTANTIATE_TEST_SUITE_P(EveryModel, ModelGradients, testing::ValuesIn(models()),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace gradus
