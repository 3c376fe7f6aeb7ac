// The data sources as a user reaches them, and weights that go from one model to another.

#include <fstream>

#include "frontend/spec.h"
#include "runtime/safetensors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

class Sources : public Program {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const {
    return (folder_ / name).string();
  }
};

/// A source that needs no files trains a model that does not look at its data.
TEST_F(Sources, EveryGeneratedOneIsReachedByItsName) {
  int count = 0;
  for (const frontend::Alternative& source : frontend::data_sources()) {
    std::string options = "\"source\": \"" + source.name + "\"";
    bool has_examples = false;
    for (const frontend::Option& option : source.options) {
      has_examples = has_examples || option.name == "examples";
      if (option.kind != frontend::OptionKind::choice || option.default_value.index() != 0)
        continue;
      options += ", \"" + option.name + "\": \"" + option.alternatives.back().name + "\"";
    }
    if (!has_examples) continue;
    SCOPED_TRACE(source.name);
    ++count;
    std::ofstream(path("model.json"))
        << R"({"gradus": 1, "data": {)" << options << R"(, "examples": 6, "test_examples": 2},
      "model": {"inputs": {}, "layers": [{"layer": "noise", "shape": [1]},
                                         {"layer": "dense", "units": 1, "name": "out"}]},
      "loss": {"function": "mean", "values": "out"},
      "optimizer": {"method": "sgd"}, "training": {"steps": 2, "batch": 3}})";
    const Outcome outcome = gradus("train " + path("model.json") + " -o " + path("run"));
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_NE(outcome.output.find("6 examples, 2 steps"), std::string::npos) << outcome.output;
  }
  EXPECT_GE(count, 8);
}

std::map<std::string, std::vector<std::byte>> weights_in(const std::string& path) {
  std::map<std::string, std::vector<std::byte>> all;
  const runtime::SafetensorsReader file(path);
  for (const runtime::SafetensorsEntry& entry : file.entries()) {
    all[entry.name].resize(static_cast<std::size_t>(entry.type.byte_size()));
    file.read(entry, all[entry.name]);
  }
  return all;
}

/// A classifier begins with what a masked model has learned, and with a head of its own.
TEST_F(Sources, WeightsOfABlockGoToAnotherModel) {
  const std::string small =
      " --threads 1 --set data.examples=64 --set data.test_examples=0"
      " --set 'training={\"steps\": 1, \"batch\": 8}' -o ";
  const Outcome first = gradus("train models/bert_brackets.json --seed 7" + small + path("masked"));
  ASSERT_EQ(first.status, 0) << first.output;
  const Outcome second = gradus("train models/bert_brackets_classifier.json --init " +
                                path("masked/weights.safetensors") + " --init-of bert" +
                                " --set 'optimizer={\"method\": \"sgd\", \"learning_rate\": 0}'" +
                                small + path("classifier"));
  ASSERT_EQ(second.status, 0) << second.output;
  const auto masked = weights_in(path("masked/weights.safetensors"));
  const auto classifier = weights_in(path("classifier/weights.safetensors"));
  int shared = 0;
  for (const auto& [name, bytes] : classifier) {
    const bool is_shared = name.starts_with("bert/");
    shared += is_shared ? 1 : 0;
    const auto before = masked.find(name);
    EXPECT_EQ(before != masked.end() && before->second == bytes, is_shared) << name;
  }
  EXPECT_EQ(shared, 2 + 2 + 3 * 16);
  EXPECT_TRUE(classifier.contains("pooler/kernel"));
  const Outcome whole = gradus("train models/bert_brackets_classifier.json --init " +
                               path("masked/weights.safetensors") + small + path("refused"));
  EXPECT_EQ(whole.status, 4) << whole.output;
}

/// Of batches of one example, 1 has weight 1 and the loss 4, the others have weight 0.
TEST_F(Sources, AnEpochsMeanIsOfWhatCounts) {
  Tensor x({ElementType::f32, {4, 1}});
  Tensor weight({ElementType::f32, {4}});
  x.as<float>()[1] = 2;
  weight.as<float>()[1] = 1;
  runtime::write_safetensors(path("data"),
                             {{"x", x.type, x.bytes}, {"w", weight.type, weight.bytes}}, {});
  std::ofstream(path("model.json")) << R"({"gradus": 1,
    "data": {"source": "tensors", "file": ")" +
                                           path("data") + R"(", "test_file": ")" + path("data") +
                                           R"("},
    "model": {"inputs": {"x": "f32[1]", "w": "f32[]"}, "layers": [
      {"layer": "dense", "from": "x", "units": 1, "kernel_initializer": "ones", "name": "y"}]},
    "loss": {"function": "mean_squared_error", "predictions": "y", "targets": 0,
             "sample_weights": "w"},
    "metrics": {"root_mean_squared_error": {"predictions": "y", "targets": 0,
                                            "sample_weights": "w"}},
    "optimizer": {"method": "sgd", "learning_rate": 0},
    "training": {"epochs": 1, "batch": 1}})";
  const Outcome outcome = gradus("train " + path("model.json") + " -o " + path("run"));
  const std::string means = "loss 4.0000  root_mean_squared_error 2.0000";
  EXPECT_NE(outcome.output.find("epoch   1  " + means), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("test  " + means), std::string::npos) << outcome.output;
}

}  // namespace
}  // namespace gradus
