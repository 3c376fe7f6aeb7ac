#include "codegen/loop_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/overloaded.h"
#include "codegen/arena.h"
#include "codegen/copy_kernel.h"
#include "ir/op.h"
#include "ir/scan.h"
#include "passes/roots.h"

namespace gradus::codegen {
namespace {

using ir::NodeId;

/// A parameter of the program around the loop, and how it moves.
struct Place {
  Parameter parameter;
  Slide slide;
};

class LoopLinker {
 public:
  LoopLinker(const ir::Graph& graph, NodeId scan, BodyPlan body)
      : graph_(graph),
        scan_(scan),
        body_(std::move(body)),
        signature_(ir::scan_signature(body_.graph)) {
    const ir::Attributes& attributes = graph.node(scan).attributes;
    length_ = attributes.get<std::int64_t>("length");
    reverse_ = attributes.get<bool>("reverse");
    for (NodeId user : graph.users(scan)) result_[graph.operands(user)[0].result] = user;
    place_inputs();
    place_outputs();
  }

  LoopKernels run() {
    LoopKernels kernels;
    for (ScheduledKernel& kernel : body_.kernels) {
      const bool once = is_invariant(kernel);
      if (once) keep(kernel);
      link(kernel);
      (once ? before_ : kernels.body).push_back(std::move(kernel));
    }
    kernels.before = std::move(before_);
    kernels.first = std::move(first_);
    kernels.last = std::move(last_);
    return kernels;
  }

 private:
  const ir::Node& node(NodeId id) const { return body_.graph.node(id); }

  /// Slices of `type` along axis 0.
  Slide slide(const TensorType& type) const {
    const std::int64_t bytes = type.byte_size();
    return reverse_ ? Slide{(length_ - 1) * bytes, -bytes} : Slide{0, bytes};
  }

  void place_inputs() {
    const std::vector<ir::Value> operands = graph_.operands(scan_);
    const ir::ScanParts<ir::Value> parts = signature_.parts<ir::Value>(operands);
    const auto memory_of = [&](ir::Value operand) {
      return Parameter{passes::memory_of(graph_, operand.node)};
    };
    for (std::size_t i = 0; i < signature_.carried.size(); ++i) {
      const auto number = static_cast<std::uint32_t>(i);
      const Parameter memory = result_.contains(number) ? Parameter{result_.at(number)}
                                                        : Parameter{scan_, kLoopCarried, 0, number};
      const NodeId input = signature_.carried[i];
      inputs_[input] = {memory, {}};
      before_.push_back(
          copy({memory_of(parts.carried[i]), {}}, inputs_[input], node(input).types[0]));
    }
    for (std::size_t i = 0; i < signature_.stacked.size(); ++i) {
      const NodeId input = signature_.stacked[i];
      inputs_[input] = {memory_of(parts.stacked[i]), slide(node(input).types[0])};
    }
    for (std::size_t i = 0; i < signature_.invariant.size(); ++i) {
      inputs_[signature_.invariant[i]] = {memory_of(parts.invariant[i]), {}};
    }
  }

  /// What the body computes into memory of its own is written to the stack at once.
  void place_outputs() {
    for (std::size_t j = 0; j < signature_.outputs.size(); ++j) {
      const auto number = static_cast<std::uint32_t>(signature_.stack(j));
      const auto result = result_.find(number);
      if (result == result_.end()) continue;
      const NodeId value = passes::memory_of(body_.graph, signature_.outputs[j].value.node);
      const TensorType& type = node(value).types[0];
      const Place stack{{result->second}, slide(type)};
      if (inputs_.contains(value)) {
        first_.push_back(copy(inputs_.at(value), stack, type));
      } else if (in_arena(body_.graph, body_.fusion, {value}) && !outputs_.contains(value)) {
        outputs_[value] = stack;
      } else {
        last_.push_back(copy(place({value}), stack, type));
      }
    }
  }

  ScheduledKernel copy(const Place& from, const Place& to, const TensorType& type) {
    ScheduledKernel kernel{
        copy_kernel(fmt::format("{}_copy_{}", body_.graph.name(), copies_++), type,
                    /*in_loop=*/true),
        {from.parameter, to.parameter},
        0};
    kernel.slides = {from.slide, to.slide};
    kernel.kernel.provenance = to_string(graph_.node(scan_).provenance);
    return kernel;
  }

  /// Whether a kernel makes the same in every iteration, for its iteration only.
  bool is_invariant(const ScheduledKernel& scheduled) const {
    for (std::size_t i = 0; i < scheduled.parameters.size(); ++i) {
      const Parameter& parameter = scheduled.parameters[i];
      const bool known = kept_.contains(arena_key(parameter)) || is_invariant_input(parameter);
      const bool made = in_arena(body_.graph, body_.fusion, parameter) && !is_output(parameter);
      if (scheduled.kernel.buffers[i].role == BufferRole::input ? !known : !made) return false;
    }
    return true;
  }
  bool is_invariant_input(const Parameter& parameter) const {
    return parameter == Parameter{parameter.value} &&
           std::ranges::find(signature_.invariant, parameter.value) != signature_.invariant.end();
  }
  bool is_output(const Parameter& parameter) const {
    return parameter == Parameter{parameter.value} && outputs_.contains(parameter.value);
  }

  /// What the kernel writes lasts for all iterations.
  void keep(const ScheduledKernel& scheduled) {
    for (std::size_t i = 0; i < scheduled.parameters.size(); ++i) {
      if (scheduled.kernel.buffers[i].role == BufferRole::input) continue;
      const auto number = static_cast<std::uint32_t>(signature_.carried.size() + kept_.size());
      kept_[arena_key(scheduled.parameters[i])] = {{scan_, kLoopCarried, 0, number}, {}};
    }
  }

  Place place(const Parameter& parameter) {
    if (in_arena(body_.graph, body_.fusion, parameter)) {
      const auto kept = kept_.find(arena_key(parameter));
      if (kept != kept_.end()) return kept->second;
      const auto output = outputs_.find(parameter.value);
      if (output != outputs_.end() && parameter == Parameter{parameter.value}) {
        return output->second;
      }
      const auto number = static_cast<std::int64_t>(values_.size());
      const auto at = values_.try_emplace(arena_key(parameter), number).first;
      return {{scan_, kLoopValue, 0, at->second}, {}};
    }
    const auto in_place = body_.fusion.in_place.find(parameter.value);
    return inputs_.at(in_place == body_.fusion.in_place.end() ? parameter.value : in_place->second);
  }

  void link(ScheduledKernel& scheduled) {
    for (Parameter& parameter : scheduled.parameters) {
      const Place found = place(parameter);
      parameter = found.parameter;
      scheduled.slides.push_back(found.slide);
    }
    // Faults name a node of the program.
    const auto rename = [&](Body& body) { std::ranges::fill(body.fault_nodes, scan_); };
    for (Stage& stage : scheduled.kernel.stages) {
      std::visit(overloaded{[&](Loop& loop) { rename(loop.body); },
                            [&](Contract& contract) { rename(contract.epilogue); }},
                 stage);
    }
  }

  const ir::Graph& graph_;
  NodeId scan_;
  BodyPlan body_;
  ir::ScanSignature signature_;
  std::int64_t length_ = 1;
  bool reverse_ = false;
  std::map<std::uint32_t, NodeId> result_;    // the nodes of the results that are needed
  std::map<NodeId, Place> inputs_;            // of the body
  std::map<NodeId, Place> outputs_;           // values that lie in a stack
  std::map<Parameter, Place> kept_;           // the same in every iteration
  std::map<Parameter, std::int64_t> values_;  // other memory of the body, by number
  std::vector<ScheduledKernel> before_, first_, last_;
  int copies_ = 0;
};

}  // namespace

LoopKernels loop_kernels(const ir::Graph& graph, NodeId scan, BodyPlan body) {
  return LoopLinker(graph, scan, std::move(body)).run();
}

}  // namespace gradus::codegen
