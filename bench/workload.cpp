#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/problem.h"
#include "ir/compositions/activations.h"
#include "ir/compositions/attention.h"
#include "ir/compositions/optimizers.h"
#include "ir/expr.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/differentiate.h"

namespace gradus::bench {
namespace {

using ir::Expr;
using ir::InputKind;

Expr input(ir::Graph& graph, std::string name, Shape shape, InputKind kind = InputKind::batch) {
  return {&graph, graph.add_input(std::move(name), kind, {ElementType::f32, std::move(shape)})};
}

/// The constant 1, repeated.
bool is_one(Expr x) {
  const ir::Node& node = x.graph->node(x.value.node);
  if (node.op->name == "broadcast") {
    return is_one({x.graph, x.graph->operands(x.value.node)[0]});
  }
  const ir::Attribute* value = node.attributes.find("value");
  if (value == nullptr || !std::holds_alternative<ir::TensorPointer>(*value)) return false;
  return *std::get<ir::TensorPointer>(*value) == Tensor::scalar(ElementType::f32, 1.0f);
}

/// Adds the gradients of y, after which no earlier Expr counts, for the cotangent "dy" as results.
/// The cotangent of the sum that they come from, 1, is left out where it is multiplied: a training
/// step has none there.
void add_gradients(Expr y, std::initializer_list<std::pair<const char*, Expr>> of) {
  ir::Graph& graph = *y.graph;
  std::vector<Expr> values;
  for (const auto& [name, value] : of) values.push_back(value);
  const Expr loss = ir::sum_all(y * input(graph, "dy", y.shape()));
  const std::vector<Expr> found = passes::gradients(loss, values);
  for (std::size_t i = 0; const auto& [name, value] : of) {
    graph.add_result(fmt::format("d{}", name), found[i++].value);
  }
  graph = ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<Expr> {
    if (c.node.op->name != "mul") return std::nullopt;
    if (is_one(c.operands[0])) return c.operands[1];
    return is_one(c.operands[1]) ? std::optional(c.operands[0]) : std::nullopt;
  });
}

/// y[m,n] = lhs[m,k] rhs[k,n]; the one that `transposed` names is there with its axes exchanged.
Workload contraction(const Problem& problem) {
  const std::int64_t m = problem.integer("m");
  const std::int64_t n = problem.integer("n");
  const std::int64_t k = problem.integer("k");
  const std::string transposed = problem.text("transposed", "none");
  Workload work{.graph = ir::Graph(problem.name())};
  const bool lhs_transposed = transposed == "lhs";
  const bool rhs_transposed = transposed == "rhs";
  if (!lhs_transposed && !rhs_transposed && transposed != "none") {
    throw ProblemError("transposed is none, lhs or rhs, not " + transposed);
  }
  const Expr lhs = input(work.graph, "lhs", lhs_transposed ? Shape{k, m} : Shape{m, k});
  const Expr rhs = input(work.graph, "rhs", rhs_transposed ? Shape{n, k} : Shape{k, n});
  const Expr y = ir::dot(lhs, rhs, {{}, {}, {lhs_transposed ? 0 : 1}, {rhs_transposed ? 1 : 0}});
  work.graph.add_result("y", y.value);
  work.operations = 2.0 * static_cast<double>(m * n * k);
  return work;
}

/// Windows of window x window places on images of size x size, with zeros around them so that at
/// stride 1 the images keep their size. With groups features are [groups, features of one].
Workload convolution(const Problem& problem) {
  const std::int64_t batch = problem.integer("batch");
  const std::int64_t size = problem.integer("size");
  const std::int64_t window = problem.integer("window");
  const std::int64_t stride = problem.integer("stride", 1);
  const std::int64_t groups = problem.integer("groups", 1);
  const std::int64_t in = problem.integer("in") / groups;
  const std::int64_t out = problem.integer("out") / groups;
  Workload work{.graph = ir::Graph(problem.name())};
  const bool grouped = groups > 1;
  const auto shape = [&](Shape axes, std::int64_t features) {
    if (grouped) axes.push_back(groups);
    axes.push_back(features);
    return axes;
  };
  const Expr x = input(work.graph, "x", shape({batch, size, size}, in));
  Shape taps{window, window};
  if (grouped) taps.push_back(groups);
  taps.insert(taps.end(), {in, out});
  const Expr w = input(work.graph, "w", taps, InputKind::state);
  ir::ConvolutionAxes axes{
      0, grouped ? 4 : 3, grouped ? 3 : 2, grouped ? 4 : 3, grouped ? 3 : -1, grouped ? 2 : -1, {}};
  const std::int64_t around = (window - 1) / 2;
  axes.spatial = {{1, 0, stride, around, around}, {2, 1, stride, around, around}};
  const std::string algorithm = problem.text("algorithm", "direct");
  const auto named = std::ranges::find_if(
      ir::kConvolutionAlgorithms, [&](auto known) { return algorithm == to_string(known); });
  if (named == std::end(ir::kConvolutionAlgorithms)) {
    throw ProblemError("algorithm is direct, winograd_2x2 or winograd_4x4, not " + algorithm);
  }
  axes.algorithm = *named;
  const Expr y = ir::conv(x, w, axes);
  work.operations = 2.0 * static_cast<double>(element_count(y.shape()) * window * window * in);
  const std::string direction = problem.text("direction", "forward");
  if (direction == "forward") {
    work.graph.add_result("y", y.value);
  } else if (direction == "input") {
    add_gradients(y, {{"x", x}});
  } else if (direction == "weight") {
    add_gradients(y, {{"w", w}});
  } else {
    throw ProblemError("direction is forward, input or weight, not " + direction);
  }
  return work;
}

/// The whole of `y`, or its gradients.
void add_direction(const Problem& problem, Expr y,
                   std::initializer_list<std::pair<const char*, Expr>> of) {
  const std::string direction = problem.text("direction", "forward");
  if (direction == "forward") {
    y.graph->add_result("y", y.value);
  } else if (direction == "backward") {
    add_gradients(y, of);
  } else {
    throw ProblemError("direction is forward or backward, not " + direction);
  }
}

Workload rows(const Problem& problem) {
  Workload work{.graph = ir::Graph(problem.name()), .limit = Limit::memory, .size_key = "rows"};
  const Shape shape{problem.integer("rows"), problem.integer("columns")};
  const Shape width{shape[1]};
  const Expr x = input(work.graph, "x", shape);
  if (problem.kind() == "softmax") {
    add_direction(problem, ir::softmax(x), {{"x", x}});
    return work;
  }
  const Expr scale = input(work.graph, "scale", width, InputKind::state);
  const Expr shift = input(work.graph, "shift", width, InputKind::state);
  const auto along_rows = [&](Expr of) { return ir::broadcast(of, shape, {1}); };
  Expr y = x;
  if (problem.kind() == "layer_norm") {
    y = ir::normalize_rows(x, 1e-5) * along_rows(scale) + along_rows(shift);
  } else {
    const ir::Activation* activation = ir::find_activation(problem.text("activation"));
    if (activation == nullptr) throw ProblemError("no activation " + problem.text("activation"));
    y = activation->build(x * along_rows(scale) + along_rows(shift)) +
        input(work.graph, "residual", shape);
  }
  add_direction(problem, y, {{"x", x}, {"scale", scale}, {"shift", shift}});
  return work;
}

/// What `t` queries take of as many values, in each head by itself; `causal`: query i of keys up to
/// i only. Backward computes the scores again, as a training step does that keeps none.
Workload attention(const Problem& problem) {
  const std::int64_t t = problem.integer("t");
  const std::int64_t heads = problem.integer("heads");
  const std::int64_t width = problem.integer("width");
  const std::string causal = problem.text("causal");
  if (causal != "yes" && causal != "no") {
    throw ProblemError("causal is yes or no, not " + causal);
  }
  Workload work{.graph = ir::Graph(problem.name())};
  const Shape shape{1, t, heads, width};
  const Expr q = input(work.graph, "q", shape);
  const Expr k = input(work.graph, "k", shape);
  const Expr v = input(work.graph, "v", shape);
  ir::AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(width));
  options.causal = causal == "yes";
  const Expr y = ir::scaled_dot_product_attention(q, k, v, options);
  add_direction(problem, y, {{"q", q}, {"k", k}, {"v", v}});
  const std::int64_t pairs = heads * (options.causal ? t * (t + 1) / 2 : t * t);
  // Scores and what is taken; scores and the gradients of weights, values, queries and keys.
  const std::int64_t products = problem.text("direction", "forward") == "forward" ? 2 : 5;
  work.operations = 2.0 * static_cast<double>(products * pairs * width);
  return work;
}

Workload optimizer(const Problem& problem) {
  const ir::Optimizer* method = ir::find_optimizer(problem.text("method"));
  if (method == nullptr) throw ProblemError("no optimizer " + problem.text("method"));
  Workload work{.graph = ir::Graph(problem.name()), .limit = Limit::memory, .size_key = "elements"};
  ir::Graph& graph = work.graph;
  const Shape shape{problem.integer("elements")};
  std::vector<double> hyper;
  for (const ir::Hyperparameter& h : method->hyperparameters) hyper.push_back(h.default_value);
  std::vector<Expr> slots;
  for (const ir::Slot& slot : method->slots) {
    slots.push_back(input(graph, std::string(slot.name), shape, InputKind::state));
  }
  const Expr step{&graph, graph.add_input("step", InputKind::batch, {ElementType::i64, {}})};
  const ir::Update update =
      method->build({input(graph, "w", shape, InputKind::state), input(graph, "g", shape), slots,
                     ir::constant(graph, ElementType::f64, method->learning_rate), step, hyper});
  graph.add_update("w", update.parameter.value);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    graph.add_update(std::string(method->slots[i].name), update.slots[i].value);
  }
  return work;
}

/// Row by row a number for each of `shape`'s rows.
Expr given(ir::Graph& graph, std::string name, const Shape& shape) {
  return ir::broadcast(input(graph, std::move(name), {shape[0]}), shape, {0});
}

/// Adds the reduction of x along rows as a result.
void reduced(std::string name, const char* how, Expr x) {
  x.graph->add_result(std::move(name), ir::reduce(how, x, {1}).value);
}

Expr softmax_arithmetic(Expr x, bool backward) {
  ir::Graph& graph = *x.graph;
  const Expr e = ir::map("exp", x - given(graph, "top", x.shape()));
  const Expr y = e * given(graph, "inverse", x.shape());
  reduced("maximum", "reduce_max", x);
  reduced("total", "sum", e);
  if (!backward) return y;
  const Expr dy = input(graph, "dy", x.shape());
  reduced("product", "sum", dy * y);
  return (dy - given(graph, "mean", x.shape())) * y;
}

Expr layer_norm_arithmetic(Expr x, bool backward) {
  ir::Graph& graph = *x.graph;
  const Expr scale = ir::broadcast(input(graph, "scale", {x.shape()[1]}), x.shape(), {1});
  const Expr inverse = given(graph, "inverse", x.shape());
  const Expr d = x - given(graph, "mean", x.shape());
  const Expr normal = d * inverse;
  reduced("total", "sum", x);
  reduced("squares", "sum", d * d);
  if (!backward) {
    return normal * scale + ir::broadcast(input(graph, "shift", {x.shape()[1]}), x.shape(), {1});
  }
  const Expr dy = input(graph, "dy", x.shape());
  const Expr scaled = dy * scale;
  reduced("total dy", "sum", scaled);
  reduced("product", "sum", scaled * normal);
  graph.add_result("dscale", ir::reduce("sum", dy * normal, {0}).value);
  graph.add_result("dshift", ir::reduce("sum", dy, {0}).value);
  return (scaled - given(graph, "mean dy", x.shape()) - normal * given(graph, "part", x.shape())) *
         inverse;
}

Workload graph_of(const Problem& problem) {
  if (problem.kind() == "contraction") return contraction(problem);
  if (problem.kind() == "convolution") return convolution(problem);
  if (problem.kind() == "attention") return attention(problem);
  if (problem.kind() == "optimizer") return optimizer(problem);
  if (problem.kind() == "softmax" || problem.kind() == "layer_norm" || problem.kind() == "chain") {
    return rows(problem);
  }
  throw ProblemError("no kind of problem '" + problem.kind() + "'");
}

/// Counts bytes and elements.
Workload counted(Workload work) {
  const std::vector<bool> live = work.graph.live();
  for (ir::NodeId id : work.graph.inputs()) {
    if (!live[id]) continue;
    work.footprint += work.graph.node(id).types[0].byte_size();
  }
  work.bytes = static_cast<double>(work.footprint);
  work.in_place = true;
  for (const ir::Result& result : work.graph.results()) {
    const TensorType& type = work.graph.type(result.value);
    const std::int64_t bytes = type.byte_size();
    work.elements = std::max(work.elements, static_cast<double>(type.element_count()));
    work.bytes += static_cast<double>(bytes);
    if (!result.update) work.footprint += bytes;
    work.in_place = work.in_place && result.update;
  }
  return work;
}

}  // namespace

Workload workload_of(const Problem& problem) { return counted(graph_of(problem)); }

Workload arithmetic_of(const Problem& problem) {
  Workload work = graph_of(problem);
  const bool softmax = problem.kind() == "softmax";
  if (!softmax && problem.kind() != "layer_norm") return counted(std::move(work));
  const double bytes = counted(graph_of(problem)).bytes;
  work.graph = ir::Graph(problem.name());
  const Expr x = input(work.graph, "x", {problem.integer("rows"), problem.integer("columns")});
  const bool backward = problem.text("direction", "forward") == "backward";
  const Expr y = softmax ? softmax_arithmetic(x, backward) : layer_norm_arithmetic(x, backward);
  work.graph.add_result("y", y.value);
  work = counted(std::move(work));
  work.bytes = bytes;
  return work;
}

}  // namespace gradus::bench
