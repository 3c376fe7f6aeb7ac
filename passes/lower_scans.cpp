#include "passes/lower_scans.h"

#include <fmt/format.h>

#include <map>
#include <numeric>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/scan.h"
#include "passes/copy_scans.h"
#include "passes/pipeline.h"

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

Expr slice_of(Expr stack, std::int64_t position) {
  ir::Integers start(stack.shape().size(), 0);
  ir::Integers limit = stack.shape();
  start[0] = position;
  limit[0] = position + 1;
  return ir::reshape(ir::slice(stack, start, limit, ir::Integers(start.size(), 1)),
                     Shape(limit.begin() + 1, limit.end()));
}

/// The iterations one after another.
ScanValues unrolled(Graph& to, const Graph& graph, NodeId id, const std::vector<Value>& operands) {
  const ir::Attributes& attributes = graph.node(id).attributes;
  const Graph& body = *attributes.get<ir::GraphPointer>("body");
  const std::int64_t length = attributes.get<std::int64_t>("length");
  const ir::ScanSignature signature = ir::scan_signature(body);
  std::map<NodeId, Value> known;
  std::size_t next = 0;
  for (NodeId input : signature.carried) known[input] = operands[next++];
  const std::size_t first_stack = next;
  next += signature.stacked.size();
  for (NodeId input : signature.invariant) known[input] = operands[next++];
  const auto count = static_cast<std::size_t>(length);
  std::vector<std::vector<Expr>> outputs(signature.outputs.size(), std::vector<Expr>(count));
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t t = attributes.get<bool>("reverse") ? length - 1 - i : i;
    for (std::size_t s = 0; s < signature.stacked.size(); ++s) {
      known[signature.stacked[s]] = slice_of({&to, operands[first_stack + s]}, t).value;
    }
    if (signature.iteration) {
      known[*signature.iteration] = ir::constant(to, Tensor::scalar(ElementType::i64, t)).value;
    }
    const ir::Moved moved = ir::inline_graph(body, to, [&](NodeId node) -> std::optional<Value> {
      const auto found = known.find(node);
      return found == known.end() ? std::nullopt : std::optional(found->second);
    });
    for (std::size_t r = 0; r < outputs.size(); ++r) {
      const Expr value{&to, ir::moved_value(moved, signature.outputs[r].value)};
      Shape shape = value.shape();
      shape.insert(shape.begin(), 1);
      outputs[r][static_cast<std::size_t>(t)] = ir::reshape(value, shape);
    }
    std::vector<Value> carried;
    for (Value value : signature.next) carried.push_back(ir::moved_value(moved, value));
    for (std::size_t c = 0; c < carried.size(); ++c) known[signature.carried[c]] = carried[c];
  }
  ScanValues values;
  for (NodeId input : signature.carried) values.emplace_back(known[input]);
  for (const std::vector<Expr>& output : outputs) {
    values.emplace_back(ir::concat(output, 0).value);
  }
  return values;
}

Graph unroll(const Graph& graph) {
  return copy_scans(graph, [&](Graph& to, NodeId id, const std::vector<Value>& operands) {
    return unrolled(to, graph, id, operands);
  });
}

/// The scan with its body after the pipeline.
class BodyLowering {
 public:
  BodyLowering(Graph& to, const Graph& graph, NodeId id, const std::vector<Value>& operands)
      : to_(to),
        body_(run_pipeline(unroll(*graph.node(id).attributes.get<ir::GraphPointer>("body")))) {
    const ir::Attributes& attributes = graph.node(id).attributes;
    scan_.length = attributes.get<std::int64_t>("length");
    scan_.reverse = attributes.get<bool>("reverse");
    scan_.body = Graph(body_.name());
    const ir::ScanSignature signature = ir::scan_signature(body_);
    std::size_t next = 0;
    const auto take = [&](std::vector<Expr>& part, const std::vector<NodeId>& inputs) {
      for (std::size_t i = 0; i < inputs.size(); ++i) part.push_back({&to, operands[next++]});
    };
    take(scan_.carried, signature.carried);
    take(scan_.stacked, signature.stacked);
    take(scan_.invariant, signature.invariant);
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
  Graph body_;
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
