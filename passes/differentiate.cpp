#include "passes/differentiate.h"

#include "ir/reverse_mode.h"

namespace gradus::passes {

using ir::Expr;

std::vector<Expr> gradients(Expr loss, std::span<const Expr> with_respect_to) {
  ir::Graph& graph = *loss.graph;
  if (loss.rank() != 0 || !is_float(loss.element())) {
    throw ir::TypeError("a loss is a float scalar, found " + to_string(loss.type()));
  }
  const ir::Seed seed{loss, ir::constant(graph, loss.element(), 1)};
  const std::vector<std::optional<Expr>> found =
      ir::cotangents(graph, std::span(&seed, 1), with_respect_to);
  std::vector<Expr> result;
  for (std::size_t i = 0; i < found.size(); ++i) {
    result.push_back(found[i] ? *found[i] : ir::full_like(with_respect_to[i], 0));
  }
  return result;
}

}  // namespace gradus::passes
