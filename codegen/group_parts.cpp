// Where GroupLoops has the parts of a value that is nothing but its parts: in the value's memory,
// so that no loop has to put them there.

#include <algorithm>

#include "base/check.h"
#include "codegen/body.h"
#include "codegen/group_loops.h"
#include "ir/op.h"

namespace gradus::codegen {

using ir::NodeId;

namespace {

/// A part of a value: its element p is the value's element index(p), whose axes are the part's.
struct Part {
  NodeId value = 0;
  std::vector<Affine> index;
};

/// x as a function of p where p is map(x); none where that is not one axis of its own.
std::optional<std::pair<std::size_t, Affine>> inverse(const ir::AxisMap& map, AxisId axis) {
  if (map.terms.size() != 1 || map.terms[0].coefficient != 1) return std::nullopt;
  return std::pair(static_cast<std::size_t>(map.terms[0].axis),
                   Affine{{{axis, map.divisor}}, -map.offset, 1});
}

/// `index`, of one axis or none, where its axes are `inner`.
Affine substituted(const Affine& index, const std::vector<Affine>& inner) {
  GRADUS_CHECK(index.terms.size() <= 1, "a place in the whole that depends on two axes");
  Affine result{{}, index.offset, 1};
  for (const Term& term : index.terms) {
    const Affine& at = inner[static_cast<std::size_t>(term.axis)];
    result.divisor = at.divisor;
    result.offset = result.offset * at.divisor + term.coefficient * at.offset;
    for (const Term& t : at.terms) {
      result.terms.push_back({t.axis, term.coefficient * t.coefficient});
    }
  }
  return result;
}

/// The operands of which a movement consists, each element of each once; none where it repeats or
/// drops any, or has others.
std::vector<Part> parts_of(const ir::Graph& graph, const Part& whole) {
  const ir::Node& node = graph.node(whole.value);
  const bool moves = std::holds_alternative<ir::MovementComputation>(node.op->compute) ||
                     (std::holds_alternative<ir::ViewComputation>(node.op->compute) &&
                      passes::access_of(graph, whole.value) == passes::Access::light);
  if (!moves) return {};
  const std::vector<ir::Value>& operands = graph.operands(whole.value);
  const std::vector<ir::IndexMap> maps = passes::operand_maps(graph, whole.value);
  std::int64_t elements = 0;
  std::vector<Part> parts;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const Shape& shape = graph.type(operands[i]).shape;
    elements += element_count(shape);
    std::vector<Affine> inner(node.types[0].shape.size());  // by axis of the whole
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] == 1 && maps[i][axis].terms.empty()) continue;
      const auto at = inverse(maps[i][axis], static_cast<AxisId>(axis));
      if (!at || !inner[at->first].terms.empty()) return {};
      inner[at->first] = at->second;
    }
    Part& part = parts.emplace_back(Part{operands[i].node, {}});
    for (const Affine& index : whole.index) part.index.push_back(substituted(index, inner));
  }
  if (elements != element_count(node.types[0].shape)) return {};
  return parts;
}

/// Whether neighbours in the part's rows are neighbours in the whole, whose axes come in order.
bool keeps_rows(const Part& part, const Shape& shape, const Shape& whole) {
  AxisId last = -1;
  std::int64_t coefficient = 1;  // along the innermost axis
  for (std::size_t d = 0; d < whole.size(); ++d) {
    if (whole[d] == 1) continue;
    if (part.index[d].terms.empty()) return false;
    if (part.index[d].terms[0].axis <= last) return false;
    last = part.index[d].terms[0].axis;
    coefficient = part.index[d].terms[0].coefficient;
  }
  return coefficient == 1 && std::all_of(shape.begin() + last + 1, shape.end(),
                                         [](std::int64_t extent) { return extent == 1; });
}

}  // namespace

/// Finds the values all of whose parts are computed by this group, for nobody else.
void GroupLoops::find_parts() {
  for (NodeId whole : group_.roots) {
    if (!is_output(whole) || !is_light(whole) || plan_.in_place.contains(whole)) continue;
    const Shape& shape = graph_.node(whole).types[0].shape;
    Part all{whole, {}};
    for (AxisId axis = 0; axis < std::ssize(shape); ++axis) {
      all.index.push_back({{{axis, 1}}, 0, 1});
    }
    std::vector<Part> open{all}, found;
    bool possible = true;
    while (!open.empty() && possible) {
      const Part part = std::move(open.back());
      open.pop_back();
      if (part.value != whole && plan_.roots.contains(part.value)) {
        possible = in_group(part.value) && may_be_part(part.value, whole) &&
                   keeps_rows(part, graph_.node(part.value).types[0].shape, shape) &&
                   std::ranges::none_of(
                       found, [&](const Part& other) { return other.value == part.value; });
        found.push_back(part);
        continue;
      }
      std::vector<Part> inside = parts_of(graph_, part);
      possible = !inside.empty();
      open.insert(open.end(), inside.begin(), inside.end());
    }
    if (!possible) continue;
    assembled_.insert(whole);
    for (Part& part : found) parts_.emplace(part.value, PartOf{whole, std::move(part.index)});
  }
}

/// Whether the root is computed for `whole` alone, element by element.
bool GroupLoops::may_be_part(NodeId id, NodeId whole) const {
  if (is_output(id) || passes::is_tile_op(graph_, id) || passes::runs_in_order(graph_, id)) {
    return false;
  }
  return std::ranges::all_of(group_.roots, [&](NodeId reader) {
    return reader == whole ||
           std::ranges::none_of(plan_.roots.at(reader).roots,
                                [&](const passes::Read& read) { return read.value == id; });
  });
}

std::optional<std::pair<NodeId, std::vector<Affine>>> GroupLoops::place_in_whole(
    NodeId id, const std::vector<Affine>& index) const {
  const auto part = parts_.find(id);
  if (part == parts_.end()) return std::nullopt;
  std::vector<Affine> place;
  for (const Affine& along : part->second.index) place.push_back(substituted(along, index));
  return std::pair(part->second.whole, std::move(place));
}

}  // namespace gradus::codegen
