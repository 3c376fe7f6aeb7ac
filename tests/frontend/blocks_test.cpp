// Blocks and modules that read several values, against the same net written out.

#include "frontend/blocks.h"

#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "ir/verify.h"

namespace gradus::frontend {
namespace {

std::string file_with(const std::string& definitions, const std::string& layers) {
  return R"({"gradus": 1, "data": {"source": "linear"}, "model": {
    "inputs": {"x": "f32[3]", "m": "f32[3]"}, )" +
         definitions + R"("layers": [)" + layers + R"(]},
    "loss": {"function": "mean_squared_error", "predictions": "out", "targets": "m"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
}

/// The result "out" of one example.
std::vector<float> run(const std::string& text) {
  const Model model("file.json", text);
  ir::verify(model.train_step(2), "train_step");
  std::map<std::string, Tensor> values;
  const std::map<std::string, std::vector<float>> numbers{{"x", {1, 2, 3}}, {"m", {10, 20, 40}}};
  for (const auto& [name, list] : numbers) {
    values[name] = Tensor({ElementType::f32, {1, 3}});
    std::ranges::copy(list, values[name].as<float>().begin());
  }
  const Tensor out = ir::interpret(model.predict(1), values).outputs.begin()->second;
  return {out.as<float>().begin(), out.as<float>().end()};
}

TEST(Blocks, RepetitionsReadEachOtherAndAllTheSameMemory) {
  const std::string definition = R"("blocks": {"plus": {"inputs": "memory",
      "layers": [{"layer": "add", "from": ["input", "memory"]}]}}, )";
  EXPECT_EQ(run(file_with(definition, R"({"block": "plus", "from": "x", "memory": "m", "repeat": 3,
                                          "name": "out"})")),
            (std::vector<float>{31, 62, 123}));
}

TEST(Blocks, InputsAreGivenFromBlockToBlock) {
  const std::string definition = R"("blocks": {
      "minus": {"inputs": ["less"], "layers": [{"op": "sub", "from": ["input", "less"]}]},
      "both": {"inputs": ["one", "other"], "layers": [
        {"op": "exp", "from": "one", "name": "less"},
        {"block": "minus", "from": "other", "less": "one", "name": "difference"},
        {"layer": "add", "from": ["difference", "input"]}]}}, )";
  // x + (m - x), whatever "less" means inside.
  EXPECT_EQ(run(file_with(definition, R"({"layer": "activation", "function": "linear", "from": "x"},
      {"block": "both", "one": "x", "other": "m", "name": "out"})")),
            (std::vector<float>{10, 20, 40}));
  // The layer above is what a use without "from" reads, whatever else it is given.
  EXPECT_EQ(run(file_with(definition, R"({"op": "neg", "from": "m"},
      {"block": "both", "one": "x", "other": "m", "name": "out"})")),
            (std::vector<float>{-1, -2, -3}));
}

TEST(Blocks, AUseIsTimeDistributedInAllOfItsLayers) {
  const auto text = [](const std::string& of_use, const std::string& of_layer) {
    return R"({"gradus": 1, "data": {"source": "linear"}, "model": {
      "inputs": {"film": "f32[5,8,8,1]", "label": "i32[]"},
      "blocks": {"conv": {"layers": [{"layer": "conv2d", "filters": 2, "kernel": 3)" +
           of_layer + R"(}]}, "look": {"layers": [{"block": "conv"}, {"layer": "max_pool2d")" +
           of_layer + R"(}, {"layer": "flatten")" + of_layer + R"(}]}},
      "layers": [{"block": "look", "from": "film", "name": "look")" +
           of_use + R"(}, {"layer": "gru", "units": 3, "name": "out"}]},
      "loss": {"function": "sparse_categorical_cross_entropy", "logits": "out", "labels": "label"},
      "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
  };
  const std::string yes = R"(, "time_distributed": true)";
  const Model model("file.json", text(yes, ""));
  EXPECT_EQ(model.train_step(2).hash(), Model("file.json", text("", yes)).train_step(2).hash());
  EXPECT_EQ(Model("file.json", model.resolved()).train_step(2).hash(), model.train_step(2).hash());
  EXPECT_EQ(to_string(model.layers()[2].result), "f32[5,18]");
}

TEST(Blocks, ModulesReadSeveralValuesToo) {
  const std::string definition = R"("modules": {"scorer": {"inputs": ["key"], "layers": [
      {"layer": "dense", "units": 3, "name": "query"},
      {"layer": "dense", "units": 3, "from": "key", "name": "keys"},
      {"layer": "add", "from": ["query", "keys"]}]}}, )";
  const Model model("file.json",
                    file_with(definition, R"({"module": "scorer", "from": "x", "key": "m"},
                                             {"module": "scorer", "key": "x", "name": "out"})"));
  std::vector<std::string> names;
  for (const ParameterSpec& parameter : model.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{"scorer/query/kernel", "scorer/query/bias",
                                             "scorer/keys/kernel", "scorer/keys/bias"}));
  EXPECT_EQ(Model("file.json", model.resolved()).train_step(2).hash(), model.train_step(2).hash());
}

TEST(Blocks, ALayerIsTiedToOneOfItsOwnBlock) {
  const Model model("file.json",
                    R"({"gradus": 1, "data": {"source": "text", "file": "t"}, "model": {
    "inputs": {"text": "i32[4]", "next": "i32[4]"},
    "blocks": {"words": {"layers": [
      {"layer": "embedding", "input_dim": 5, "output_dim": 3, "name": "table"},
      {"layer": "dense", "units": 5, "tied_to": "table", "use_bias": false}]}},
    "layers": [{"block": "words", "from": "text", "name": "one"},
               {"block": "words", "from": "text", "name": "two"},
               {"layer": "dense", "units": 3, "name": "narrow"},
               {"layer": "dense", "units": 5, "tied_to": "one/table", "use_bias": false},
               {"layer": "add", "from": ["one", "two", "dense"], "name": "out"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "logits": "out", "labels": "next"},
    "optimizer": {"method": "sgd"}, "training": {"steps": 1}})");
  ir::verify(model.train_step(2), "train_step");
  std::vector<std::string> names;
  for (const StateSpec& entry : model.state()) names.push_back(entry.name);
  const std::vector<std::string> expected{"one/table/embeddings",
                                          "two/table/embeddings",
                                          "narrow/kernel",
                                          "narrow/bias",
                                          "seed",
                                          "step"};
  EXPECT_EQ(names, expected);
}

/// A layer inside of a use in the same list, also of a module or with another's parameters, and one
/// in the list around the use.
TEST(Blocks, ALayerIsTiedThroughUses) {
  const std::string table = R"({"layer": "embedding", "input_dim": 5, "output_dim": 3, )";
  const Model model("file.json",
                    R"({"gradus": 1, "data": {"source": "text", "file": "t"}, "model": {
    "inputs": {"text": "i32[4]", "next": "i32[4]"},
    "modules": {"shared": {"layers": [)" +
                        table + R"("name": "table"}]}},
    "blocks": {
      "words": {"layers": [)" +
                        table + R"("name": "table"}]},
      "named": {"layers": [)" +
                        table + R"("name": "table", "parameters_of": "common"}]},
      "tell": {"layers": [
        {"layer": "dense", "units": 5, "tied_to": "own/table", "use_bias": false}]},
      "both": {"layers": [
        {"block": "words", "from": "input", "name": "own"},
        {"layer": "dense", "units": 5, "tied_to": "own/table", "use_bias": false, "name": "first"},
        {"module": "shared", "from": "input", "name": "shared"},
        {"layer": "dense", "units": 5, "tied_to": "shared/table", "use_bias": false, "name": "second"},
        {"block": "named", "from": "input", "name": "named"},
        {"layer": "dense", "units": 5, "tied_to": "named/table", "use_bias": false, "name": "third"},
        {"block": "tell", "from": "own", "name": "fourth"},
        {"layer": "add", "from": ["first", "second", "third", "fourth"]}]}},
    "layers": [{"block": "both", "from": "text", "name": "out"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "logits": "out", "labels": "next"},
    "optimizer": {"method": "sgd"}, "training": {"steps": 1}})");
  std::vector<std::string> names;
  for (const ParameterSpec& parameter : model.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{"out/own/table/embeddings", "shared/table/embeddings",
                                             "common/embeddings"}));
  EXPECT_EQ(Model("file.json", model.resolved()).train_step(2).hash(), model.train_step(2).hash());
}

}  // namespace
}  // namespace gradus::frontend
