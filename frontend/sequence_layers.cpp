#include <fmt/format.h>

#include "frontend/layer_families.h"
#include "ir/compositions/attention.h"
#include "ir/compositions/indexing.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

constexpr const char* kEmbeddingsInitializer = "uniform";

Expr embedding(LayerBuilder& b) {
  need_indices(b);
  const Shape shape{b.settings.integer("input_dim"), b.settings.integer("output_dim")};
  const std::string& tied = b.settings.text("tied_to");
  const Expr table = tied.empty()
                         ? b.parameter("embeddings", shape)
                         : embedding_table(b, tied, shape, "embeddings", kEmbeddingsInitializer);
  const Expr rows = ir::gather(table, b.x(), 0);
  const double scale = b.settings.number("scale");
  return scale == 1 ? rows : b.map_rows(rows, [&](Expr x) { return x * scale; });
}

Expr one_hot(LayerBuilder& b) {
  need_indices(b);
  const std::int64_t classes = b.settings.integer("classes");
  if (b.x().element() == ElementType::u8 && classes > 256) {
    throw LayerError(fmt::format("has {} classes, but {}", classes, b.inputs[0].describe()));
  }
  const Expr index = b.x().element() == ElementType::u8 ? ir::cast(b.x(), ElementType::i32) : b.x();
  return ir::one_hot(index, classes, ElementType::f32);
}

/// The input, [batch, positions, features], plus `table`, [positions, features].
Expr plus_positions(const LayerBuilder& b, Expr table) {
  return b.x() + ir::broadcast(b.at_positions(table), b.x().shape(), {1, 2});
}

Expr positional_embedding(LayerBuilder& b) {
  need_sequence(b);
  return plus_positions(b, b.parameter("embeddings", {b.positions_of(b.x()), b.x().shape()[2]}));
}

Expr sinusoidal_positions(LayerBuilder& b) {
  need_sequence(b);
  return plus_positions(b, ir::sinusoidal_positions(b.graph, b.positions_of(b.x()),
                                                    b.x().shape()[2], b.settings.number("base")));
}

Expr class_token(LayerBuilder& b) {
  need_sequence(b);
  const Shape& shape = b.x().shape();
  const Expr row = b.parameter("token", {shape[2]});
  const std::vector<Expr> parts{ir::broadcast(row, {shape[0], 1, shape[2]}, {2}), b.x()};
  return ir::concat(parts, 1);
}

}  // namespace

std::vector<Layer> sequence_layers() {
  const Option base = number_option(
      "base", 10000.0, "Position p turns pair i by p / base^(2 i / features).", {1, 1e12});
  return {
      {"embedding",
       "The row of a trained table that each index names; its gradient adds up, row by row.",
       1,
       1,
       {integer_option("input_dim", {}, "Rows: how many indices there are.", {1, 2147483647.0}),
        integer_option("output_dim", {}, "Features of a row.", {1, 1e9}),
        text_option("tied_to", std::string(),
                    "Name of an embedding whose table this one reads; its own when absent."),
        number_option("scale", 1.0, "What the row is multiplied by.", {0, 1e9}),
        initializer_option("embeddings", kEmbeddingsInitializer)},
       embedding,
       R"({"layer": "embedding", "input_dim": 50, "output_dim": 3})",
       {"i32[4]"},
       Decodes::elements},
      {"one_hot",
       "1 at the index along a new last axis, else 0; an index that is not there is a fault.",
       1,
       1,
       {integer_option("classes", {}, "Extent of the new axis.", {1, 2147483647.0})},
       one_hot,
       R"({"layer": "one_hot", "classes": 4})",
       {"i32[5]"},
       Decodes::elements},
      {"positional_embedding",
       "Adds a trained row per position.",
       1,
       1,
       {initializer_option("embeddings", "uniform")},
       positional_embedding,
       R"({"layer": "positional_embedding"})",
       {"f32[3,4]"},
       Decodes::by_position},
      {"class_token",
       "A trained row before the first position, the same for every example.",
       1,
       1,
       {initializer_option("token", "zeros")},
       class_token,
       R"({"layer": "class_token"})",
       {"f32[3,4]"}},
      {"sinusoidal_positions",
       "Adds sines, in the first half of the features, and cosines of the position (Vaswani et al. "
       "2017, in halves).",
       1,
       1,
       {base},
       sinusoidal_positions,
       R"({"layer": "sinusoidal_positions"})",
       {"f32[3,4]"},
       Decodes::by_position},
  };
}

}  // namespace gradus::frontend
