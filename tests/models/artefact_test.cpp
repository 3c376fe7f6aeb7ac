// A model compiled ahead of time gives the bits of the other executors: every op, and every program
// of the models that come with Gradus, for every instruction set of this machine in one artefact,
// and for an emulated AArch64.

#include "codegen/artefact.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "codegen/artefact_header.h"
#include "frontend/model.h"
#include "ir/op.h"
#include "ir/text.h"
#include "runtime/programs.h"
#include "tests/models/artefacts.h"
#include "tests/models/executors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;
using codegen::Artefact;
using codegen::ArtefactModel;
using codegen::InstructionSet;

/// One function per example of every op, with its inputs and what kernels in this process make of
/// them, which other tests compare with the interpreter.
struct OpExamples {
  ArtefactModel model{"m", "every op", {}, {}, false};
  std::vector<std::vector<Tensor>> inputs;
  std::vector<ir::Interpretation> expected;
  std::vector<std::string> names;

  /// With `scale`: those of floats alone, with operands from -scale to scale.
  explicit OpExamples(std::optional<double> scale = std::nullopt) {
    for (const ir::OpRecord& op : ir::op_records()) {
      if (op.name == "input" || op.name == "constant") continue;
      for (ir::OpExample example : op.examples) {
        if (scale) {
          if (!std::ranges::all_of(example.operands, [](std::string_view operand) {
                return operand.starts_with("f32");
              })) {
            continue;
          }
          example.low = -*scale;
          example.high = *scale;
        }
        add(op, example);
      }
    }
  }

  void add(const ir::OpRecord& op, const ir::OpExample& example) {
    ir::Graph graph("example");
    std::vector<ir::Value> operands;
    std::vector<Tensor>& tensors = inputs.emplace_back();
    Inputs values;
    for (std::size_t i = 0; i < example.operands.size(); ++i) {
      const TensorType type = *parse_tensor_type(example.operands[i]);
      const std::string name = "x" + std::to_string(i);
      operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
      tensors.push_back(
          random_tensor(type, static_cast<std::uint32_t>(i), example.low, example.high));
      values[name] = tensors.back();
    }
    graph.add_result("y", {graph.add(op, operands, parse_attributes(op, example.attributes)), 0});
    expected.push_back(run(graph, values, {}, 1));
    names.push_back(std::string(op.name) + " " + std::string(example.attributes));
    model.programs.push_back({"op" + std::to_string(names.size()), "", 0, std::move(graph), {}});
  }

  void expect_same(const std::vector<CallResult>& found) const {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].status, 0) << names[i];
      EXPECT_TRUE(same(found[i].outputs[0], expected[i].outputs.at("y"))) << names[i];
    }
  }
};

std::vector<InstructionSet> sets_of_this_machine() {
  std::vector<InstructionSet> sets;
  for (InstructionSet set : codegen::kInstructionSets) {
    if (codegen::host_supports(set)) sets.push_back(set);
  }
  return sets;
}

// Operands and products around the least normal number, 1.2e-38.
constexpr double kSubnormalOperands = 3e-38;
constexpr double kSubnormalProducts = 2e-19;

TEST_F(Program, EveryOpAheadOfTime) {
  for (const OpExamples& ops :
       {OpExamples(), OpExamples(kSubnormalOperands), OpExamples(kSubnormalProducts)}) {
    EXPECT_GT(ops.names.size(), 40u);
    for (InstructionSet set : sets_of_this_machine()) {
      SCOPED_TRACE(to_string(set));
      ops.expect_same(call_all(folder_, kThisMachine, ops.model,
                               make_artefact(ops.model, {.sets = {set}}), ops.inputs));
    }
  }
}

TEST_F(Program, EveryOpOnAarch64) {
  if (const std::string missing = missing_program(kAarch64); !missing.empty()) {
    GTEST_SKIP() << missing << " is not installed";
  }
  for (const OpExamples& ops :
       {OpExamples(), OpExamples(kSubnormalOperands), OpExamples(kSubnormalProducts)}) {
    const Artefact artefact = make_artefact(ops.model, {.sets = {InstructionSet::aarch64}});
    ops.expect_same(call_all(folder_, kAarch64, ops.model, artefact, ops.inputs));
  }
}

/// Models of more parameters and examples of more elements take an emulator too long ...
constexpr std::int64_t kMostParameters = 1 << 21;
constexpr std::int64_t kMostElements = 1 << 14;
/// ... and examples of fewer come in larger batches.
constexpr std::int64_t kFewElements = 700;

/// Elements of the largest input of an example.
std::int64_t example_size(const frontend::Model& model) {
  std::int64_t most = 0;
  for (const frontend::ModelInput& input : model.inputs()) {
    most = std::max(most, input.example.element_count());
  }
  return most;
}

/// Programs of a model for a small batch, and their inputs.
struct WholeModel {
  ArtefactModel artefact{"m", "a model", {}, {}, false};
  std::vector<std::vector<Tensor>> inputs;

  WholeModel() = default;
  /// All of the file's.
  explicit WholeModel(const fs::path& path) {
    const frontend::Model model(path.string(), contents(path));
    for (const frontend::StateSpec& entry : model.state()) {
      artefact.layout.add(entry.name, entry.type, runtime::StateKind::parameter);
    }
    const std::int64_t batch = example_size(model) <= kFewElements ? 12 : 1;
    add("init", model.init(), 0);
    add("step", model.train_step(batch), batch);
    add("again", model.train_step(batch), batch);
    add("evaluate", model.evaluate(batch), batch);
    add("predict", model.predict(batch), batch);
  }

  void add(const std::string& function, ir::Graph graph, std::int64_t examples) {
    std::vector<Tensor>& tensors = inputs.emplace_back();
    for (ir::NodeId id : graph.inputs()) {
      const ir::Node& node = graph.node(id);
      if (node.attributes.get<std::string>("kind") == "state") continue;
      tensors.push_back(
          random_tensor(node.types[0], static_cast<std::uint32_t>(tensors.size()), 0, 2));
    }
    artefact.programs.push_back({function, "", examples, std::move(graph), {}});
  }

  /// Runs all in this process and compares.
  void expect_same(const std::vector<CallResult>& found) const {
    ASSERT_EQ(found.size(), artefact.programs.size());
    Inputs state;
    for (const runtime::StateEntry& entry : artefact.layout.entries) {
      state[entry.name] = Tensor(entry.type);
    }
    const std::vector<codegen::ArtefactFunction> functions = artefact_functions(artefact);
    for (std::size_t i = 0; i < found.size(); ++i) {
      SCOPED_TRACE(functions[i].name);
      EXPECT_EQ(found[i].status, 0);
      Inputs values = state;
      for (std::size_t k = 0; k < inputs[i].size(); ++k) {
        values[functions[i].inputs[k].name] = inputs[i][k];
      }
      const ir::Interpretation expected = run(artefact.programs[i].graph, values, {}, 1);
      for (const auto& [name, value] : expected.updates) state[name] = value;
      for (const runtime::StateEntry& entry : artefact.layout.entries) {
        Tensor tensor(entry.type);
        std::memcpy(tensor.bytes.data(), found[i].state.data() + entry.offset, tensor.bytes.size());
        EXPECT_TRUE(same(tensor, state.at(entry.name))) << entry.name;
      }
      for (std::size_t k = 0; k < functions[i].outputs.size(); ++k) {
        const std::string& name = functions[i].outputs[k].name;
        EXPECT_TRUE(same(found[i].outputs[k], expected.outputs.at(name))) << name;
      }
    }
  }
};

std::vector<fs::path> models() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(fs::path(GRADUS_SOURCE_DIR) / "models")) {
    if (entry.path().extension() != ".json") continue;
    const frontend::Model model(entry.path().string(), contents(entry.path()));
    std::int64_t parameters = 0;
    for (const frontend::ParameterSpec& p : model.parameters())
      parameters += p.type.element_count();
    if (parameters <= kMostParameters && example_size(model) <= kMostElements) {
      paths.push_back(entry.path());
    }
  }
  EXPECT_GE(paths.size(), 5u);
  return paths;
}

TEST_F(Program, EveryModelAheadOfTime) {
  for (const fs::path& path : models()) {
    SCOPED_TRACE(path.filename().string());
    const WholeModel model(path);
    const Artefact artefact = make_artefact(model.artefact, {.sets = sets_of_this_machine()});
    model.expect_same(call_all(folder_, kThisMachine, model.artefact, artefact, model.inputs));
  }
}

/// What a result has of a state is what was there before the step.
TEST_F(Program, OldValuesOfStatesAheadOfTime) {
  WholeModel model;
  model.artefact.layout.add("s", {ElementType::f32, {12}}, runtime::StateKind::parameter);
  for (const char* function : {"first", "second"}) {
    model.add(function, ir::parse_graph(R"(graph "step"
%0 = state "s" : f32[12]
%1 = batch "x" : f32[12]
%2 = add %0, %1
"old" = %0
"s" <- %2
)"),
              12);
  }
  const Artefact artefact = make_artefact(model.artefact, {.sets = sets_of_this_machine()});
  const std::vector<CallResult> found =
      call_all(folder_, kThisMachine, model.artefact, artefact, model.inputs);
  model.expect_same(found);
  EXPECT_EQ(found.at(1).outputs.at(0), model.inputs[0][0]);
}

TEST_F(Program, EveryModelOnAarch64) {
  if (const std::string missing = missing_program(kAarch64); !missing.empty()) {
    GTEST_SKIP() << missing << " is not installed";
  }
  for (const fs::path& path : models()) {
    SCOPED_TRACE(path.filename().string());
    const WholeModel model(path);
    const Artefact artefact = make_artefact(model.artefact, {.sets = {InstructionSet::aarch64}});
    model.expect_same(call_all(folder_, kAarch64, model.artefact, artefact, model.inputs));
  }
}

TEST(Artefact, NamesAreIdentifiersAndNoneTwice) {
  codegen::Identifiers names;
  EXPECT_EQ(names.add("hidden1/kernel"), "hidden1_kernel");
  EXPECT_EQ(names.add("hidden1_kernel"), "hidden1_kernel_2");
  EXPECT_EQ(names.add("class"), "class_");
  EXPECT_EQ(names.add("class_"), "class__2");
  EXPECT_EQ(names.add("3d"), "x3d");
  EXPECT_EQ(names.add("größe"), "gr____e");
  EXPECT_EQ(names.add(""), "x");
}

}  // namespace
}  // namespace gradus
