// Restricting a graph to some elements of its results: from the results to the inputs, every value
// is asked for by boxes. An elementwise op asks its operands for the same box, a contraction for
// the box's rows and columns of its matrices, a sum for the box with the summed axes whole, a
// reshape that only adds or drops axes of extent 1 for the others. All other ops compute the whole
// value, of which a slice is taken. Orders of sums (ir/order.h) know the summed extents only, so
// the bits are those of the whole graph.

#include "bench/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>

#include "base/overloaded.h"
#include "ir/convolution.h"
#include "ir/expr.h"
#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/order.h"

namespace gradus::bench {
namespace {

using ir::Expr;
using ir::Integers;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

bool contains(const Integers& axes, std::int64_t axis) {
  return std::ranges::find(axes, axis) != axes.end();
}

class Restriction {
 public:
  Restriction(const ir::Graph& from, ir::Graph& to) : from_(from), to_(to) {}

  Expr value(ir::Value value, const Box& box) {
    if (box.extent == from_.type(value).shape) return whole(value);
    const auto key = std::tuple(value, box.start, box.extent);
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    std::optional<Expr> result = restricted(value, box);
    if (!result) result = part_of(whole(value), box);
    return known_.emplace(key, *result).first->second;
  }

 private:
  Expr whole(ir::Value value) {
    const auto [place, is_new] = whole_.try_emplace(value.node, 0);
    if (is_new) {
      const ir::Node& node = from_.node(value.node);
      std::vector<ir::Value> operands;
      for (ir::Value operand : from_.operands(value.node)) operands.push_back(whole(operand).value);
      whole_[value.node] = to_.add(*node.op, operands, node.attributes);
    }
    return {&to_, {whole_.at(value.node), value.result}};
  }

  static Expr part_of(Expr x, const Box& box) {
    if (box.extent == x.shape()) return x;
    Integers limit = box.start;
    for (std::size_t i = 0; i < limit.size(); ++i) limit[i] += box.extent[i];
    return ir::slice(x, box.start, limit, Integers(limit.size(), 1));
  }

  /// Empty where the op's value is needed whole.
  std::optional<Expr> restricted(ir::Value value, const Box& box) {
    const ir::Node& node = from_.node(value.node);
    const std::vector<ir::Value> operands = from_.operands(value.node);
    return std::visit(
        overloaded{
            [&](const ir::ElementwiseComputation&) { return elementwise(node, operands, box); },
            [&](const ir::MovementComputation&) { return moved(node, operands, box); },
            [&](const ir::ViewComputation&) { return viewed(node, operands, box); },
            [&](const ir::ReductionComputation&) { return reduction(node, operands, box); },
            [&](const ir::ContractionComputation& compute) {
              return compute.parts ? std::nullopt : contraction(node, operands, box);
            },
            [&](const ir::ConvolutionComputation&) { return convolution(node, operands, box); },
            [](const auto&) { return std::optional<Expr>(); }},
        node.op->compute);
  }

  std::optional<Expr> elementwise(const ir::Node& node, const std::vector<ir::Value>& operands,
                                  const Box& box) {
    // An op that no operand gives its shape knows it, and the elements' places, by an attribute.
    const auto has_shape = [&](ir::Value x) { return from_.type(x).shape == node.types[0].shape; };
    if (std::ranges::none_of(operands, has_shape)) return std::nullopt;
    std::vector<Expr> parts;
    for (ir::Value x : operands) parts.push_back(has_shape(x) ? value(x, box) : whole(x));
    return ir::apply(node.op->name, parts, node.attributes);
  }

  std::optional<Expr> moved(const ir::Node& node, const std::vector<ir::Value>& operands,
                            const Box& box) {
    Box part;
    if (node.op->name == "broadcast") {
      const Integers& axes = node.attributes.get<Integers>("axes");
      for (std::int64_t axis : axes) add_axis(part, box.start[at(axis)], box.extent[at(axis)]);
      return ir::broadcast(value(operands[0], part), box.extent, axes);
    }
    if (node.op->name == "transpose") {
      const Integers& permutation = node.attributes.get<Integers>("permutation");
      part = box;
      for (std::size_t i = 0; i < permutation.size(); ++i) {
        part.start[at(permutation[i])] = box.start[i];
        part.extent[at(permutation[i])] = box.extent[i];
      }
      return ir::transpose(value(operands[0], part), permutation);
    }
    return std::nullopt;
  }

  std::optional<Expr> reduction(const ir::Node& node, const std::vector<ir::Value>& operands,
                                const Box& box) {
    const Integers& axes = node.attributes.get<Integers>("axes");
    const Shape& shape = from_.type(operands[0]).shape;
    Box part;
    for (std::int64_t axis = 0, kept = 0; at(axis) < shape.size(); ++axis) {
      const bool disappears = contains(axes, axis);
      add_axis(part, disappears ? 0 : box.start[at(kept)],
               disappears ? shape[at(axis)] : box.extent[at(kept)]);
      kept += disappears ? 0 : 1;
    }
    return ir::apply(node.op->name, {value(operands[0], part)}, node.attributes);
  }

  std::optional<Expr> viewed(const ir::Node& node, const std::vector<ir::Value>& operands,
                             const Box& box) {
    const Shape& shape = from_.type(operands[0]).shape;
    const auto long_axes = [](const Shape& of) {
      Shape result;
      std::ranges::copy_if(of, std::back_inserter(result), [](auto extent) { return extent != 1; });
      return result;
    };
    if (node.op->name != "reshape" || long_axes(shape) != long_axes(node.types[0].shape)) {
      return std::nullopt;
    }
    Box part;
    std::size_t next = 0;  // axis of the result
    for (std::int64_t extent : shape) {
      if (extent != 1) {
        while (node.types[0].shape[next] == 1) ++next;
      }
      add_axis(part, extent == 1 ? 0 : box.start[next], extent == 1 ? 1 : box.extent[next]);
      if (extent != 1) ++next;
    }
    return ir::reshape(value(operands[0], part), box.extent);
  }

  /// Makes the box longer, from its last axis to axis `first`, until a contraction has results
  /// enough to be chains.
  template <typename Results>
  static void grow(Box& box, const Shape& shape, std::size_t first, const Results& results) {
    for (std::size_t axis = box.extent.size(); axis-- > first;) {
      while (results() < ir::kSmallContraction && box.extent[axis] < shape[axis]) {
        box.extent[axis] = std::min(2 * box.extent[axis], shape[axis]);
        box.start[axis] = std::min(box.start[axis], shape[axis] - box.extent[axis]);
      }
    }
  }

  /// A box with `box` inside whose elements are computed as those of the whole `shape` are, whose
  /// first axes are `batches` of a batch: chains where the whole has results enough for them.
  static Box grown(Box box, const Shape& shape, std::size_t batches) {
    const auto results = [&](const Shape& of) {
      return element_count({of.begin() + static_cast<std::ptrdiff_t>(batches), of.end()});
    };
    if (results(shape) >= ir::kSmallContraction) {
      grow(box, shape, batches, [&] { return results(box.extent); });
    }
    return box;
  }

  /// The half-plane of a product's matrices as those of a box have it, which begin elsewhere.
  static ir::Integers half_plane_in(const ir::Node& node, const Box& box) {
    std::optional<ir::HalfPlane> counted = ir::half_plane(node.attributes);
    if (!counted) return {};
    const auto begin = [&](ir::MatrixAxis axis) {
      const std::size_t rows = box.start.size() - 2;
      return axis == ir::MatrixAxis::contracted ? 0
                                                : box.start[rows + static_cast<std::size_t>(axis)];
    };
    counted->offset += begin(counted->high) - begin(counted->low);
    return ir::to_attribute(counted);
  }

  std::optional<Expr> contraction(const ir::Node& node, const std::vector<ir::Value>& operands,
                                  const Box& wanted) {
    const auto axes = [&](const char* side, const char* role) -> const Integers& {
      return node.attributes.get<Integers>(fmt::format("{}_{}", side, role));
    };
    const std::size_t batches = axes("lhs", "batch").size();
    const Box box = grown(wanted, node.types[0].shape, batches);
    std::size_t next = batches;  // axis of the result
    std::vector<Expr> parts;
    for (std::size_t side = 0; side < 2; ++side) {
      const Integers& batch = axes(side == 0 ? "lhs" : "rhs", "batch");
      const Integers& contracted = axes(side == 0 ? "lhs" : "rhs", "contract");
      Box part = whole_box(operands[side]);
      for (std::int64_t axis = 0; axis < std::ssize(part.start); ++axis) {
        if (contains(contracted, axis)) continue;
        const auto in_batch = std::ranges::find(batch, axis);
        const std::size_t from =
            in_batch == batch.end() ? next++ : static_cast<std::size_t>(in_batch - batch.begin());
        part.start[at(axis)] = box.start[from];
        part.extent[at(axis)] = box.extent[from];
      }
      parts.push_back(value(operands[side], part));
    }
    ir::Attributes attributes = node.attributes;
    attributes.set("half_plane", half_plane_in(node, box));
    Box inner = wanted;
    for (std::size_t i = 0; i < inner.start.size(); ++i) inner.start[i] -= box.start[i];
    return part_of(ir::apply(node.op->name, parts, attributes), inner);
  }

  /// A box with `box` inside that is a contraction for every choice of taps that count.
  static Box enlarged(Box box, const Shape& shape, const ir::ConvolutionAxes& axes) {
    if (axes.grouped() && shape.back() == 1) return box;
    const auto alike = [&] {
      std::int64_t outputs = box.extent.front() * box.extent.back();
      for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
        const std::int64_t step =
            std::max(tile_outputs(axes.algorithm), axes.spatial[i].base_dilation);
        outputs *= std::max<std::int64_t>(1, box.extent[i + 1] / step);
      }
      return outputs;
    };
    grow(box, shape, 0, alike);
    const std::int64_t tile = tile_outputs(axes.algorithm);
    for (std::size_t i = 1; i <= axes.spatial.size() && tile > 1; ++i) {
      if (shape[i] == 3) {  // the gradient of taps: a tile gives all of them
        box.start[i] = 0;
        box.extent[i] = shape[i];
      } else {  // from the beginning of a tile
        box.extent[i] += box.start[i] % tile;
        box.start[i] -= box.start[i] % tile;
      }
    }
    return box;
  }

  /// Outputs along spatial axes are cut by what is before the first place and behind the last.
  std::optional<Expr> convolution(const ir::Node& node, const std::vector<ir::Value>& operands,
                                  const Box& wanted) {
    ir::ConvolutionAxes axes = ir::convolution_axes(node.attributes);
    const Box box = enlarged(wanted, node.types[0].shape, axes);
    Box lhs = whole_box(operands[0]);
    Box rhs = whole_box(operands[1]);
    const auto set = [&](Box& part, std::int64_t axis, std::size_t result_axis) {
      part.start[at(axis)] = box.start[result_axis];
      part.extent[at(axis)] = box.extent[result_axis];
    };
    set(lhs, axes.lhs_batch, 0);
    set(rhs, axes.rhs_out, box.extent.size() - 1);
    if (axes.grouped()) {
      set(lhs, axes.lhs_group, box.extent.size() - 2);
      set(rhs, axes.rhs_group, box.extent.size() - 2);
    }
    for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
      ir::SpatialAxis& axis = axes.spatial[i];
      axis.low -= box.start[i + 1] * axis.stride;
      const std::int64_t behind = node.types[0].shape[i + 1] - box.start[i + 1] - box.extent[i + 1];
      axis.high -= behind * axis.stride;
    }
    const Expr y = ir::conv(value(operands[0], lhs), value(operands[1], rhs), axes);
    Box inner = wanted;
    for (std::size_t i = 0; i < inner.start.size(); ++i) inner.start[i] -= box.start[i];
    return part_of(y, inner);
  }

  static void add_axis(Box& box, std::int64_t start, std::int64_t extent) {
    box.start.push_back(start);
    box.extent.push_back(extent);
  }

  Box whole_box(ir::Value value) const {
    const Shape& shape = from_.type(value).shape;
    return {std::vector<std::int64_t>(shape.size(), 0), shape};
  }

  const ir::Graph& from_;
  ir::Graph& to_;
  std::map<ir::NodeId, ir::NodeId> whole_;
  std::map<std::tuple<ir::Value, std::vector<std::int64_t>, Shape>, Expr> known_;
};

}  // namespace

ir::Graph restrict_results(const ir::Graph& graph, const std::vector<Box>& boxes) {
  ir::Graph result(graph.name());
  Restriction restriction(graph, result);
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const ir::Result& whole = graph.results()[i];
    result.add_result((whole.update ? "update " : "") + whole.name,
                      restriction.value(whole.value, boxes[i]).value);
  }
  return result;
}

Tensor elements_in(const Tensor& tensor, const Box& box) {
  Tensor part(TensorType{tensor.type.element, box.extent});
  const auto size = at(byte_size(tensor.type.element));
  std::vector<std::int64_t> index(box.extent.size(), 0);
  for (std::size_t i = 0; i < at(part.type.element_count()); ++i) {
    std::size_t position = 0;
    for (std::size_t axis = 0; axis < index.size(); ++axis) {
      position = position * at(tensor.type.shape[axis]) + at(box.start[axis] + index[axis]);
    }
    std::memcpy(part.bytes.data() + i * size, tensor.bytes.data() + position * size, size);
    for (std::size_t axis = index.size(); axis > 0 && ++index[axis - 1] == box.extent[axis - 1];) {
      index[--axis] = 0;
    }
  }
  return part;
}

Box box_of(const Shape& shape, double where) {
  Box box;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const std::int64_t most = axis + 2 >= shape.size() ? 8 : 1;
    box.extent.push_back(std::min(most, shape[axis]));
    const auto room = static_cast<double>(shape[axis] - box.extent.back());
    box.start.push_back(static_cast<std::int64_t>(where * room));
  }
  return box;
}

}  // namespace gradus::bench
