#include "tools/locate_failure.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "ir/interpret.h"
#include "ir/op.h"
#include "runtime/executor.h"
#include "tools/session.h"

namespace gradus::tools {
namespace {

using ir::NodeId;

/// Row-major position of the first element that is not finite.
std::optional<std::int64_t> first_non_finite(const Tensor& tensor) {
  return dispatch(tensor.type.element, [&](auto zero) -> std::optional<std::int64_t> {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      const auto values = tensor.as<T>();
      const auto at = std::ranges::find_if(values, [](T x) { return !std::isfinite(x); });
      if (at != values.end()) return at - values.begin();
    }
    return std::nullopt;
  });
}

std::vector<std::int64_t> index_of(std::int64_t position, const Shape& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = position % shape[axis];
    position /= shape[axis];
  }
  return index;
}

/// Every float value of a training step, by node.
class StepValues {
 public:
  StepValues(const frontend::Model& model, codegen::CompileOptions options,
             const runtime::NumericFailure& failure)
      : graph_(model.train_step(failure.batch)),
        layout_(layout_of(model)),
        before_(failure.state),
        executor_(options.threads) {
    results_.assign(graph_.results().begin(), graph_.results().end());
    const std::vector<bool> live = graph_.live();
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const bool is_known = state_of(id) != nullptr;
      if (live[id] && !is_known && is_float(graph_.node(id).types[0].element)) {
        graph_.add_result(name(id), {id, 0});
      }
    }
    options.fuse = false;
    codegen::Plan plan = codegen::plan_program(graph_, options);
    executable_ = codegen::compile(plan, layout_, options);
    state_.assign(failure.state.begin(), failure.state.end());
    std::vector<std::span<const std::byte>> inputs;
    for (const runtime::ExecutableInput& input : executable_.inputs) {
      const auto& given = failure.executable->inputs;
      const auto at = std::ranges::find(given, input.name, &runtime::ExecutableInput::name);
      inputs.push_back(failure.inputs[static_cast<std::size_t>(at - given.begin())]);
    }
    (void)executor_.run(executable_, state_, inputs);
  }

  [[nodiscard]] const ir::Graph& graph() const { return graph_; }
  /// Results of the step itself.
  [[nodiscard]] const std::vector<ir::Result>& results() const { return results_; }

  /// The first element of a value that is not finite.
  [[nodiscard]] std::optional<std::pair<std::int64_t, double>> bad_element(NodeId id) const {
    if (const runtime::StateEntry* entry = state_of(id)) {
      Tensor value(entry->type);
      const auto bytes =
          before_.subspan(static_cast<std::size_t>(entry->offset), value.bytes.size());
      std::ranges::copy(bytes, value.bytes.begin());
      return bad_element(value);
    }
    for (std::size_t i = 0; i < executable_.outputs.size(); ++i) {
      if (executable_.outputs[i].name != name(id)) continue;
      return bad_element(executor_.output(executable_, i));
    }
    return std::nullopt;
  }

  /// The first value in the order of computation that is not finite, of those that `result` has
  /// that from; empty when it is finite. A constant may be infinite.
  [[nodiscard]] std::optional<NodeId> origin(const ir::Result& result) const {
    if (!bad_element(result.value.node)) return std::nullopt;
    std::set<NodeId> bad{result.value.node};
    NodeId first = result.value.node;
    // Operands stand before what is made of them.
    for (auto at = bad.rbegin(); at != bad.rend(); ++at) {
      first = *at;
      for (ir::Value operand : graph_.operands(first)) {
        const bool is_constant = graph_.operands(operand.node).empty() && !is_input(operand.node);
        if (!is_constant && bad_element(operand.node)) bad.insert(operand.node);
      }
    }
    return first;
  }

 private:
  static std::string name(NodeId id) { return fmt::format("%{}", id); }

  static std::optional<std::pair<std::int64_t, double>> bad_element(const Tensor& value) {
    const std::optional<std::int64_t> at = first_non_finite(value);
    if (!at) return std::nullopt;
    const auto element = static_cast<std::size_t>(*at);
    const bool f32 = value.type.element == ElementType::f32;
    return std::pair{*at, f32 ? value.as<float>()[element] : value.as<double>()[element]};
  }
  [[nodiscard]] bool is_input(NodeId id) const {
    return std::holds_alternative<ir::InputComputation>(graph_.node(id).op->compute);
  }
  /// What the step finds in the state, where the node is that: the step overwrites it.
  [[nodiscard]] const runtime::StateEntry* state_of(NodeId id) const {
    return is_input(id) ? layout_.find(graph_.node(id).attributes.get<std::string>("name"))
                        : nullptr;
  }

  ir::Graph graph_;
  runtime::StateLayout layout_;
  std::span<const std::byte> before_;
  std::vector<ir::Result> results_;
  runtime::Executor executor_;
  runtime::Executable executable_;
  runtime::AlignedBytes state_;
};

/// " in 'hidden' (forward, model.json:9:7)".
std::string place_of(const ir::Node& node) {
  if (node.provenance.empty()) return {};
  const ir::ProvenanceEntry& entry = node.provenance.entries()[0];
  return fmt::format(" in '{}' ({}, {})", entry.origin->layer, to_string(entry.role),
                     to_string(entry.origin->where, entry.origin->uses));
}

std::string describe(const StepValues& values, NodeId id) {
  const auto [position, number] = *values.bad_element(id);
  const ir::Node& node = values.graph().node(id);
  const std::string element =
      node.types[0].rank() == 0
          ? ""
          : fmt::format(" at [{}]", fmt::join(index_of(position, node.types[0].shape), ","));
  if (std::holds_alternative<ir::InputComputation>(node.op->compute)) {
    const bool is_state = node.attributes.get<std::string>("kind") == "state";
    return fmt::format("the {} '{}' holds {}{}", is_state ? "state" : "input",
                       node.attributes.get<std::string>("name"), number, element);
  }
  return fmt::format("it begins{}: {} gives {}{}", place_of(node), node.op->name, number, element);
}

/// The bytes that a step read as its input of that name.
std::span<const std::byte> bytes_read(const runtime::NumericFailure& failure,
                                      const runtime::StateLayout& layout, const std::string& name) {
  if (const runtime::StateEntry* entry = layout.find(name)) {
    return failure.state.subspan(static_cast<std::size_t>(entry->offset),
                                 static_cast<std::size_t>(entry->type.byte_size()));
  }
  const auto& inputs = failure.executable->inputs;
  const auto at = std::ranges::find(inputs, name, &runtime::ExecutableInput::name);
  GRADUS_CHECK(at != inputs.end(), "the step has no input " + name);
  return failure.inputs[static_cast<std::size_t>(at - inputs.begin())];
}

/// The value that a step had computed of its inputs, and nothing else.
Tensor value_of(const ir::Graph& graph, ir::Value value, const runtime::NumericFailure& failure,
                const runtime::StateLayout& layout) {
  std::set<NodeId> needed{value.node};
  for (auto at = needed.rbegin(); at != needed.rend(); ++at) {
    for (ir::Value operand : graph.operands(*at)) needed.insert(operand.node);
  }
  ir::Graph cone("value");
  std::map<NodeId, NodeId> moved;
  std::map<std::string, Tensor> inputs;
  for (NodeId id : needed) {
    std::vector<ir::Value> operands;
    for (ir::Value operand : graph.operands(id)) {
      operands.push_back({moved.at(operand.node), operand.result});
    }
    const ir::Node& node = graph.node(id);
    moved[id] = cone.add(node, operands);
    if (!std::holds_alternative<ir::InputComputation>(node.op->compute)) continue;
    const auto name = node.attributes.get<std::string>("name");
    Tensor& input = inputs.emplace(name, Tensor(node.types[0])).first->second;
    std::ranges::copy(bytes_read(failure, layout, name), input.bytes.begin());
  }
  cone.add_result("value", {moved.at(value.node), value.result});
  return ir::interpret(cone, inputs).outputs.at("value");
}

/// ": found 12 at [3], expected 0 to 9".
std::string describe_index(const Tensor& indices, std::int64_t extent) {
  return dispatch(indices.type.element, [&](auto zero) -> std::string {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      const auto values = indices.as<T>();
      const auto at = std::ranges::find_if(
          values, [&](T x) { return std::cmp_less(x, 0) || std::cmp_greater_equal(x, extent); });
      if (at == values.end()) return "";
      const auto index = index_of(at - values.begin(), indices.type.shape);
      const std::string place = index.empty() ? "" : fmt::format(" at [{}]", fmt::join(index, ","));
      return fmt::format(": found {}{}, expected 0 to {}", +*at, place, extent - 1);
    }
    return "";
  });
}

std::string describe_fault(const frontend::Model& model, const codegen::CompileOptions& options,
                           const runtime::NumericFailure& failure) {
  const codegen::Plan plan = codegen::plan_program(model.train_step(failure.batch), options);
  const NodeId id = runtime::fault_node(failure.fault);
  const ir::Node& node = plan.graph.node(id);
  std::string found;
  if (node.op == ir::find_op("check_index")) {
    found =
        describe_index(value_of(plan.graph, plan.graph.operands(id)[0], failure, layout_of(model)),
                       node.attributes.get<std::int64_t>("extent"));
  }
  return fmt::format("raised by {}{}{}", node.op->name, place_of(node), found);
}

}  // namespace

std::string locate_failure(const frontend::Model& model, const codegen::CompileOptions& options,
                           const runtime::NumericFailure& failure) {
  if (failure.fault != 0) return describe_fault(model, options, failure);
  const StepValues values(model, options, failure);
  std::optional<NodeId> first;
  for (const ir::Result& result : values.results()) {
    // Nothing fails for a metric.
    if (std::ranges::find(model.metrics(), result.name, &frontend::MetricSpec::name) !=
        model.metrics().end()) {
      continue;
    }
    const std::optional<NodeId> origin = values.origin(result);
    if (origin && (!first || *origin < *first)) first = origin;
  }
  return first ? describe(values, *first) : "";
}

}  // namespace gradus::tools
