#pragma once

// The layer registry: one record per layer. The checker, the reference and the tests follow from it.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/reader.h"
#include "ir/compositions/initialisers.h"
#include "ir/expr.h"

namespace gradus::frontend {

/// A trainable tensor: "hidden/kernel".
struct ParameterSpec {
  std::string name;
  TensorType type;
  const ir::Initialiser* initialiser = nullptr;
  std::vector<double> initialiser_parameters;
  double l1 = 0;
  double l2 = 0;
  ir::Provenance provenance;
};

/// The number that tells the random sequences of `path` apart: 32 bits of a hash.
[[nodiscard]] std::int64_t stream_of(const std::string& path);

/// What a layer builds with.
class LayerBuilder {
 public:
  LayerBuilder(ir::Graph& in_graph, ObjectReader& from, std::string layer_path, bool for_training,
               std::vector<ir::Expr> values, std::vector<ParameterSpec>& parameters)
      : graph(in_graph), reader(from), path(std::move(layer_path)), training(for_training),
        inputs(std::move(values)), parameters_(parameters) {}

  /// The only input; throws TypeError when there are several.
  [[nodiscard]] ir::Expr input() const;
  /// State input `<path>/<name>`, initialised as JSON key `key` says.
  ir::Expr parameter(const std::string& name, Shape shape, std::string_view key,
                     std::string_view default_initialiser, double l1 = 0, double l2 = 0);
  /// Applies the activation of JSON key "activation".
  ir::Expr activate(ir::Expr x, std::string_view key = "activation");
  /// seed and step, the operands of random ops.
  [[nodiscard]] ir::Expr seed() const;
  [[nodiscard]] ir::Expr step() const;

  ir::Graph& graph;
  ObjectReader& reader;
  std::string path;
  bool training;
  std::vector<ir::Expr> inputs;  // with the leading batch axis

 private:
  std::vector<ParameterSpec>& parameters_;
};

struct Layer {
  std::string_view name;
  std::string_view doc;
  ir::Expr (*build)(LayerBuilder& b);
};
[[nodiscard]] std::span<const Layer> layers();
[[nodiscard]] const Layer* find_layer(std::string_view name);

/// The layer {"op": name, ...}: any op, its attributes as JSON. Throws TypeError.
ir::Expr build_op_layer(LayerBuilder& b, const std::string& op);

}  // namespace gradus::frontend
