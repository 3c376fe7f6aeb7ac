#include "tests/frontend/run_layers.h"

#include "frontend/build.h"
#include "frontend/model.h"
#include "ir/interpret.h"

namespace gradus::frontend {

std::string file_with(const std::string& layers, const std::vector<std::string>& inputs) {
  std::string declared;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    declared += std::string("\"") + static_cast<char>('a' + i) + "\": \"" + inputs[i] + "\", ";
  }
  return R"({"gradus": 1, "data": {"source": "linear"}, "model": {"inputs": {)" + declared +
         R"("t": "f32[7]"}, "layers": [)" + layers +
         R"(, {"op": "cast", "element": "f32", "from": "last"}, {"layer": "flatten"},
      {"layer": "dense", "units": 7, "name": "head"}]},
    "loss": {"function": "mean_squared_error", "predictions": "head", "targets": "t"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
}

Tensor tensor_of(const Shape& shape, double first, double step) {
  Tensor tensor({ElementType::f32, shape});
  double value = first;
  for (float& x : tensor.as<float>()) {
    x = static_cast<float>(value);
    value = -value * 0.83 + step;
  }
  return tensor;
}

Tensor run_layers(const std::string& layers, const std::map<std::string, Tensor>& values,
                  const std::vector<std::string>& inputs, Purpose purpose) {
  const Model model("file.json", file_with(layers, inputs));
  Findings findings;
  Forward forward("test", values.at("a").type.shape[0], purpose);
  build_forward(model.spec(), forward, every_layer(model.spec()), findings);
  forward.graph.add_result("y", forward.values.at("last").value.value);
  return ir::interpret(forward.graph, values).outputs.at("y");
}

}  // namespace gradus::frontend
