#include "codegen/body.h"

#include <algorithm>
#include <numeric>

#include "ir/op.h"
#include "passes/access.h"

namespace gradus::codegen {
namespace {

using ir::NodeId;
using ir::Scalar;

/// Instructions that carry the node for their fault while a body is recorded.
bool carries_node(const ir::ScalarInstruction& instruction) {
  using enum ir::ScalarOp;
  return instruction.op == fault ||
         ((instruction.op == div || instruction.op == rem) && !is_float(instruction.type));
}

// While a body is recorded, the node that an instruction's fault names stands above the low byte
// of its immediate; `finish` moves it to Body::fault_nodes.
constexpr int kFaultNodeShift = 8;

void add_term(Affine& affine, AxisId axis, std::int64_t coefficient) {
  const auto at =
      std::lower_bound(affine.terms.begin(), affine.terms.end(), axis,
                       [](const Term& term, AxisId wanted) { return term.axis < wanted; });
  if (at != affine.terms.end() && at->axis == axis) {
    at->coefficient += coefficient;
    if (at->coefficient == 0) affine.terms.erase(at);
  } else if (coefficient != 0) {
    affine.terms.insert(at, {axis, coefficient});
  }
}

}  // namespace

Affine compose(const ir::AxisMap& map, const std::vector<Affine>& index) {
  std::int64_t common = 1;
  for (const ir::AffineTerm& term : map.terms) {
    common = std::lcm(common, index[static_cast<std::size_t>(term.axis)].divisor);
  }
  Affine result;
  result.offset = map.offset * common;
  for (const ir::AffineTerm& term : map.terms) {
    const Affine& inner = index[static_cast<std::size_t>(term.axis)];
    const std::int64_t scale = term.coefficient * (common / inner.divisor);
    result.offset += scale * inner.offset;
    for (const Term& t : inner.terms) add_term(result, t.axis, scale * t.coefficient);
  }
  result.divisor = common * map.divisor;
  return result;
}

Interval interval_of(const Affine& affine, const std::vector<Axis>& axes) {
  Interval interval{affine.offset, affine.offset};
  for (const Term& term : affine.terms) {
    const std::int64_t last = axes[static_cast<std::size_t>(term.axis)].extent - 1;
    (term.coefficient > 0 ? interval.greatest : interval.least) += term.coefficient * last;
  }
  return interval;
}

BodyBuilder::BodyBuilder(const ir::Graph& graph, const std::vector<Axis>& axes, BodySource source)
    : graph_(graph), axes_(axes), source_(std::move(source)), builder_({}) {
  if (source_.accumulator >= 0) {
    builder_.add_operand(graph.node(static_cast<NodeId>(source_.accumulator)).types[0].element);
  }
}

std::int32_t BodyBuilder::result(NodeId id, const std::vector<Affine>& index) {
  results_.push_back(value(id, index, {}));
  return static_cast<std::int32_t>(results_.size()) - 1;
}

std::int32_t BodyBuilder::added(Load sum, NodeId id, const std::vector<Affine>& index) {
  const Scalar operand = value(id, index, {});
  results_.push_back(load(std::move(sum), operand.type()) + operand);
  return static_cast<std::int32_t>(results_.size()) - 1;
}

std::int32_t BodyBuilder::pick(NodeId node, NodeId indices, const std::vector<Affine>& index,
                               std::int64_t extent) {
  return pick(node, indices, index, extent, {});
}

Body BodyBuilder::finish() {
  Body body{std::move(loads_), builder_.finish(results_), {}};
  for (ir::ScalarInstruction& instruction : body.program.code) {
    if (!carries_node(instruction)) continue;
    if (ir::can_fault(body.program, instruction)) {
      body.fault_nodes.push_back(
          static_cast<std::uint32_t>(instruction.immediate >> kFaultNodeShift));
    }
    instruction.immediate &= (1u << kFaultNodeShift) - 1;
  }
  return body;
}

Scalar BodyBuilder::value(NodeId id, const std::vector<Affine>& index, const Guards& guards) {
  const auto [first, last] = known_.equal_range(id);
  for (auto at = first; at != last; ++at) {
    if (at->second.index == index && at->second.guards == guards) return at->second.value;
  }
  const Scalar result = compute(id, index, guards);
  known_.emplace(id, Known{id, index, guards, result});
  return result;
}

Scalar BodyBuilder::compute(NodeId id, const std::vector<Affine>& index, const Guards& guards) {
  if (static_cast<std::int64_t>(id) == source_.accumulator) return builder_.operand(0);
  const ir::Node& node = graph_.node(id);
  if (std::optional<Access> access = source_.access(id, index)) {
    return load(std::move(*access), index, node.types[0], guards);
  }
  if (std::holds_alternative<ir::ConstantComputation>(node.op->compute)) {
    const Tensor& tensor = *node.attributes.get<ir::TensorPointer>("value");
    std::uint64_t bits = 0;
    std::memcpy(&bits, tensor.bytes.data(), tensor.bytes.size());
    const Scalar constant = builder_.constant_bits(tensor.type.element, bits);
    if (bits == 0) zeros_.push_back(constant.id);
    return constant;
  }
  if (std::holds_alternative<ir::ElementwiseComputation>(node.op->compute)) {
    return elementwise(id, index, guards);
  }
  if (passes::is_tile_op(graph_, id)) return tile_element(id, index, guards);
  if (passes::is_gather(graph_, id)) return gather(id, index, guards);
  return movement(id, index, guards);
}

/// `index` is constant along the axes of the tile.
Scalar BodyBuilder::tile_element(NodeId id, std::vector<Affine> index, const Guards& guards) {
  const ir::Node& node = graph_.node(id);
  std::size_t number = 0;  // in the tile
  for (std::int64_t axis : node.attributes.get<ir::Integers>("axes")) {
    Affine& position = index[static_cast<std::size_t>(axis)];
    GRADUS_CHECK(position.terms.empty(), "an element of a tile at no constant place");
    const std::int64_t extent = node.types[0].shape[static_cast<std::size_t>(axis)];
    number = number * static_cast<std::size_t>(extent) + static_cast<std::size_t>(position.offset);
    position = {};
  }
  for (const KnownTile& known : known_tiles_) {
    if (known.id == id && known.index == index && known.guards == guards) {
      return known.values.at(number);
    }
  }
  std::vector<Scalar> values = tile(id, index, guards);
  return known_tiles_.emplace_back(KnownTile{id, std::move(index), guards, std::move(values)})
      .values.at(number);
}

/// The tile whose first element is at `index`.
std::vector<Scalar> BodyBuilder::tile(NodeId id, std::vector<Affine> index, const Guards& guards) {
  const ir::Node& node = graph_.node(id);
  const ir::Value operand = graph_.operands(id)[0];
  const TensorType& type = graph_.type(operand);
  const auto& axes = node.attributes.get<ir::Integers>("axes");
  Shape extents;
  for (std::int64_t axis : axes) extents.push_back(type.shape[static_cast<std::size_t>(axis)]);
  std::vector<Scalar> elements;
  for (std::int64_t element = 0; element < element_count(extents); ++element) {
    std::int64_t rest = element;
    for (std::size_t i = axes.size(); i-- > 0; rest /= extents[i]) {
      index[static_cast<std::size_t>(axes[i])] = Affine{{}, rest % extents[i], 1};
    }
    elements.push_back(value(operand.node, index, guards));
  }
  const auto& compute = std::get<ir::TileComputation>(node.op->compute);
  return compute.record(builder_, elements, extents, node.attributes);
}

const BodyBuilder::Recorded& BodyBuilder::recorded(NodeId id) {
  const auto [known, added] = programs_.try_emplace(id);
  if (!added) return known->second;
  const ir::Node& node = graph_.node(id);
  Recorded& result = known->second;
  result.program =
      ir::record_elementwise(std::get<ir::ElementwiseComputation>(node.op->compute),
                             passes::operand_types(graph_, id), node.types[0], node.attributes);
  for (ir::ScalarInstruction& instruction : result.program.code) {
    result.uses_index |= instruction.op == ir::ScalarOp::index;
    if (!carries_node(instruction)) continue;
    result.faults |= ir::can_fault(result.program, instruction);
    if (instruction.op == ir::ScalarOp::fault) result.harmless = 0;
    instruction.immediate |= static_cast<std::uint64_t>(id) << kFaultNodeShift;
  }
  return result;
}

Scalar BodyBuilder::elementwise(NodeId id, const std::vector<Affine>& index, const Guards& guards) {
  const auto& [program, uses_index, faults, harmless] = recorded(id);
  std::vector<Scalar> operands;
  for (ir::Value operand : graph_.operands(id)) {
    const bool scalar = graph_.type(operand).rank() == 0;
    Scalar x = value(operand.node, scalar ? std::vector<Affine>{} : index, guards);
    // Where a guard fails nobody looks at the result: it must not fault.
    if (faults && !guards.empty()) {
      x = select(holds(guards), x, builder_.constant(x.type(), harmless));
    }
    operands.push_back(x);
  }
  std::vector<Scalar> indices;
  if (uses_index) {
    for (const Affine& affine : index) indices.push_back(position(affine));
  }
  return builder_.inline_program(program, operands, indices).at(0);
}

std::int32_t BodyBuilder::pick(NodeId node, NodeId indices, const std::vector<Affine>& index,
                               std::int64_t extent, const Guards& guards) {
  const Scalar position = value(indices, index, guards);
  GRADUS_CHECK(std::ranges::find(load_values_, position.id, &Scalar::id) != load_values_.end(),
               "indices that are not in memory");
  const Scalar wide = convert(position, ElementType::i64);
  const auto limit = builder_.constant(ElementType::i64, static_cast<double>(extent));
  Scalar outside =
      logical_not(less_equal(builder_.constant(ElementType::i64, 0), wide) & less(wide, limit));
  // Where a guard fails nobody looks at the result: it must not fault.
  if (!guards.empty()) outside = outside & holds(guards);
  constexpr auto kKind = static_cast<std::uint64_t>(ir::FaultKind::index_out_of_range);
  builder_.emit(ir::ScalarOp::fault, ElementType::boolean, {outside},
                kKind | static_cast<std::uint64_t>(node) << kFaultNodeShift);
  return static_cast<std::int32_t>(builder_.instruction(position.id).immediate);
}

Scalar BodyBuilder::gather(NodeId id, const std::vector<Affine>& index, const Guards& guards) {
  const std::vector<ir::Value>& operands = graph_.operands(id);
  const std::vector<ir::IndexMap> maps = passes::operand_maps(graph_, id);
  std::vector<Affine> place;
  for (const ir::AxisMap& map : maps[1]) place.push_back(compose(map, index));
  std::vector<Affine> from;
  for (const ir::AxisMap& map : maps[0]) from.push_back(compose(map, index));
  const TensorType& type = graph_.type(operands[0]);
  const auto chosen = std::ranges::find_if(maps[0], &ir::AxisMap::chosen) - maps[0].begin();
  std::optional<Access> access = source_.access(operands[0].node, from);
  GRADUS_CHECK(access.has_value(), "what is indexed is not in memory");
  access->pick =
      Pick{static_cast<std::int32_t>(chosen),
           pick(id, operands[1].node, place, type.shape[static_cast<std::size_t>(chosen)], guards)};
  return load(std::move(*access), from, type, guards);
}

Scalar BodyBuilder::movement(NodeId id, const std::vector<Affine>& index, const Guards& guards) {
  const auto [known, added] = maps_.try_emplace(id);
  if (added) known->second = passes::operand_maps(graph_, id);
  const std::vector<ir::IndexMap>& maps = known->second;
  const std::vector<ir::Value>& operands = graph_.operands(id);
  struct Choice {
    Guards guards;
    Scalar value;
  };
  std::vector<Choice> choices;
  Scalar result;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    std::vector<Affine> inner;
    for (const ir::AxisMap& map : maps[i]) inner.push_back(compose(map, index));
    const Guards own = needed_guards(inner, graph_.type(operands[i]).shape);
    Guards all = guards;
    all.insert(all.end(), own.begin(), own.end());
    // The last operand needs no choice: it is inside where the others are not. But its load needs
    // the guards, because both sides of a choice are computed.
    if (own.empty() || i + 1 == operands.size()) {
      result = value(operands[i].node, inner, all);
      break;
    }
    choices.push_back({own, value(operands[i].node, inner, all)});
  }
  for (; !choices.empty(); choices.pop_back()) {
    const Choice& choice = choices.back();
    result = is_zero(result) && is_zero_outside(choice.value, choice.guards)
                 ? choice.value
                 : select(holds(choice.guards), choice.value, result);
  }
  return result;
}

/// A constant all of whose bits are zero.
bool BodyBuilder::is_zero(const Scalar& value) const {
  return std::ranges::find(zeros_, value.id) != zeros_.end();
}

/// A load that gives zero where the guards do not hold.
bool BodyBuilder::is_zero_outside(const Scalar& value, const Guards& guards) const {
  const auto at = std::ranges::find(load_values_, value.id, &Scalar::id);
  if (at == load_values_.end()) return false;
  const Guards& own = loads_[static_cast<std::size_t>(at - load_values_.begin())].guards;
  return std::ranges::all_of(
      guards, [&](const Guard& guard) { return std::ranges::find(own, guard) != own.end(); });
}

Scalar BodyBuilder::load(Access access, const std::vector<Affine>& index, const TensorType& type,
                         const Guards& guards) {
  Load wanted{std::move(access), {}};
  // What is inside everywhere needs no guard: what it gives elsewhere is not looked at.
  if (!inside(index, type.shape)) wanted.guards = guards;
  return load(std::move(wanted), type.element);
}

Scalar BodyBuilder::load(Load wanted, ElementType type) {
  const auto at = std::find(loads_.begin(), loads_.end(), wanted);
  if (at != loads_.end()) return load_values_[static_cast<std::size_t>(at - loads_.begin())];
  loads_.push_back(wanted);
  load_values_.push_back(builder_.add_operand(type));
  return load_values_.back();
}

/// Whether the index is inside the shape at every point.
bool BodyBuilder::inside(const std::vector<Affine>& index, const Shape& shape) const {
  for (std::size_t d = 0; d < index.size(); ++d) {
    const Interval interval = interval_of(index[d], axes_);
    if (index[d].divisor != 1 || interval.least < 0 || interval.greatest >= shape[d]) {
      return false;
    }
  }
  return true;
}

Scalar BodyBuilder::position(const Affine& affine) {
  Scalar sum;
  for (const Term& term : affine.terms) {
    Scalar x = builder_.index(term.axis, ElementType::i64);
    if (term.coefficient != 1) x = x * static_cast<double>(term.coefficient);
    sum = sum.builder ? sum + x : x;
  }
  if (!sum.builder)
    sum = builder_.constant(ElementType::i64, static_cast<double>(affine.offset));
  else if (affine.offset != 0)
    sum = sum + static_cast<double>(affine.offset);
  return affine.divisor == 1 ? sum : sum / static_cast<double>(affine.divisor);
}

/// The guards as a scalar condition.
Scalar BodyBuilder::holds(const Guards& guards) {
  Scalar all;
  const auto require = [&](Scalar condition) { all = all.builder ? all & condition : condition; };
  for (const Guard& guard : guards) {
    Affine numerator = guard.value;
    numerator.divisor = 1;
    const Interval interval = interval_of(numerator, axes_);
    const std::int64_t divisor = guard.value.divisor;
    const Scalar x = position(numerator);
    const auto constant = [&](std::int64_t c) {
      return builder_.constant(ElementType::i64, static_cast<double>(c));
    };
    if (interval.least < 0) require(less_equal(constant(0), x));
    if (interval.greatest >= guard.extent * divisor) {
      require(less(x, constant(guard.extent * divisor)));
    }
    if (divisor > 1) {
      const Scalar quotient = x / constant(divisor);
      require(equal(quotient * constant(divisor), x));
    }
  }
  return all.builder ? all : builder_.constant(ElementType::boolean, 1);
}

BodyBuilder::Guards BodyBuilder::needed_guards(const std::vector<Affine>& index,
                                               const Shape& shape) const {
  Guards guards;
  for (std::size_t axis = 0; axis < index.size(); ++axis) {
    const Interval interval = interval_of(index[axis], axes_);
    if (interval.least < 0 || interval.greatest >= shape[axis] * index[axis].divisor ||
        index[axis].divisor > 1) {
      guards.push_back({index[axis], shape[axis]});
    }
  }
  return guards;
}

}  // namespace gradus::codegen
