// The gradient of a scan is a scan in the other direction. Its carried values are the cotangents of
// the carried values; it reads the values that each iteration began with, which the forward scan
// stacks as further outputs, and so are contractions and reductions of the body, or functions that
// are made of them; everything else of the body is computed again. The cotangents of invariants are
// sums over the iterations, which go through linear ops: a contraction becomes one contraction over
// the stacks.

#include "ir/scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "ir/hoist.h"
#include "ir/ops/families.h"
#include "ir/ops/scan_saved.h"
#include "ir/reverse_mode.h"

namespace gradus::ir {
namespace {

TensorType stack_type(const TensorType& slice, std::int64_t length) {
  TensorType type = slice;
  type.shape.insert(type.shape.begin(), length);
  return type;
}

std::vector<TensorType> infer_scan(const InferContext& context) {
  const Graph& body = *context.attributes.get<GraphPointer>("body");
  const std::int64_t length = context.attributes.get<std::int64_t>("length");
  if (length < 1) throw TypeError("a scan has at least one iteration");
  const ScanSignature signature = scan_signature(body);
  std::vector<TensorType> expected;
  const auto expect = [&](const std::vector<NodeId>& inputs, bool stacked) {
    for (NodeId id : inputs) {
      const TensorType& type = body.node(id).types[0];
      expected.push_back(stacked ? stack_type(type, length) : type);
    }
  };
  expect(signature.carried, false);
  expect(signature.stacked, true);
  expect(signature.invariant, false);
  if (expected.size() != context.operands.size()) {
    throw TypeError(fmt::format("the body takes {} operands, found {}", expected.size(),
                                context.operands.size()));
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == context.operands[i]) continue;
    throw TypeError(fmt::format("operand {} of the scan is {}, found {}", i, to_string(expected[i]),
                                to_string(context.operands[i])));
  }
  std::vector<TensorType> results;
  for (NodeId id : signature.carried) results.push_back(body.node(id).types[0]);
  for (const Result& output : signature.outputs) {
    results.push_back(stack_type(body.type(output.value), length));
  }
  if (results.empty()) throw TypeError("the body of a scan has no results");
  return results;
}

/// The sum over all iterations of values of a body, as graph over stacks.
class SumOverIterations {
 public:
  /// `stack` gives the stack of a value that must be one.
  SumOverIterations(const Graph& body, std::function<Expr(Value)> stack)
      : body_(body), leaf_(std::move(stack)) {}

  Expr total(Value value) const {
    const Node& node = body_.node(value.node);
    const std::vector<Value>& operands = body_.operands(value.node);
    std::vector<Expr> x;
    if (node.op->additive) {
      for (Value operand : operands) x.push_back(total(operand));
      return apply(node.op->name, x, node.attributes);
    }
    if (node.op->stack_sum == nullptr) return sum(stack(value), {0});
    for (Value operand : operands) x.push_back(stack(operand));
    const auto all = std::make_unique<bool[]>(x.size());
    std::fill_n(all.get(), x.size(), true);
    return node.op->stack_sum({x, {all.get(), x.size()}, node.types[0], node.attributes});
  }

 private:
  /// Movement is done on the stack of what it moves.
  Expr stack(Value value) const {
    const Node& node = body_.node(value.node);
    const bool moves = std::holds_alternative<MovementComputation>(node.op->compute) ||
                       std::holds_alternative<ViewComputation>(node.op->compute);
    const std::vector<Value>& operands = body_.operands(value.node);
    if (!moves || node.op->stack == nullptr || operands.size() != 1) return leaf_(value);
    const Expr x = stack(operands[0]);
    const bool stacked = true;
    return node.op->stack({{&x, 1}, {&stacked, 1}, node.types[0], node.attributes});
  }

  const Graph& body_;
  std::function<Expr(Value)> leaf_;
};

class ScanGradient {
 public:
  explicit ScanGradient(const VjpContext& c)
      : c_(c),
        graph_(*c.y.graph),
        id_(c.y.value.node),
        forward_(scan_of(graph_, id_)),
        signature_(scan_signature(forward_.body)),
        backward_{Graph(forward_.body.name()), {}, {}, {}, forward_.length, !forward_.reverse},
        body_(backward_.body) {}

  Cotangents build() {
    add_inputs();
    differentiate();
    add_results();
    if (body_.results().empty()) return {};
    save();
    keep_saved();
    backward_ = hoisted(graph_, std::move(backward_));
    results_ = add_scan(graph_, std::move(backward_));
    return collect();
  }

 private:
  static bool is_differentiable(const TensorType& type) { return is_float(type.element); }

  Expr input(std::string_view prefix, int& number, InputKind kind, const TensorType& type) {
    return {&body_, body_.add_input(fmt::format("{}{}", prefix, number++), kind, type)};
  }
  Expr slice_input(const TensorType& type) {
    return input("x", slice_count_, InputKind::batch, type);
  }

  void add_inputs() {
    const Graph& f = forward_.body;
    int carried = 0;
    int invariant = 0;
    for (std::size_t i = 0; i < signature_.carried.size(); ++i) {
      const TensorType& type = f.node(signature_.carried[i]).types[0];
      if (is_differentiable(type)) {
        incoming_[i] = input("c", carried, InputKind::state, type);
        const Expr y{&graph_, {id_, static_cast<std::uint32_t>(i)}};
        backward_.carried.push_back(c_.dys[i] ? *c_.dys[i] : full_like(y, 0));
      }
    }
    for (NodeId id : signature_.carried) place(id, slice_input(f.node(id).types[0]));
    for (NodeId id : signature_.stacked) place(id, slice_input(f.node(id).types[0]));
    backward_.stacked.resize(signature_.carried.size());  // filled in later
    for (Expr stack : forward_.stacked) backward_.stacked.push_back(stack);
    for (std::size_t j = 0; j < signature_.outputs.size(); ++j) {
      const std::optional<Expr>& dy = c_.dys[signature_.stack(j)];
      if (!dy) continue;
      outgoing_[j] = slice_input(f.type(signature_.outputs[j].value));
      backward_.stacked.push_back(*dy);
    }
    for (NodeId id : signature_.invariant) {
      place(id, input("w", invariant, InputKind::state, f.node(id).types[0]));
    }
    backward_.invariant = forward_.invariant;
    if (signature_.iteration) {
      place(*signature_.iteration,
            {&body_, body_.add_input("t", InputKind::scalar, {ElementType::i64, {}})});
    }
  }
  void place(NodeId forward, Expr value) {
    placed_[forward] = value.value;
    operands_.push_back(forward);
  }

  void differentiate() {
    const Graph& f = forward_.body;
    moved_ = inline_graph(f, body_, [&](NodeId id) -> std::optional<Value> {
      const auto found = placed_.find(id);
      return found == placed_.end() ? std::nullopt : std::optional(found->second);
    });
    std::vector<Seed> seeds;
    const auto seed = [&](Value y, Expr dy) {
      seeds.push_back({{&body_, moved_value(moved_, y)}, dy});
    };
    for (const auto& [i, dy] : incoming_) seed(signature_.next[i], dy);
    for (const auto& [j, dy] : outgoing_) seed(signature_.outputs[j].value, dy);
    std::vector<Expr> wanted;
    for (NodeId id : operands_) wanted.push_back({&body_, placed_.at(id)});
    found_ = cotangents(body_, seeds, wanted);
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (!is_differentiable(wanted[i].type())) found_[i] = std::nullopt;
    }
  }

  void output(Value value) {
    if (output_number_.contains(value)) return;
    const auto number = output_number_.size();
    output_number_[value] = number;
    body_.add_result(fmt::format("y{}", number), value);
  }

  void add_results() {
    const std::size_t carried = signature_.carried.size();
    int number = 0;
    for (const auto& [i, dy] : incoming_) {
      const Expr next = found_[i] ? *found_[i] : full_like(dy, 0);
      body_.add_update(fmt::format("c{}", number++), next.value);
    }
    for (std::size_t i = 0; i < signature_.stacked.size(); ++i) {
      if (found_[carried + i]) output(found_[carried + i]->value);
    }
    // A rehearsal tells which stacks the sums over iterations need.
    Graph rehearsal("sums");
    const SumOverIterations sums(body_, [&](Value value) {
      if (!slice_number(body_, value)) output(value);
      return Expr{&rehearsal, rehearsal.add_input(fmt::format("{}/{}", value.node, value.result),
                                                  InputKind::batch,
                                                  stack_type(body_.type(value), backward_.length))};
    });
    for (std::size_t i = 0; i < signature_.invariant.size(); ++i) {
      const auto& found = found_[carried + signature_.stacked.size() + i];
      if (found) (void)sums.total(found->value);
    }
  }

  /// The number of a stacked operand whose slices the value is.
  static std::optional<std::size_t> slice_number(const Graph& body, Value value) {
    const Node& node = body.node(value.node);
    if (!std::holds_alternative<InputComputation>(node.op->compute)) return std::nullopt;
    const std::string& name = node.attributes.get<std::string>("name");
    if (!name.starts_with('x')) return std::nullopt;  // neither carried nor invariant
    return static_cast<std::size_t>(std::stoul(name.substr(1)));
  }

  /// What is dear in the forward body and depends on carried values becomes a slice.
  void save() {
    const SavedValues chosen = choose_saved(forward_.body, signature_, body_, moved_);
    Graph saved(body_.name());
    const auto known = [&](NodeId id) -> std::optional<Value> {
      const Node& node = body_.node(id);
      if (std::holds_alternative<InputComputation>(node.op->compute)) {
        return Value{saved.add(node, {}), 0};
      }
      const auto found = chosen.find(id);
      if (found == chosen.end()) return std::nullopt;
      saved_.push_back(found->second);
      return saved.add_input(fmt::format("x{}", slice_count_++), InputKind::batch, node.types[0]);
    };
    const Moved moved = inline_graph(body_, saved, known);
    copy_results(body_, moved, saved);
    differentiated_ = std::move(body_);
    body_ = std::move(saved);
  }

  /// The forward scan stacks the carried values before each iteration too, and what is saved.
  void keep_saved() {
    std::vector<NodeId> kept = signature_.carried;
    kept.insert(kept.end(), saved_.begin(), saved_.end());
    Graph& f = forward_.body;
    std::size_t number = f.results().size();
    std::vector<std::size_t> stacks;  // of what is kept, by number of the output
    std::size_t outputs = signature_.outputs.size();
    for (NodeId id : kept) {
      const std::optional<std::size_t> known = output_of(signature_, id);
      stacks.push_back(known ? *known : outputs++);
      if (known) continue;
      std::string name;
      const auto taken = [&](const Result& result) {
        return !result.update && result.name == name;
      };
      do {
        name = fmt::format("y{}", number++);
      } while (std::ranges::any_of(f.results(), taken));
      f.add_result(name, {id, 0});
    }
    const std::vector<Expr> results = add_scan(graph_, std::move(forward_));
    const std::size_t carried = signature_.carried.size();
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const Expr stack = results[carried + stacks[i]];
      if (i < carried) {
        backward_.stacked[i] = stack;
      } else {
        backward_.stacked.push_back(stack);
      }
    }
    stacks_ = backward_.stacked;
  }

  Cotangents collect() {
    const std::size_t carried = signature_.carried.size();
    Cotangents result(operands_.size());
    std::uint32_t next = 0;
    for (const auto& [i, dy] : incoming_) result[i] = results_[next++];
    const auto stack = [&](Value value) {
      if (const std::optional<std::size_t> number = slice_number(differentiated_, value)) {
        return stacks_[*number];
      }
      return results_[incoming_.size() + output_number_.at(value)];
    };
    for (std::size_t i = 0; i < signature_.stacked.size(); ++i) {
      const auto& found = found_[carried + i];
      if (found) result[carried + i] = results_[incoming_.size() + output_number_.at(found->value)];
    }
    const SumOverIterations sums(differentiated_, stack);
    for (std::size_t i = carried + signature_.stacked.size(); i < forward_operands(); ++i) {
      if (found_[i]) result[i] = sums.total(found_[i]->value);
    }
    result.resize(forward_operands());
    return result;
  }
  std::size_t forward_operands() const {
    return signature_.carried.size() + signature_.stacked.size() + signature_.invariant.size();
  }

  const VjpContext& c_;
  Graph& graph_;
  NodeId id_;
  Scan forward_;
  ScanSignature signature_;
  Scan backward_;
  Graph& body_;
  Graph differentiated_{""};  // the backward body before anything was saved
  int slice_count_ = 0;
  std::map<std::size_t, Expr> incoming_;  // cotangents of carried values, by number
  std::map<std::size_t, Expr> outgoing_;  // of outputs
  std::map<NodeId, Value> placed_;        // inputs of the forward body in the backward one
  std::vector<NodeId> operands_;          // those that are operands, then the position
  Moved moved_;
  std::vector<std::optional<Expr>> found_;  // by operand
  std::map<Value, std::size_t> output_number_;
  std::vector<NodeId> saved_;
  std::vector<Expr> stacks_;
  std::vector<Expr> results_;
};

Cotangents scan_vjp(const VjpContext& c) { return ScanGradient(c).build(); }

std::vector<TensorType> infer_result(const InferContext& context) { return {context.operands[0]}; }

}  // namespace

std::vector<OpRecord> scan_ops() {
  std::vector<OpRecord> ops;
  ops.push_back(
      {.name = "scan",
       .doc = "A loop of fixed length (ir/scan.h). Operands: the first carried values (states of "
              "the body with an update), stacks whose slices along axis 0 the iterations get "
              "(batch inputs), invariants (other states). Results: the last carried values, then "
              "the stacks of the body's outputs. Its gradient is a scan in the other direction. A "
              "primitive because the body is compiled once.",
       .least_operands = 0,
       .most_operands = -1,
       .attributes = {{"body", AttributeKind::graph, "One iteration."},
                      {"length", AttributeKind::integer, "The number of iterations, at least 1."},
                      {"reverse", AttributeKind::boolean, "The last slices come first.",
                       Attribute(false)}},
       .infer = infer_scan,
       .vjp = scan_vjp,
       .compute = ScanComputation{},
       .smooth = true,
       .examples = {{{"f32[3,5]", "f32[4,3,5]", "f32[5,5]"},
                     R"(body = graph "cell" {
  %0 = state "c0" : f32[3,5]
  %1 = batch "x0" : f32[3,5]
  %2 = state "w0" : f32[5,5]
  %3 = dot %0, %2 {lhs_contract = [1], rhs_contract = [0]} : f32[3,5]
  %4 = add %1, %3 : f32[3,5]
  %5 = tanh %4 : f32[3,5]
  "c0" <- %5
  "y0" = %5
}, length = 4)",
                     -1,
                     1},
                    {{"f64[20]", "f64[3,20]", "f64[20]"},
                     R"(body = graph "products" {
  %0 = state "c0" : f64[20]
  %1 = batch "x0" : f64[20]
  %2 = state "w0" : f64[20]
  %3 = scalar "t" : i64[]
  %4 = mul %1, %2 : f64[20]
  %5 = cast %3 {element = f64} : f64[]
  %6 = mul %4, %5 : f64[20]
  %7 = mul %0, %6 : f64[20]
  %8 = add %7, %1 : f64[20]
  "c0" <- %8
  "y0" = %6
  "y1" = %0
}, length = 3, reverse = true)",
                     -1,
                     1}}});
  ops.push_back({.name = "result_of",
                 .doc = "x itself: a result of a scan as a value of its own. Lowering adds it.",
                 .infer = infer_result,
                 .vjp = [](const VjpContext& c) { return Cotangents{c.dy}; },
                 .compute = ResultComputation{},
                 .smooth = true,
                 .examples = {{{"f32[3,5]"}}}});
  return ops;
}

}  // namespace gradus::ir
