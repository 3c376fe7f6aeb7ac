// The layer registry by enumeration, and what each layer computes against plain loops.

#include "frontend/layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "frontend/build.h"
#include "frontend/model.h"
#include "ir/compositions/activations.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/frontend/run_layers.h"

namespace gradus::frontend {
namespace {

/// The layer's example as the only layer between inputs and loss.
std::string example_file(const std::string& object, const std::vector<std::string>& inputs) {
  std::string from;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    from += std::string(i == 0 ? "\"" : ", \"") + static_cast<char>('a' + i) + "\"";
  }
  std::string layer = object;
  if (!from.empty()) from = ", \"from\": [" + from + "]";
  layer.insert(layer.rfind('}'), R"(, "name": "last")" + from);
  return file_with(layer, inputs);
}

std::vector<std::string> codes_of(const std::string& text) {
  std::vector<std::string> codes;
  try {
    (void)Model("file.json", text);
  } catch (const UserError& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      codes.push_back(diagnostic.code + " " + diagnostic.message);
    }
  }
  return codes;
}

TEST(LayerRegistry, EveryExampleTrains) {
  for (const Layer& layer : layers()) {
    SCOPED_TRACE(layer.name);
    // The gradient needs an input that depends on the other.
    if (layer.example_inputs.size() < static_cast<std::size_t>(layer.least_inputs)) continue;
    const Model model("file.json", example_file(layer.example, layer.example_inputs));
    for (std::int64_t batch : {1, 5}) {
      ir::verify(model.train_step(batch), "train_step");
      ir::verify(model.predict(batch), "predict");
    }
    EXPECT_EQ(Model("file.json", model.resolved()).train_step(3).hash(),
              model.train_step(3).hash());
  }
}

TEST(LayerRegistry, EveryRecordIsDocumented) {
  std::set<std::string> names;
  for (const Layer& layer : layers()) {
    EXPECT_TRUE(names.insert(layer.name).second) << layer.name;
    EXPECT_EQ(find_layer(layer.name), &layer);
    EXPECT_EQ(layer.doc.back(), '.') << layer.name;
    std::set<std::string> options{"layer", "name", "from", "comment"};
    for (const Option& option : layer.options) {
      EXPECT_TRUE(options.insert(option.name).second) << layer.name << " " << option.name;
      EXPECT_EQ(option.doc.back(), '.') << layer.name << " " << option.name;
    }
  }
}

TEST(LayerRegistry, EveryOptionIsChecked) {
  for (const Layer& layer : layers()) {
    for (const Option& option : layer.options) {
      SCOPED_TRACE(layer.name + " " + option.name);
      // No option takes an object without what it needs.
      Json json = parse_json(example_file(layer.example, layer.example_inputs), "file.json");
      ASSERT_NO_THROW((void)read_spec(json));
      apply_override(json, "model.layers.0." + option.name + "={\"no\": 1}");
      EXPECT_THROW((void)read_spec(json), UserError);
      apply_override(json, "model.layers.0." + option.name + "=null");
      if (option.default_value.index() == 0) {
        EXPECT_THROW((void)read_spec(json), UserError);
      } else {
        EXPECT_NO_THROW((void)read_spec(json));
      }
    }
  }
}

// --- Ops as layers ---

/// "low = [1,0], element = i32" as pairs; commas inside brackets and quotes do not separate.
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string part;
  int depth = 0;
  const auto end = [&] {
    const auto equals = part.find('=');
    if (equals != part.npos) pairs.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    part.clear();
  };
  for (char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth == 0)
      end();
    else if (c != ' ')
      part += c;
  }
  end();
  return pairs;
}

TEST(OpLayer, ReachesEveryOpOfTheRegistry) {
  std::size_t examples = 0;
  for (const ir::OpRecord& op : ir::op_records()) {
    if (std::holds_alternative<ir::InputComputation>(op.compute)) continue;
    if (std::holds_alternative<ir::ScanComputation>(op.compute)) continue;  // its body is no JSON
    const std::vector<Option> options = op_options(op);
    for (const ir::OpExample& example : op.examples) {
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ++examples;
      std::string object = R"({"op": ")" + std::string(op.name) + "\"";
      const auto pairs = pairs_of(example.attributes);
      for (const auto& [name, value] : pairs) {
        const bool tensor = op.name == "constant";
        const bool word = std::isalpha(value[0]) && value != "true" && value != "false" && !tensor;
        const std::string plain = tensor ? value.substr(value.rfind('[')) : value;
        object += ", \"" + name + "\": " + (word ? "\"" + plain + "\"" : plain);
      }
      const Json json = parse_json(object + "}", "file.json");
      Findings findings;
      ObjectReader reader(&json, std::string(op.name), findings);
      (void)reader.raw("op");
      const Settings settings = reader.settings(options);
      reader.finish();
      ASSERT_NO_THROW(findings.raise());
      ir::Graph graph("g");
      Streams streams;
      StateValues state;
      const frontend::Run run{.examples = 3};
      LayerBuilder builder{graph, settings, "layer", "layer", false, {}, Purpose::training,
                           3,     {},       streams, state,   run};
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        const std::string name = "x" + std::to_string(i);
        const TensorType type = *parse_tensor_type(example.operands[i]);
        builder.inputs.push_back(
            {name, 1, {&graph, graph.add_input(name, ir::InputKind::batch, type)}});
      }
      const ir::Expr result = build_op(builder, op);
      graph.add_result("y", result.value);
      ir::verify(graph, "op");
      for (const auto& [name, value] : pairs) {
        std::string text = ir::to_text(*graph.node(result.value.node).attributes.find(name));
        std::erase(text, ' ');
        EXPECT_EQ(text, value) << name;
      }
    }
  }
  EXPECT_GE(examples, ir::op_records().size() - 2);
}

// --- What layers compute ---

TEST(Layers, DenseWorksOnTheLastAxis) {
  const Tensor x = tensor_of({2, 3, 4}, 0.7, 0.3);
  const Tensor w = tensor_of({4, 5}, -0.4, 0.2);
  const Tensor bias = tensor_of({5}, 0.1, 0.5);
  const Tensor y = run_layers(R"({"layer": "dense", "units": 5, "name": "last", "from": "a",
                           "activation": "relu"})",
                              {{"a", x}, {"last/kernel", w}, {"last/bias", bias}}, {"f32[3,4]"});
  ASSERT_EQ(y.type, (TensorType{ElementType::f32, {2, 3, 5}}));
  for (std::size_t row = 0; row < 6; ++row) {
    for (std::size_t unit = 0; unit < 5; ++unit) {
      double sum = bias.as<float>()[unit];
      for (std::size_t k = 0; k < 4; ++k) {
        sum += double{x.as<float>()[row * 4 + k]} * w.as<float>()[k * 5 + unit];
      }
      EXPECT_NEAR(y.as<float>()[row * 5 + unit], std::max(sum, 0.0), 1e-5);
    }
  }
}

TEST(Layers, LayerNormScalesAndCenters) {
  const Tensor x = tensor_of({3, 6}, 1.5, 0.4);
  const Tensor gamma = tensor_of({6}, 0.5, 0.9);
  const Tensor beta = tensor_of({6}, -0.2, 0.1);
  const Tensor y = run_layers(R"({"layer": "layer_norm", "name": "last", "from": "a"})",
                              {{"a", x}, {"last/gamma", gamma}, {"last/beta", beta}}, {"f32[6]"});
  for (std::size_t row = 0; row < 3; ++row) {
    double mean = 0;
    double variance = 0;
    for (std::size_t i = 0; i < 6; ++i) mean += x.as<float>()[row * 6 + i] / 6.0;
    for (std::size_t i = 0; i < 6; ++i) {
      variance += std::pow(x.as<float>()[row * 6 + i] - mean, 2) / 6.0;
    }
    for (std::size_t i = 0; i < 6; ++i) {
      const double normal = (x.as<float>()[row * 6 + i] - mean) / std::sqrt(variance + 1e-3);
      EXPECT_NEAR(y.as<float>()[row * 6 + i], normal * gamma.as<float>()[i] + beta.as<float>()[i],
                  1e-4);
    }
  }
}

/// How the only convolution of a model is computed, or the message that refuses it.
std::string algorithm_of(const std::string& settings, const std::string& input) {
  const std::string text =
      file_with(R"({"layer": "conv2d", "name": "last", "from": "a", )" + settings + "}", {input});
  const std::vector<std::string> codes = codes_of(text);
  if (!codes.empty()) return codes.front();
  const Model model("file.json", text);
  Findings findings;
  Forward forward("test", 2, Purpose::training);
  build_forward(model.spec(), forward, every_layer(model.spec()), findings);
  forward.graph.add_result("y", forward.values.at("last").value.value);
  const std::string graph = to_text(forward.graph);
  const std::size_t at = graph.find("algorithm = \"");
  return at == std::string::npos ? "direct"
                                 : graph.substr(at + 13, graph.find('"', at + 13) - at - 13);
}

TEST(Layers, ConvolutionsChooseTheirAlgorithm) {
  const std::string wide = R"("filters": 32, "kernel": 3)";
  EXPECT_EQ(algorithm_of(wide, "f32[10,10,32]"), "winograd_4x4");
  EXPECT_EQ(algorithm_of(wide, "f32[8,8,32]"), "winograd_2x2");  // 6 outputs are 3 tiles of 2
  EXPECT_EQ(algorithm_of(wide, "f32[8,8,15]"), "direct");
  EXPECT_EQ(algorithm_of(wide + R"(, "stride": 2)", "f32[8,8,32]"), "direct");
  EXPECT_EQ(algorithm_of(wide + R"(, "groups": 2)", "f32[8,8,64]"), "direct");
  EXPECT_EQ(algorithm_of(R"("filters": 32, "kernel": 5)", "f32[8,8,32]"), "direct");
  EXPECT_EQ(algorithm_of(R"("filters": 32, "kernel": [3, 5])", "f32[5,7,32]"), "direct");
  EXPECT_EQ(algorithm_of(wide + R"(, "algorithm": "direct")", "f32[8,8,32]"), "direct");
  EXPECT_EQ(algorithm_of(wide + R"(, "algorithm": "winograd_4x4")", "f32[8,8,2]"), "winograd_4x4");
  // Few tiles and many channels: the transform of the kernel is what costs.
  const std::string wider = R"("filters": 256, "kernel": 3, "padding": "same")";
  EXPECT_EQ(algorithm_of(wider, "f32[28,28,256]"), "winograd_4x4");
  EXPECT_EQ(algorithm_of(wider, "f32[14,14,256]"), "winograd_2x2");
  EXPECT_EQ(algorithm_of(wider, "f32[7,7,256]"), "direct");
  EXPECT_NE(algorithm_of(wide + R"(, "stride": 2, "algorithm": "winograd_2x2")", "f32[8,8,32]")
                .find("needs a kernel of 3 x 3 without strides"),
            std::string::npos);
}

TEST(Layers, DropoutDropsInTrainingOnly) {
  const Tensor x = tensor_of({40, 50}, 1, 2);
  const auto dropped = [&](bool training, std::int64_t seed, std::int64_t step) {
    return run_layers(R"({"layer": "dropout", "rate": 0.25, "name": "last", "from": "a"})",
                      {{"a", x},
                       {"seed", Tensor::scalar(ElementType::i64, seed)},
                       {"step", Tensor::scalar(ElementType::i64, step)}},
                      {"f32[50]"}, training ? Purpose::training : Purpose::prediction);
  };
  EXPECT_EQ(dropped(false, 1, 0), x);
  const Tensor y = dropped(true, 1, 0);
  int zeros = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    if (y.as<float>()[i] == 0)
      ++zeros;
    else
      EXPECT_FLOAT_EQ(y.as<float>()[i], x.as<float>()[i] / 0.75f);
  }
  EXPECT_NEAR(zeros, 500, 80);  // four deviations
  EXPECT_EQ(dropped(true, 1, 0), y);
  EXPECT_NE(dropped(true, 2, 0), y);
  EXPECT_NE(dropped(true, 1, 1), y);
}

/// Every time is an example to the layer: the same as on the times one by one.
TEST(Layers, TimeDistributedLayersDoWithATimeWhatTheyDoWithAnExample) {
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> cases{
      {R"({"layer": "conv2d", "filters": 2, "kernel": 2, "from": "a")", {4, 3, 2}},
      {R"({"layer": "dense", "units": 2, "from": "a")", {3}},
      {R"({"layer": "flatten", "from": "a")", {3, 2}},
      {R"({"layer": "lstm", "units": 2, "from": "a")", {4, 3}},
      {R"({"layer": "reshape", "shape": [2, 3], "from": "a")", {6}},
      {R"({"op": "slice", "start": [0, 1], "limit": ["batch", 3], "stride": [1, 1], "from": "a")",
       {5}}};
  for (const auto& [layer, example] : cases) {
    SCOPED_TRACE(layer);
    Shape shape = example;
    const auto type_of = [](const Shape& extents) {
      return to_string(TensorType{ElementType::f32, extents});
    };
    shape.insert(shape.begin(), 2 * 3);
    const Tensor x = tensor_of(shape, 0.7, 0.3);
    std::map<std::string, Tensor> values{{"a", x}};
    const Model model("file.json", file_with(layer + R"(, "name": "last"})", {type_of(example)}));
    for (const ParameterSpec& parameter : model.parameters()) {
      values[parameter.name] = tensor_of(parameter.type.shape, 0.4, 0.2);
    }
    const Tensor expected = run_layers(layer + R"(, "name": "last"})", values, {type_of(example)});
    shape.front() = 3;
    const std::string input = type_of(shape);
    shape.insert(shape.begin(), 2);
    values["a"].type.shape = shape;
    const Tensor y =
        run_layers(layer + R"(, "name": "last", "time_distributed": true})", values, {input});
    Shape result = expected.type.shape;
    result.front() = 3;
    result.insert(result.begin(), 2);
    EXPECT_EQ(y.type.shape, result);
    EXPECT_EQ(y.bytes, expected.bytes);
  }
}

/// Though a table's rows could be multiplied before they are gathered.
TEST(Layers, GradientsReachWhatAnEmbeddingGives) {
  const std::string layers =
      R"({"layer": "embedding", "from": "a", "input_dim": 4, "output_dim": 3, "name": "e"},
    {"layer": "dense", "units": 2, "name": "d"},
    {"layer": "gradient", "from": ["d", "e"], "name": "last"})";
  Tensor tokens(TensorType{ElementType::i32, {2, 5}});
  std::ranges::copy(std::vector{3, 0, 1, 1, 2, 0, 3, 3, 2, 1}, tokens.as<std::int32_t>().begin());
  const Tensor kernel = tensor_of({3, 2}, 0.4, 0.25);
  const Tensor y = run_layers(layers,
                              {{"a", tokens},
                               {"e/embeddings", tensor_of({4, 3}, 0.1, 0.2)},
                               {"d/kernel", kernel},
                               {"d/bias", tensor_of({2}, 0, 1)}},
                              {"i32[5]"});
  ASSERT_EQ(y.type.shape, (Shape{2, 5, 3}));
  for (std::size_t i = 0; i < y.as<float>().size(); ++i) {
    const std::size_t row = i % 3;
    EXPECT_EQ(y.as<float>()[i], kernel.as<float>()[2 * row] + kernel.as<float>()[2 * row + 1]);
  }
}

TEST(Layers, MovementKeepsEveryElement) {
  const Tensor x = tensor_of({2, 2, 3}, 0.7, 0.3);
  const Tensor z = tensor_of({2, 2, 1}, 0.1, 0.2);
  const Tensor y = run_layers(R"({"layer": "concatenate", "from": ["a", "b"]},
      {"layer": "reshape", "shape": [4, 2]}, {"layer": "flatten", "name": "last"})",
                              {{"a", x}, {"b", z}}, {"f32[2,3]", "f32[2,1]"});
  ASSERT_EQ(y.type.shape, (Shape{2, 8}));
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(y.as<float>()[row * 4 + i],
                i < 3 ? x.as<float>()[row * 3 + i] : z.as<float>()[row]);
    }
  }
}

TEST(Layers, AddSumsAndActivationsApply) {
  const Tensor x = tensor_of({2, 3}, 0.7, 0.3);
  const Tensor z = tensor_of({2, 3}, -0.1, 0.2);
  for (const ir::Activation& activation : ir::activations()) {
    const Tensor y =
        run_layers(R"({"layer": "add", "from": ["a", "b", "a"]}, {"layer": "activation",
        "function": ")" +
                       std::string(activation.name) + R"(", "name": "last"})",
                   {{"a", x}, {"b", z}}, {"f32[3]", "f32[3]"});
    ir::Graph graph("g");
    const ir::Expr input{&graph, graph.add_input("x", ir::InputKind::batch, x.type)};
    graph.add_result("y", activation.build(input).value);
    Tensor sum(x.type);
    for (std::size_t i = 0; i < 6; ++i) {
      sum.as<float>()[i] = x.as<float>()[i] + z.as<float>()[i] + x.as<float>()[i];
    }
    EXPECT_EQ(ir::interpret(graph, {{"x", sum}}).outputs.at("y"), y) << activation.name;
  }
}

TEST(Layers, LeakyReluHasTheSlopeItIsGiven) {
  const Tensor x = tensor_of({2, 3}, 0.7, 0.3);
  const Tensor y =
      run_layers(R"({"layer": "leaky_relu", "negative_slope": 0.125, "from": "a", "name": "last"})",
                 {{"a", x}}, {"f32[3]"});
  int below = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    const float value = x.as<float>()[i];
    EXPECT_EQ(y.as<float>()[i], value < 0 ? 0.125f * value : value);
    below += value < 0;
  }
  EXPECT_TRUE(below > 0 && below < 6);
}

TEST(Layers, UnnamedLayersAreNumberedByKind) {
  const Model model("file.json", R"({"gradus": 1, "data": {"source": "linear"},
    "model": {"inputs": {"x": "f32[1]", "y": "f32[1]"}, "layers": [
      {"layer": "dense", "units": 2, "from": "x"}, {"layer": "dense", "units": 3, "name": "mine"},
      {"layer": "dense", "units": 1}, {"op": "tanh"}]},
    "loss": {"function": "mean_squared_error", "predictions": "tanh", "targets": "y"},
    "optimizer": {"method": "adam"}, "training": {"epochs": 1}})");
  std::vector<std::string> names;
  for (const StateSpec& entry : model.state()) {
    if (entry.kind == StateKind::parameter) names.push_back(entry.name + to_string(entry.type));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"dense/kernelf32[1,2]", "dense/biasf32[2]",
                                             "mine/kernelf32[2,3]", "mine/biasf32[3]",
                                             "dense_1/kernelf32[3,1]", "dense_1/biasf32[1]"}));
}

TEST(Layers, SequencesHavePositionsAndFeatures) {
  for (const char* layer : {R"({"layer": "positional_embedding"})", R"({"layer": "class_token"})",
                            R"({"layer": "gru", "units": 3})"}) {
    const auto found = [&](const char* input) { return codes_of(example_file(layer, {input})); };
    EXPECT_TRUE(found("f32[6,4]").empty()) << found("f32[6,4]")[0];
    for (const auto& [input, wrong] : {std::pair{"f32[6]", "2 axes per example"},
                                       {"f32[6,4,3]", "2 axes per example"},
                                       {"i32[6,4]", "needs f32"}}) {
      ASSERT_FALSE(found(input).empty()) << layer << " of " << input;
      EXPECT_EQ(found(input)[0].substr(0, 5), "E0204");
      EXPECT_NE(found(input)[0].find(wrong), std::string::npos) << found(input)[0];
    }
  }
}

TEST(Layers, SizesBeyondAnyMemoryAreFindings) {
  for (const char* layers :
       {R"({"layer": "dense", "units": 1000000000, "name": "last", "from": "a"})",
        R"({"layer": "reshape", "shape": [999999999999, 999999999999, 999999999999],
            "name": "last", "from": "a"})",
        R"({"op": "broadcast", "shape": ["batch", 100000, 2000000000, 1000000], "axes": [0, 1],
            "name": "last", "from": "a"})"}) {
    const std::vector<std::string> found = codes_of(file_with(layers, {"f32[100000]"}));
    ASSERT_FALSE(found.empty()) << layers;
    EXPECT_EQ(found[0].substr(0, 5), "E0204") << found[0];
  }
}

}  // namespace
}  // namespace gradus::frontend
