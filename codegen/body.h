#pragma once

// From graph to loop body: the values that one loop computes, with every light value on the way
// recorded into one scalar program and every value in memory turned into a load at an affine index.

#include <functional>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "codegen/kernel.h"
#include "ir/graph.h"

namespace gradus::codegen {

/// Gives the element of `id` at `index` if it is not computed inside the loop: a load, or a value
/// that the loop's stage provides. Empty: the body computes it from its operands.
struct BodySource {
  /// Access to `id` in memory; empty when it is not in memory at this stage.
  std::function<std::optional<Access>(ir::NodeId id, const std::vector<Affine>& index)> access;
  /// The node whose value is operand 0 of the body (a contraction's accumulator); none: -1.
  std::int64_t accumulator = -1;
};

/// Range of positions that an affine index can take, over the whole extents of its axes.
struct Interval {
  std::int64_t least = 0;
  std::int64_t greatest = 0;
};
[[nodiscard]] Interval interval_of(const Affine& affine, const std::vector<Axis>& axes);

class BodyBuilder {
 public:
  /// `axes` are the kernel's.
  BodyBuilder(const ir::Graph& graph, const std::vector<Axis>& axes, BodySource source);

  /// Number of the body result that is `id` at `index`.
  std::int32_t result(ir::NodeId id, const std::vector<Affine>& index);
  /// Number of the body result that is `sum` plus `id` at `index`.
  std::int32_t added(Load sum, ir::NodeId id, const std::vector<Affine>& index);
  /// The operand that loads `indices` at `index`, with a fault of `node` where it is not within
  /// [0, extent). For a Pick.
  std::int32_t pick(ir::NodeId node, ir::NodeId indices, const std::vector<Affine>& index,
                    std::int64_t extent);
  /// Ends the body.
  [[nodiscard]] Body finish();

 private:
  using Guards = std::vector<Guard>;
  ir::Scalar value(ir::NodeId id, const std::vector<Affine>& index, const Guards& guards);
  ir::Scalar compute(ir::NodeId id, const std::vector<Affine>& index, const Guards& guards);
  ir::Scalar elementwise(ir::NodeId id, const std::vector<Affine>& index, const Guards& guards);
  ir::Scalar gather(ir::NodeId id, const std::vector<Affine>& index, const Guards& guards);
  std::int32_t pick(ir::NodeId node, ir::NodeId indices, const std::vector<Affine>& index,
                    std::int64_t extent, const Guards& guards);
  ir::Scalar movement(ir::NodeId id, const std::vector<Affine>& index, const Guards& guards);
  ir::Scalar tile_element(ir::NodeId id, std::vector<Affine> index, const Guards& guards);
  std::vector<ir::Scalar> tile(ir::NodeId id, std::vector<Affine> index, const Guards& guards);
  /// Element `index` of a value of `type`, which is at `access`.
  ir::Scalar load(Access access, const std::vector<Affine>& index, const TensorType& type,
                  const Guards& guards);
  ir::Scalar load(Load wanted, ElementType type);
  [[nodiscard]] bool inside(const std::vector<Affine>& index, const Shape& shape) const;
  [[nodiscard]] bool is_zero(const ir::Scalar& value) const;
  [[nodiscard]] bool is_zero_outside(const ir::Scalar& value, const Guards& guards) const;
  ir::Scalar position(const Affine& affine);
  ir::Scalar holds(const Guards& guards);
  [[nodiscard]] Guards needed_guards(const std::vector<Affine>& index, const Shape& shape) const;

  const ir::Graph& graph_;
  const std::vector<Axis>& axes_;
  BodySource source_;
  ir::ScalarBuilder builder_;
  std::vector<Load> loads_;
  std::vector<ir::Scalar> load_values_;
  std::vector<std::int32_t> zeros_;  // constants among the values
  struct Known {
    ir::NodeId id;
    std::vector<Affine> index;
    Guards guards;
    ir::Scalar value;
  };
  std::multimap<ir::NodeId, Known> known_;
  /// All elements of a tile; `index` is that of its first one.
  struct KnownTile {
    ir::NodeId id;
    std::vector<Affine> index;
    Guards guards;
    std::vector<ir::Scalar> values;
  };
  std::vector<KnownTile> known_tiles_;
  /// An elementwise node's program, whose instructions carry the node.
  struct Recorded {
    ir::ScalarProgram program;
    bool uses_index = false;
    bool faults = false;
    double harmless = 1;  // as a divisor; as an index 0 is
  };
  [[nodiscard]] const Recorded& recorded(ir::NodeId id);
  std::map<ir::NodeId, Recorded> programs_;
  std::map<ir::NodeId, std::vector<ir::IndexMap>> maps_;
  std::vector<ir::Scalar> results_;
};

/// The index along one operand axis, as a function of the loop axes.
[[nodiscard]] Affine compose(const ir::AxisMap& map, const std::vector<Affine>& index);

}  // namespace gradus::codegen
