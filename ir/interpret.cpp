#include "ir/interpret.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include "base/float_environment.h"
#include "base/overloaded.h"
#include "ir/evaluate_scalar.h"
#include "ir/interpret_contraction.h"
#include "ir/interpret_indexing.h"
#include "ir/interpret_sums.h"
#include "ir/op.h"
#include "ir/order.h"
#include "ir/scan.h"

namespace gradus::ir {
namespace {

using Operands = std::vector<const Tensor*>;
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
  if (count == 0) return result;
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

Tensor tiles(const Node& node, const TileComputation& compute, const Tensor& x) {
  const ScalarProgram program = record_tile(compute, x.type, node.attributes);
  const Integers& axes = node.attributes.get<Integers>("axes");
  Tensor result(node.types[0]);
  Shape first = result.type.shape;  // of the tiles' first elements
  for (std::int64_t axis : axes) first[at(axis)] = 1;
  const std::int64_t count = element_count(first);
  /// Calls visit(element of the tile, tile, index) for every element of `shape`.
  const auto for_each_element = [&](const Shape& shape, auto&& visit) {
    Shape extents;
    for (std::int64_t axis : axes) extents.push_back(shape[at(axis)]);
    std::int64_t tile = 0;
    for_each_index(first, [&](Index index) {
      std::int64_t element = 0;
      for_each_index(extents, [&](const Index& place) {
        for (std::size_t i = 0; i < axes.size(); ++i) index[at(axes[i])] = place[i];
        visit(element++, tile, index);
      });
      ++tile;
    });
  };
  std::vector<std::uint64_t> words(program.operand_types.size() * at(count));
  for_each_element(x.type.shape, [&](std::int64_t element, std::int64_t tile, const Index& index) {
    words[at(element * count + tile)] = word_at(x, flat(x.type.shape, index));
  });
  std::vector<std::uint64_t> values(program.results.size() * at(count));
  evaluate_many(program, count, words, {}, values, {});
  for_each_element(
      result.type.shape, [&](std::int64_t element, std::int64_t tile, const Index& index) {
        set_word(result, flat(result.type.shape, index), values[at(element * count + tile)]);
      });
  return result;
}

// --- Reductions ---------------------------------------------------------------------------------

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

// --- Loops --------------------------------------------------------------------------------------

/// Slice number `position` along axis 0 of `stack`, and the other way round.
Tensor slice_of(const Tensor& stack, const TensorType& type, std::int64_t position) {
  Tensor slice(type);
  const std::size_t size = slice.bytes.size();
  if (size > 0) std::memcpy(slice.bytes.data(), stack.bytes.data() + at(position) * size, size);
  return slice;
}
void put_slice(Tensor& stack, const Tensor& slice, std::int64_t position) {
  const std::size_t size = slice.bytes.size();
  if (size > 0) std::memcpy(stack.bytes.data() + at(position) * size, slice.bytes.data(), size);
}

std::vector<Tensor> scan(const Node& node, const Operands& operands, Fault& fault) {
  const Graph& body = *node.attributes.get<GraphPointer>("body");
  const std::int64_t length = node.attributes.get<std::int64_t>("length");
  const bool backwards = node.attributes.get<bool>("reverse");
  const ScanSignature signature = scan_signature(body);
  const auto name = [&](NodeId input) {
    return body.node(input).attributes.get<std::string>("name");
  };
  std::map<std::string, Tensor> inputs;
  const ScanParts<const Tensor*> parts = signature.parts<const Tensor*>(operands);
  for (std::size_t c = 0; c < signature.carried.size(); ++c) {
    inputs[name(signature.carried[c])] = *parts.carried[c];
  }
  for (std::size_t w = 0; w < signature.invariant.size(); ++w) {
    inputs[name(signature.invariant[w])] = *parts.invariant[w];
  }
  std::vector<Tensor> results;
  for (const TensorType& type : node.types) results.emplace_back(type);
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t position = backwards ? length - 1 - i : i;
    for (std::size_t s = 0; s < signature.stacked.size(); ++s) {
      const NodeId input = signature.stacked[s];
      inputs[name(input)] = slice_of(*parts.stacked[s], body.node(input).types[0], position);
    }
    if (signature.iteration) {
      inputs[name(*signature.iteration)] =
          Tensor::scalar(ElementType::i64, static_cast<std::uint64_t>(position));
    }
    const Interpretation one = interpret(body, inputs);
    if (one.fault.kind != FaultKind::none && fault.kind == FaultKind::none) {
      fault = {one.fault.kind, 0, 0};
    }
    for (const auto& [state, value] : one.updates) inputs[state] = value;
    for (std::size_t r = 0; r < signature.outputs.size(); ++r) {
      const Tensor& value = one.outputs.at(signature.outputs[r].name);
      put_slice(results[signature.stack(r)], value, position);
    }
  }
  for (std::size_t r = 0; r < signature.carried.size(); ++r) {
    results[r] = inputs[name(signature.carried[r])];
  }
  return results;
}

Tensor interpret_single(const Node& node, const Operands& operands, Fault& fault) {
  return std::visit(
      overloaded{
          [](const InputComputation&) -> Tensor {
            throw InternalError("an input has no computation");
          },
          [](const ScanComputation&) -> Tensor {
            throw InternalError("a scan has several results");
          },
          [&](const ResultComputation&) { return *operands[0]; },
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
          [&](const TileComputation& compute) { return tiles(node, compute, *operands[0]); },
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
            return interpret_dot(node, *operands[0], *operands[1]);
          },
          [&](const ConvolutionComputation&) {
            return interpret_conv(node, *operands[0], *operands[1]);
          },
          [&](const GatherComputation&) {
            return interpret_gather(node, *operands[0], *operands[1], fault);
          },
          [&](const ScatterComputation&) {
            return interpret_scatter(node, *operands[0], *operands[1], fault);
          },
          [&](const CumulativeComputation&) { return interpret_cumulative(node, *operands[0]); },
          [&](const SortComputation&) { return interpret_sort(node, *operands[0]); },
      },
      node.op->compute);
}

}  // namespace

std::vector<Tensor> interpret_node(const Node& node, const Operands& operands, Fault& fault) {
  if (std::holds_alternative<ScanComputation>(node.op->compute)) {
    return scan(node, operands, fault);
  }
  std::vector<Tensor> results;
  results.push_back(interpret_single(node, operands, fault));
  return results;
}

Interpretation interpret(const Graph& graph, const std::map<std::string, Tensor>& inputs) {
  const FloatEnvironment environment;
  const std::vector<bool> live = graph.live();
  std::vector<std::vector<Tensor>> values(graph.size());
  Interpretation result;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    const Node& node = graph.node(id);
    if (std::holds_alternative<InputComputation>(node.op->compute)) {
      const std::string& name = node.attributes.get<std::string>("name");
      const auto input = inputs.find(name);
      GRADUS_CHECK(input != inputs.end() && input->second.type == node.types[0],
                   "no tensor of the right type for input " + name);
      values[id] = {input->second};
      continue;
    }
    std::vector<const Tensor*> operands;
    for (Value operand : graph.operands(id))
      operands.push_back(&values[operand.node][operand.result]);
    Fault fault;
    values[id] = interpret_node(node, operands, fault);
    if (fault.kind != FaultKind::none && result.fault.kind == FaultKind::none) {
      result.fault = {fault.kind, id, fault.element};
    }
  }
  for (const Result& r : graph.results()) {
    (r.update ? result.updates : result.outputs)[r.name] = values[r.value.node][r.value.result];
  }
  return result;
}

}  // namespace gradus::ir
