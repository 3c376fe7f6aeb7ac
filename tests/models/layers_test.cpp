// A training step and a prediction of every layer of the registry, from its example: the same bits
// by the interpreter and by fused and unfused kernels.

#include "frontend/layers.h"

#include <gtest/gtest.h>

#include "frontend/model.h"
#include "tests/models/executors.h"

namespace gradus {
namespace {

/// The layer between inputs "a", "b", ... and a loss that reads all of its result.
std::string file_of(const frontend::Layer& layer) {
  std::string inputs;
  std::string from;
  for (std::size_t i = 0; i < layer.example_inputs.size(); ++i) {
    const char name = static_cast<char>('a' + i);
    inputs += std::string("\"") + name + "\": \"" + layer.example_inputs[i] + "\", ";
    from += std::string(i == 0 ? "\"" : ", \"") + name + "\"";
  }
  std::string object = layer.example;
  if (!from.empty()) object.insert(object.rfind('}'), ", \"from\": [" + from + "]");
  return R"({"gradus": 1, "data": {"source": "linear"}, "model": {"inputs": {)" + inputs +
         R"("t": "f32[7]"}, "layers": [)" + object +
         R"(, {"op": "cast", "element": "f32"}, {"layer": "flatten"}, {"layer": "dense", "units": 7, "name": "head"}]},
      "loss": {"function": "mean_squared_error", "predictions": "head", "targets": "t"},
      "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
}

Inputs inputs_of(const ir::Graph& graph) {
  Inputs inputs;
  for (ir::NodeId id : graph.inputs()) {
    const ir::Node& node = graph.node(id);
    const bool integer = is_integer(node.types[0].element);
    inputs[node.attributes.get<std::string>("name")] = random_tensor(
        node.types[0], static_cast<std::uint32_t>(id), integer ? 0 : -1, integer ? 3 : 1);
  }
  return inputs;
}

TEST(LayerRegistry, EveryExampleGivesTheSameBitsInEveryExecutor) {
  int checked = 0;
  for (const frontend::Layer& layer : frontend::layers()) {
    // The gradient needs an input that depends on the other.
    if (layer.example_inputs.size() < static_cast<std::size_t>(layer.least_inputs)) continue;
    SCOPED_TRACE(layer.name);
    const frontend::Model model("file.json", file_of(layer));
    for (const ir::Graph& graph : {model.train_step(5), model.predict(5)}) {
      const Inputs inputs = inputs_of(graph);
      const ir::Interpretation expected = ir::interpret(graph, inputs);
      for (bool fuse : {true, false}) {
        codegen::CompileOptions options;
        options.fuse = fuse;
        expect_same(expected, run(graph, inputs, options, fuse ? 2 : 1),
                    graph.name() + (fuse ? " fused" : " unfused"));
      }
    }
    ++checked;
  }
  EXPECT_GT(checked, 50);
}

}  // namespace
}  // namespace gradus
