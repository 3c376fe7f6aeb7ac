// Every executor gives the interpreter's bits: fused and unfused kernels, every instruction set of
// this machine, one to four threads, and the kernel interpreter.

#include <gtest/gtest.h>

#include "ir/expr.h"
#include "ir/op.h"
#include "ir/text.h"
#include "tests/models/executors.h"

namespace gradus {
namespace {

using ir::Expr;

void check_all_executors(const ir::Graph& graph, const Inputs& inputs) {
  const ir::Interpretation expected = ir::interpret(graph, inputs);
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    if (!codegen::host_supports(set)) continue;
    for (bool fuse : {true, false}) {
      codegen::CompileOptions options;
      options.set = set;
      options.fuse = fuse;
      const std::string what = std::string(to_string(set)) + (fuse ? " fused" : " unfused");
      expect_same(expected, run(graph, inputs, options, 1), what);
      if (fuse && set == codegen::InstructionSet::native) {
        expect_same(expected, run(graph, inputs, options, 3), what + " 3 threads");
      }
    }
  }
}

TEST(Executors, EveryOpOnEveryInstructionSet) {
  for (const ir::OpRecord& op : ir::op_records()) {
    EXPECT_FALSE(op.doc.empty()) << op.name;
    ASSERT_FALSE(op.examples.empty()) << op.name << " has no example";
    for (const ir::OpExample& example : op.examples) {
      if (op.name == "input" || op.name == "constant") continue;
      SCOPED_TRACE(std::string(op.name) + " " + std::string(example.attributes));
      ir::Graph graph("example");
      std::vector<ir::Value> operands;
      Inputs inputs;
      for (std::size_t i = 0; i < example.operands.size(); ++i) {
        const TensorType type = *parse_tensor_type(example.operands[i]);
        const std::string name = "x" + std::to_string(i);
        operands.push_back(graph.add_input(name, ir::InputKind::batch, type));
        inputs[name] = random_tensor(type, static_cast<std::uint32_t>(i), example.low, example.high);
      }
      const ir::NodeId id =
          graph.add(op, operands, parse_attributes(op, example.attributes));
      graph.add_result("y", {id, 0});
      check_all_executors(graph, inputs);
      if (testing::Test::HasFailure()) return;
    }
  }
}

/// Merged contracted axes whose sums have several parts: the borders are those of slices.
TEST(Executors, LongContractionsOverSeveralAxes) {
  for (const Shape& contracted : {Shape{70, 30}, Shape{3, 1100}, Shape{2, 9, 150}}) {
    ir::Graph graph("long");
    Shape lhs{9}, rhs = contracted;
    lhs.insert(lhs.end(), contracted.begin(), contracted.end());
    rhs.push_back(20);
    ir::DotAxes axes;
    for (std::size_t i = 0; i < contracted.size(); ++i) {
      axes.lhs_contract.push_back(static_cast<std::int64_t>(i) + 1);
      axes.rhs_contract.push_back(static_cast<std::int64_t>(i));
    }
    Inputs inputs;
    std::vector<Expr> operands;
    for (const Shape& shape : {lhs, rhs}) {
      const std::string name = "x" + std::to_string(inputs.size());
      const TensorType type{ElementType::f32, shape};
      inputs[name] = random_tensor(type, 7, -1, 1);
      operands.push_back({&graph, graph.add_input(name, ir::InputKind::batch, type)});
    }
    graph.add_result("y", ir::dot(operands[0], operands[1], axes).value);
    check_all_executors(graph, inputs);
    expect_same(ir::interpret(graph, inputs), interpret_kernels(graph, inputs), "kernels");
  }
}

}  // namespace
}  // namespace gradus
