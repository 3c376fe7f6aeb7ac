#pragma once

// The layer registry: one record per layer. The checker, the resolved file, the reference and the
// tests follow from it.

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/options.h"
#include "frontend/streams.h"
#include "ir/compositions/initialisers.h"
#include "ir/expr.h"
#include "ir/op.h"

namespace gradus::frontend {

/// A tensor of a layer's own, "hidden/kernel": trained, or a statistic that training keeps up to
/// date.
struct ParameterSpec {
  std::string name;
  TensorType type;
  const ir::Initialiser* initialiser = nullptr;
  std::vector<double> initialiser_parameters;
  double l1 = 0;  // the loss grows by l1 * sum |w| + l2 * sum w^2
  double l2 = 0;
  ir::Provenance provenance;  // its layer
  bool trained = true;

  [[nodiscard]] const SourceLocation& where() const {
    return provenance.entries().front().origin->where;
  }
};

/// What is wrong with a layer's inputs, to be completed with the layer's name and place.
class LayerError : public std::runtime_error {
 public:
  LayerError(const std::string& message, std::string advice = {})
      : std::runtime_error(message), hint(std::move(advice)) {}
  std::string hint;
};

/// A layer's input as the layer and messages about it see it.
struct LayerInput {
  std::string name;
  std::uint32_t line = 0;  // where it is made
  ir::Expr value;          // with the leading batch axis

  /// "'hidden' (line 7) gives f32[16]", with the type of one example.
  [[nodiscard]] std::string describe() const;
};

/// Seed and step of the random ops, as the state inputs of that name.
[[nodiscard]] ir::Expr counter_input(ir::Graph& graph, const std::string& name);

/// The type of one example: without the batch axis.
[[nodiscard]] TensorType example_type(const TensorType& type);

/// Product of the extents, exact up to 2^53, without overflow.
[[nodiscard]] double size_of(const Shape& shape);

/// What a training step makes of a statistic.
struct StatisticUpdate {
  std::string name;
  ir::Expr value;
  ir::Provenance provenance;
};

/// What a layer builds with.
struct LayerBuilder {
  ir::Graph& graph;
  const Settings& settings;
  std::string path;
  SourceLocation where;
  bool training;
  std::int64_t batch;
  std::vector<LayerInput> inputs;
  Streams& streams;
  std::vector<ParameterSpec>& parameters;
  std::vector<StatisticUpdate>& updates;

  /// The first input.
  [[nodiscard]] ir::Expr x() const { return inputs.at(0).value; }
  /// State input `<path>/<name>`, initialised as setting `<name>_initializer` says. Throws
  /// LayerError when it is too large.
  ir::Expr parameter(const std::string& name, Shape shape, double l1 = 0, double l2 = 0);
  /// As parameter, for a state that is not trained.
  ir::Expr statistic(const std::string& name, Shape shape);
  /// In training: the statistic's next value.
  void update(const std::string& name, ir::Expr value);
  /// Applies the activation that setting `name` chooses.
  [[nodiscard]] ir::Expr activate(ir::Expr value, std::string_view name) const;
};

struct Layer {
  std::string name;
  std::string doc;
  int least_inputs;
  int most_inputs;  // -1: any number
  std::vector<Option> options;
  /// Throws LayerError, or TypeError from the graph.
  ir::Expr (*build)(LayerBuilder& b);
  /// An instance: the layer's JSON object and the types of its inputs for one example. The
  /// reference shows it, the tests run it.
  std::string example;
  std::vector<std::string> example_inputs;
};
[[nodiscard]] std::span<const Layer> layers();
/// Null when there is none of that name.
[[nodiscard]] const Layer* find_layer(std::string_view name);

/// The options of the layer {"op": name, ...}: the op's attributes. A shape or limit may say
/// "batch"; a stream has a default.
[[nodiscard]] std::vector<Option> op_options(const ir::OpRecord& op);
/// The op on the layer's inputs, batch axis included. Throws LayerError, or TypeError.
[[nodiscard]] ir::Expr build_op(LayerBuilder& b, const ir::OpRecord& op);

}  // namespace gradus::frontend
