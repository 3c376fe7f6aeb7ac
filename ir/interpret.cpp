#include "ir/interpret.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include "base/float_environment.h"
#include "base/overloaded.h"
#include "ir/evaluate_scalar.h"
#include "ir/op.h"
#include "ir/order.h"

namespace gradus::ir {
namespace {

using Operands = std::vector<const Tensor*>;
using Index = std::vector<std::int64_t>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Calls `visit(index)` for every index of `shape` in row-major order.
template <typename Visit>
void for_each_index(const Shape& shape, Visit&& visit) {
  if (element_count(shape) == 0) return;
  Index index(shape.size(), 0);
  while (true) {
    visit(static_cast<const Index&>(index));
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

std::int64_t flat(const Shape& shape, const Index& index) {
  std::int64_t position = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    position = position * shape[axis] + index[axis];
  }
  return position;
}

std::uint64_t word_at(const Tensor& tensor, std::int64_t position) {
  std::uint64_t word = 0;
  const auto size = at(byte_size(tensor.type.element));
  std::memcpy(&word, tensor.bytes.data() + at(position) * size, size);
  return word;
}
void set_word(Tensor& tensor, std::int64_t position, std::uint64_t word) {
  const auto size = at(byte_size(tensor.type.element));
  std::memcpy(tensor.bytes.data() + at(position) * size, &word, size);
}

// --- Elementwise and movement -----------------------------------------------------------------

std::vector<TensorType> types_of(const Operands& operands) {
  std::vector<TensorType> types;
  for (const Tensor* operand : operands) types.push_back(operand->type);
  return types;
}

Tensor elementwise(const Node& node, const ElementwiseComputation& compute,
                   const Operands& operands, Fault& fault) {
  const ScalarProgram program =
      record_elementwise(compute, types_of(operands), node.types[0], node.attributes);
  Tensor result(node.types[0]);
  const std::int64_t count = result.type.element_count();
  const std::size_t rank = result.type.shape.size();
  std::vector<std::uint64_t> words(operands.size() * at(count));
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const bool scalar = operands[i]->type.rank() == 0;
    for (std::int64_t e = 0; e < count; ++e) {
      words[i * at(count) + at(e)] = word_at(*operands[i], scalar ? 0 : e);
    }
  }
  std::vector<std::int64_t> indices(rank * at(count));
  std::int64_t element = 0;
  for_each_index(result.type.shape, [&](const Index& index) {
    for (std::size_t axis = 0; axis < rank; ++axis) {
      indices[axis * at(count) + at(element)] = index[axis];
    }
    ++element;
  });
  std::vector<std::uint64_t> values(at(count));
  std::vector<ScalarFault> faults(at(count));
  evaluate_many(program, count, words, indices, values, faults);
  for (std::int64_t e = 0; e < count; ++e) {
    set_word(result, e, values[at(e)]);
    if (faults[at(e)].kind != FaultKind::none && fault.kind == FaultKind::none) {
      fault = {faults[at(e)].kind, 0, e};
    }
  }
  return result;
}

/// The operand's index; empty when outside.
std::optional<Index> inside(const IndexMap& map, const Shape& shape, const Index& index) {
  Index result;
  for (std::size_t axis = 0; axis < map.size(); ++axis) {
    std::int64_t position = map[axis].offset;
    for (const AffineTerm& term : map[axis].terms) {
      position += term.coefficient * index[at(term.axis)];
    }
    if (position < 0 || position % map[axis].divisor != 0) return std::nullopt;
    position /= map[axis].divisor;
    if (position >= shape[axis]) return std::nullopt;
    result.push_back(position);
  }
  return result;
}

Tensor movement(const Node& node, const MovementComputation& compute, const Operands& operands) {
  const std::vector<IndexMap> maps =
      compute.maps(types_of(operands), node.types[0], node.attributes);
  Tensor result(node.types[0]);
  std::int64_t element = 0;
  for_each_index(result.type.shape, [&](const Index& index) {
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const Shape& shape = operands[i]->type.shape;
      if (const std::optional<Index> source = inside(maps[i], shape, index)) {
        set_word(result, element++, word_at(*operands[i], flat(shape, *source)));
        return;
      }
    }
    GRADUS_CHECK(false, "the last operand of a movement is inside everywhere");
  });
  return result;
}

// --- Reductions ---------------------------------------------------------------------------------

template <typename T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) +
                          static_cast<std::make_unsigned_t<T>>(b));
  } else {
    return a + b;
  }
}

/// Calls `visit(kept index, operand index)` for every operand index with the axis `cut_axis`
/// limited to `range`, row-major.
template <typename Visit>
void for_each_in_block(const Shape& shape, const Integers& axes, std::int64_t cut_axis, Range range,
                       Visit&& visit) {
  Shape box = shape;
  if (cut_axis >= 0) box[at(cut_axis)] = range.size();
  for_each_index(box, [&](Index index) {
    if (cut_axis >= 0) index[at(cut_axis)] += range.begin;
    Index kept;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(axis)) == axes.end()) {
        kept.push_back(index[axis]);
      }
    }
    visit(kept, index);
  });
}

/// One block of a sum, for all kept indices, added to nothing else.
template <typename T>
std::vector<T> sum_block(std::span<const T> x, const Shape& shape, const Integers& axes,
                         const Shape& kept_shape, const SumOrder& order, std::int64_t block) {
  using Lanes = std::array<T, kLanes>;
  std::vector<Lanes> chains(at(element_count(kept_shape)), Lanes{});
  for_each_in_block(shape, axes, order.block_axis, order.blocks(block),
                    [&](const Index& kept, const Index& index) {
                      const std::size_t lane = order.lanes ? at(index.back() % kLanes) : 0;
                      T& chain = chains[at(flat(kept_shape, kept))][lane];
                      chain = add(chain, x[at(flat(shape, index))]);
                    });
  std::vector<T> sums;
  for (Lanes& lanes : chains) {
    for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] = add(lanes[i], lanes[i + half]);
    }
    sums.push_back(lanes[0]);
  }
  return sums;
}

Shape without(const Shape& shape, const Integers& axes) {
  Shape kept;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(axis)) == axes.end()) {
      kept.push_back(shape[axis]);
    }
  }
  return kept;
}

/// Block sums, blocks outermost.
template <typename T>
std::vector<T> block_sums(std::span<const T> x, const Shape& shape, const Integers& axes) {
  const SumOrder order = sum_order(shape, axes);
  std::vector<T> result;
  for (std::int64_t block = 0; block < order.blocks.count; ++block) {
    const std::vector<T> sums = sum_block(x, shape, axes, without(shape, axes), order, block);
    result.insert(result.end(), sums.begin(), sums.end());
  }
  return result;
}

/// The sums over `axes`: the only block itself, or the blocks added in order.
template <typename T>
std::vector<T> combine(std::span<const T> x, std::int64_t count);
template <typename T>
std::vector<T> sums(std::span<const T> x, const Shape& shape, const Integers& axes) {
  std::vector<T> blocks = block_sums(x, shape, axes);
  if (sum_order(shape, axes).blocks.count == 1) return blocks;
  return combine(std::span<const T>(blocks), element_count(without(shape, axes)));
}

/// Adds along the outermost axis of [blocks, count], one chain per element from +0.
template <typename T>
std::vector<T> combine(std::span<const T> x, std::int64_t count) {
  std::vector<T> result(at(count), T{});
  for (std::size_t i = 0; i < x.size(); ++i) {
    result[i % at(count)] = add(result[i % at(count)], x[i]);
  }
  return result;
}

/// `a` comes before `b` as the extremum: NaN first, then the order with -0 < +0.
template <typename T>
bool beats(T a, T b, bool greatest) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(b)) return false;
    if (std::isnan(a)) return true;
    if (a == b)
      return greatest ? std::signbit(b) && !std::signbit(a) : std::signbit(a) && !std::signbit(b);
  }
  return greatest ? a > b : a < b;
}

/// arg_max and arg_min see zeros of either sign as equal.
template <typename T>
bool beats_as_position(T a, T b, bool greatest) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(b)) return false;
    if (std::isnan(a)) return true;
  }
  return greatest ? a > b : a < b;
}

template <typename T>
T flushed(T x) {
  if constexpr (std::is_floating_point_v<T>) return flush_subnormal(x);
  return x;
}

Tensor extremum(const Node& node, ReductionKind kind, const Tensor& x) {
  const Integers& axes = node.attributes.get<Integers>("axes");
  const bool greatest = kind == ReductionKind::max || kind == ReductionKind::arg_max;
  const bool position = kind == ReductionKind::arg_max || kind == ReductionKind::arg_min;
  Tensor result(node.types[0]);
  const Shape& kept_shape = result.type.shape;
  dispatch(x.type.element, [&](auto zero) {
    using T = decltype(zero);
    const auto count = at(element_count(kept_shape));
    std::vector<std::optional<T>> best(count);
    std::vector<std::int32_t> where(count);
    std::vector<std::int32_t> seen(count);
    for_each_in_block(x.type.shape, axes, -1, {}, [&](const Index& kept, const Index& index) {
      const auto k = at(flat(kept_shape, kept));
      const T value = flushed(x.as<T>()[at(flat(x.type.shape, index))]);
      const bool better = !best[k] || (position ? beats_as_position(value, *best[k], greatest)
                                                : beats(value, *best[k], greatest));
      if (better) {
        best[k] = value;
        where[k] = seen[k];
      }
      ++seen[k];
    });
    for (std::size_t k = 0; k < count; ++k) {
      if (position) {
        result.as<std::int32_t>()[k] = where[k];
      } else {
        result.as<T>()[k] = *best[k];
      }
    }
  });
  return result;
}

Tensor logical(const Node& node, ReductionKind kind, const Tensor& x) {
  const Integers& axes = node.attributes.get<Integers>("axes");
  Tensor result(node.types[0]);
  const bool any = kind == ReductionKind::any;
  std::ranges::fill(result.as<std::uint8_t>(), any ? std::uint8_t{0} : std::uint8_t{1});
  for_each_in_block(x.type.shape, axes, -1, {}, [&](const Index& kept, const Index& index) {
    std::uint8_t& target = result.as<std::uint8_t>()[at(flat(result.type.shape, kept))];
    const bool value = x.as<std::uint8_t>()[at(flat(x.type.shape, index))] != 0;
    target = any ? (target != 0 || value) : (target != 0 && value);
  });
  return result;
}

template <typename T>
Tensor tensor_of(const TensorType& type, const std::vector<T>& values) {
  Tensor result(type);
  GRADUS_CHECK(values.size() * sizeof(T) == result.bytes.size(), "a result of another size");
  if (!values.empty()) std::memcpy(result.bytes.data(), values.data(), result.bytes.size());
  return result;
}

/// `function(span of elements)` gives the result's elements.
template <typename Function>
Tensor with_elements(const Node& node, const Tensor& x, Function&& function) {
  Tensor result;
  dispatch(x.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>) {
      result = tensor_of(node.types[0], function(x.as<T>()));
    }
  });
  return result;
}

Tensor reduction(const Node& node, ReductionKind kind, const Tensor& x) {
  switch (kind) {
    case ReductionKind::max:
    case ReductionKind::min:
    case ReductionKind::arg_max:
    case ReductionKind::arg_min:
      return extremum(node, kind, x);
    case ReductionKind::any:
    case ReductionKind::all:
      return logical(node, kind, x);
    case ReductionKind::sum:
      break;
  }
  return with_elements(node, x, [&]<typename T>(std::span<const T> elements) {
    return sums(elements, x.type.shape, node.attributes.get<Integers>("axes"));
  });
}

// --- Contraction
// ----------------------------------------------------------------------------------

template <typename T>
T multiply_add(T a, T b, T c) {
  if constexpr (std::is_floating_point_v<T>) {
    return fused_multiply_add(a, b, c);
  } else {
    using U = std::uint64_t;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b) + static_cast<U>(c));
  }
}
template <typename T>
T multiply(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return a * b;
  return multiply_add(a, b, T{0});
}

/// The axes of a contraction and the strides to walk them in both operands.
struct DotShape {
  Shape result;  // batch, lhs free, rhs free
  Shape contracted;
  std::int64_t outputs_per_batch = 1;
  Integers lhs_result, rhs_result;  // strides of the result axes
  Integers lhs_inner, rhs_inner;    // strides of the contracted axes

  DotShape(const Node& node, const Tensor& lhs, const Tensor& rhs) : result(node.types[0].shape) {
    const auto axes = [&](std::string_view name) { return node.attributes.get<Integers>(name); };
    const Integers lhs_strides = row_major_strides(lhs.type.shape);
    const Integers rhs_strides = row_major_strides(rhs.type.shape);
    const Integers lhs_batch = axes("lhs_batch"), rhs_batch = axes("rhs_batch");
    const Integers lhs_contract = axes("lhs_contract"), rhs_contract = axes("rhs_contract");
    for (std::size_t i = 0; i < lhs_batch.size(); ++i) {
      lhs_result.push_back(lhs_strides[at(lhs_batch[i])]);
      rhs_result.push_back(rhs_strides[at(rhs_batch[i])]);
    }
    const auto add_free = [&](const Tensor& own, const Integers& batch, const Integers& contract,
                              const Integers& strides, Integers& mine, Integers& other) {
      for (std::int64_t axis = 0; axis < own.type.rank(); ++axis) {
        if (std::ranges::count(batch, axis) + std::ranges::count(contract, axis) > 0) continue;
        mine.push_back(strides[at(axis)]);
        other.push_back(0);
        outputs_per_batch *= own.type.shape[at(axis)];
      }
    };
    add_free(lhs, lhs_batch, lhs_contract, lhs_strides, lhs_result, rhs_result);
    add_free(rhs, rhs_batch, rhs_contract, rhs_strides, rhs_result, lhs_result);
    for (std::size_t i = 0; i < lhs_contract.size(); ++i) {
      contracted.push_back(lhs.type.shape[at(lhs_contract[i])]);
      lhs_inner.push_back(lhs_strides[at(lhs_contract[i])]);
      rhs_inner.push_back(rhs_strides[at(rhs_contract[i])]);
    }
  }
};

std::int64_t inner_product(const Integers& strides, const Index& index) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) offset += strides[i] * index[i];
  return offset;
}

/// Row-major pairs of factors of one result element.
template <typename T>
std::vector<std::pair<T, T>> factors(const DotShape& dot, const Tensor& lhs, const Tensor& rhs,
                                     const Index& index) {
  const std::int64_t lhs_base = inner_product(dot.lhs_result, index);
  const std::int64_t rhs_base = inner_product(dot.rhs_result, index);
  std::vector<std::pair<T, T>> result;
  for_each_index(dot.contracted, [&](const Index& k) {
    result.emplace_back(lhs.as<T>()[at(lhs_base + inner_product(dot.lhs_inner, k))],
                        rhs.as<T>()[at(rhs_base + inner_product(dot.rhs_inner, k))]);
  });
  return result;
}

/// Parts of at most about 1024 factors, each one chain of fma from +0, added in order.
template <typename T>
T chain(const std::vector<std::pair<T, T>>& factors, const Shape& contracted, std::int64_t unit) {
  const ContractionOrder order = contraction_order(contracted, unit);
  std::int64_t slice = 1;  // factors per position of the cut axis
  if (order.part_axis >= 0) {
    for (std::size_t axis = at(order.part_axis) + 1; axis < contracted.size(); ++axis) {
      slice *= contracted[axis];
    }
  } else {
    slice = static_cast<std::int64_t>(factors.size());
  }
  T total{};
  for (std::int64_t part = 0; part < order.parts.count; ++part) {
    const Range range = order.parts(part);
    T sum{};
    for (std::int64_t i = range.begin * slice; i < range.end * slice; ++i) {
      sum = multiply_add(factors[at(i)].first, factors[at(i)].second, sum);
    }
    total = part == 0 ? sum : add(total, sum);
  }
  return total;
}

/// Few outputs: the sum of the products, ordered as the sum over the product tensor.
template <typename T>
T sum_of_products(const std::vector<std::pair<T, T>>& factors, const DotShape& dot) {
  std::vector<T> products;
  for (const auto& [a, b] : factors) products.push_back(multiply(a, b));
  if (dot.contracted.empty()) return products[0];
  // The product tensor has the contracted axes innermost; one result element is its own slice.
  Integers axes;
  for (std::size_t i = 0; i < dot.contracted.size(); ++i) {
    axes.push_back(static_cast<std::int64_t>(i));
  }
  return sums(std::span<const T>(products), dot.contracted, axes)[0];
}

Tensor contraction(const Node& node, const Tensor& lhs, const Tensor& rhs) {
  const DotShape dot(node, lhs, rhs);
  const std::int64_t unit = node.attributes.get<std::int64_t>("part_unit");
  Tensor result(node.types[0]);
  dispatch(lhs.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>) {
      std::size_t element = 0;
      for_each_index(dot.result, [&](const Index& index) {
        const auto pairs = factors<T>(dot, lhs, rhs, index);
        result.as<T>()[element++] = dot.outputs_per_batch < kSmallContraction
                                        ? sum_of_products(pairs, dot)
                                        : chain(pairs, dot.contracted, unit);
      });
    }
  });
  return result;
}

}  // namespace

Tensor interpret_node(const Node& node, const Operands& operands, Fault& fault) {
  return std::visit(
      overloaded{
          [](const InputComputation&) -> Tensor {
            throw InternalError("an input has no computation");
          },
          [&](const ConstantComputation&) { return *node.attributes.get<TensorPointer>("value"); },
          [&](const ElementwiseComputation& compute) {
            return elementwise(node, compute, operands, fault);
          },
          [&](const MovementComputation& compute) { return movement(node, compute, operands); },
          [&](const ViewComputation&) {
            Tensor result = *operands[0];
            result.type = node.types[0];
            return result;
          },
          [&](const ReductionComputation& compute) {
            return reduction(node, compute.kind, *operands[0]);
          },
          [&](const BlockSumComputation&) {
            return with_elements(node, *operands[0], [&](auto elements) {
              return block_sums(elements, operands[0]->type.shape,
                                node.attributes.get<Integers>("axes"));
            });
          },
          [&](const CombineComputation&) {
            return with_elements(node, *operands[0], [&](auto elements) {
              return combine(elements, node.types[0].element_count());
            });
          },
          [&](const ContractionComputation&) {
            return contraction(node, *operands[0], *operands[1]);
          },
      },
      node.op->compute);
}

Interpretation interpret(const Graph& graph, const std::map<std::string, Tensor>& inputs) {
  const FloatEnvironment environment;
  const std::vector<bool> live = graph.live();
  std::vector<Tensor> values(graph.size());
  Interpretation result;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    const Node& node = graph.node(id);
    if (std::holds_alternative<InputComputation>(node.op->compute)) {
      const std::string& name = node.attributes.get<std::string>("name");
      const auto input = inputs.find(name);
      GRADUS_CHECK(input != inputs.end() && input->second.type == node.types[0],
                   "no tensor of the right type for input " + name);
      values[id] = input->second;
      continue;
    }
    std::vector<const Tensor*> operands;
    for (Value operand : graph.operands(id)) operands.push_back(&values[operand.node]);
    Fault fault;
    values[id] = interpret_node(node, operands, fault);
    if (fault.kind != FaultKind::none && result.fault.kind == FaultKind::none) {
      result.fault = {fault.kind, id, fault.element};
    }
  }
  for (const Result& r : graph.results()) {
    (r.update ? result.updates : result.outputs)[r.name] = values[r.value.node];
  }
  return result;
}

}  // namespace gradus::ir
