#include "passes/lower_scans.h"

#include <fmt/format.h>

#include <map>
#include <numeric>
#include <optional>

#include "base/check.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/scan.h"
#include "passes/copy_scans.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Graph;
using ir::NodeId;
using ir::Value;

bool is_input(const ir::Node& node) {
  return std::holds_alternative<ir::InputComputation>(node.op->compute);
}

/// Leaves out `result_of`, of which there may be some already.
Graph without_results(const Graph& graph) {
  return ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<Expr> {
    if (!std::holds_alternative<ir::ResultComputation>(c.node.op->compute)) return std::nullopt;
    return c.operands[0];
  });
}

/// The scan with its body in the form that schedules work on.
class BodyLowering {
 public:
  BodyLowering(Graph& to, const Graph& graph, NodeId id, const std::vector<Value>& operands)
      : to_(to), body_(*graph.node(id).attributes.get<ir::GraphPointer>("body")) {
    for (NodeId node = 0; node < body_.size(); ++node) {
      GRADUS_CHECK(!is_scan(body_, node), "a scan in the body of another");
    }
    const ir::Attributes& attributes = graph.node(id).attributes;
    scan_.length = attributes.get<std::int64_t>("length");
    scan_.reverse = attributes.get<bool>("reverse");
    scan_.body = Graph(body_.name());
    const ir::ScanSignature signature = ir::scan_signature(body_);
    const ir::ScanParts<Value> parts = signature.parts<Value>(operands);
    for (Value value : parts.carried) scan_.carried.push_back({&to, value});
    for (Value value : parts.stacked) scan_.stacked.push_back({&to, value});
    for (Value value : parts.invariant) scan_.invariant.push_back({&to, value});
    position_ = signature.iteration;
  }

  std::vector<Expr> run() {
    // The position is one more stack, behind the others.
    std::map<NodeId, Value> inputs;
    for (NodeId id : body_.inputs()) {
      if (id != position_) inputs[id] = {scan_.body.add(body_.node(id), {}), 0};
    }
    if (position_ && body_.live()[*position_]) inputs[*position_] = add_position();
    const ir::Moved moved =
        ir::inline_graph(body_, scan_.body, [&](NodeId node) -> std::optional<Value> {
          const ir::Node& known = body_.node(node);
          if (is_input(known)) {
            const auto found = inputs.find(node);
            return found == inputs.end() ? std::nullopt : std::optional(found->second);
          }
          if (std::holds_alternative<ir::ConstantComputation>(known.op->compute) &&
              known.types[0].rank() > 0) {
            scan_.invariant.push_back({&to_, {to_.add(known, {}), 0}});
            return new_input(ir::InputKind::state, known.types[0]);
          }
          return std::nullopt;
        });
    ir::copy_results(body_, moved, scan_.body);
    return ir::add_scan(to_, std::move(scan_));
  }

 private:
  Value new_input(ir::InputKind kind, const TensorType& type) {
    std::string name;
    do {
      name = fmt::format("lowered{}", number_++);
    } while (body_.find_input(name));
    return scan_.body.add_input(name, kind, type);
  }

  Value add_position() {
    Tensor positions(TensorType{ElementType::i64, {scan_.length}});
    std::iota(positions.as<std::int64_t>().begin(), positions.as<std::int64_t>().end(), 0);
    scan_.stacked.push_back(ir::constant(to_, std::move(positions)));
    return new_input(ir::InputKind::batch, {ElementType::i64, {}});
  }

  Graph& to_;
  const Graph& body_;
  ir::Scan scan_{Graph(""), {}, {}, {}};
  std::optional<NodeId> position_;
  int number_ = 0;
};

}  // namespace

Graph lower_scans(const Graph& graph) {
  const Graph plain = without_results(graph);
  return copy_scans(plain, [&](Graph& to, NodeId id, const std::vector<Value>& operands) {
    ScanValues values;
    for (Expr result : BodyLowering(to, plain, id, operands).run()) {
      values.emplace_back(ir::apply("result_of", {result}).value);
    }
    return values;
  });
}

}  // namespace gradus::passes
