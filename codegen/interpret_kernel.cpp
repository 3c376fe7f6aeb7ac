#include "codegen/interpret_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/float_environment.h"
#include "base/overloaded.h"
#include "base/tensor.h"
#include "codegen/kernel_index.h"
#include "codegen/text_kernel.h"
#include "ir/evaluate_scalar.h"

namespace gradus::codegen {
namespace {

/// A value of any element type; see ir/evaluate_scalar.h.
using Word = std::uint64_t;
using Index = std::int64_t;

/// `op` of two words of type `type`, as a scalar program computes it.
Word combine(ir::ScalarOp op, ElementType type, Word a, Word b) {
  ir::ScalarProgram program{{type, type}, {}, {2}};
  program.code = {{ir::ScalarOp::operand, type, {-1, -1, -1}, 0},
                  {ir::ScalarOp::operand, type, {-1, -1, -1}, 1},
                  {op, type, {0, 1, -1}, 0}};
  const Word operands[] = {a, b};
  Word result = 0;
  ir::evaluate(program, operands, {}, {&result, 1}, nullptr);
  return result;
}

/// a is less than b, or b is no number and a is one.
bool ordered_before(ElementType type, Word a, Word b) {
  return dispatch(type, [&](auto sample) {
    const auto x = ir::from_word<decltype(sample)>(a);
    const auto y = ir::from_word<decltype(sample)>(b);
    return x < y || (x == x && y != y);
  });
}

Word extreme(ElementType type, bool greatest) {
  return dispatch(type, [&](auto sample) {
    using T = decltype(sample);
    using Limits = std::numeric_limits<T>;
    if constexpr (std::is_floating_point_v<T>) {
      return ir::to_word(greatest ? Limits::infinity() : -Limits::infinity());
    } else {
      return ir::to_word(greatest ? Limits::max() : Limits::min());
    }
  });
}

/// One element of a reduction under way.
class Accumulator {
 public:
  Accumulator(const Accumulate& rule, ElementType type) : rule_(&rule), type_(type) {
    using enum ir::ReductionKind;
    const Word start = rule.kind == max   ? extreme(type, false)
                       : rule.kind == min ? extreme(type, true)
                       : rule.kind == all ? 1
                                          : 0;
    values_.assign(rule.lanes ? ir::kLanes : 1, start);
  }

  /// `innermost`: position along the last axis of `over`; `position`: row-major over all of them.
  void add(Word value, Index innermost, Index position) {
    using enum ir::ReductionKind;
    Word& partial = values_[rule_->lanes ? static_cast<std::size_t>(innermost % ir::kLanes) : 0];
    switch (rule_->kind) {
      case sum:
        partial = combine(ir::ScalarOp::add, type_, partial, value);
        break;
      case max:
        partial = combine(ir::ScalarOp::max, type_, partial, value);
        break;
      case min:
        partial = combine(ir::ScalarOp::min, type_, partial, value);
        break;
      case any:
        partial |= value;
        break;
      case all:
        partial &= value;
        break;
      case arg_max:
      case arg_min:
        if (position_ < 0 || better(value, partial)) {
          partial = value;
          position_ = position;
        }
        break;
    }
  }

  /// The complete value.
  [[nodiscard]] Word result() {
    using enum ir::ReductionKind;
    if (rule_->kind == arg_max || rule_->kind == arg_min) {
      return ir::to_word(static_cast<std::int32_t>(std::max<Index>(position_, 0)));
    }
    for (std::size_t half = values_.size() / 2; half > 0; half /= 2) {
      for (std::size_t lane = 0; lane < half; ++lane) {
        values_[lane] = combine(ir::ScalarOp::add, type_, values_[lane], values_[lane + half]);
      }
    }
    return values_[0];
  }

 private:
  [[nodiscard]] bool better(Word value, Word best) const {
    if (rule_->kind == ir::ReductionKind::arg_max) return ordered_before(type_, best, value);
    return dispatch(type_, [&](auto sample) {
      const auto x = ir::from_word<decltype(sample)>(value);
      const auto y = ir::from_word<decltype(sample)>(best);
      return x < y || (x != x && y == y);
    });
  }

  const Accumulate* rule_;
  ElementType type_;
  std::vector<Word> values_;
  Index position_ = -1;
};

/// The accumulators of one reduction by the element of the target that they end in.
using Accumulators = std::map<Index, Accumulator>;

Word load_word(ElementType type, const std::byte* at) {
  return dispatch(type, [&](auto sample) {
    std::memcpy(&sample, at, sizeof sample);
    return ir::to_word(sample);
  });
}

void store_word(ElementType type, std::byte* at, Word word) {
  dispatch(type, [&](auto sample) {
    sample = ir::from_word<decltype(sample)>(word);
    std::memcpy(at, &sample, sizeof sample);
  });
}

/// Signalling NaNs for floats; integers far from any index.
void fill_with_garbage(Tensor& tensor) {
  const Word garbage = tensor.type.element == ElementType::f64   ? 0x7FF5A5A5A5A5A5A5u
                       : tensor.type.element == ElementType::f32 ? 0x7FA5A5A5u
                                                                 : 0xA5A5A5A5A5A5A5A5u;
  const auto size = static_cast<std::size_t>(byte_size(tensor.type.element));
  for (std::size_t at = 0; at + size <= tensor.bytes.size(); at += size) {
    std::memcpy(tensor.bytes.data() + at, &garbage, size);
  }
}

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, std::span<std::byte* const> parameters,
              runtime::FaultWord* fault)
      : kernel_(kernel), fault_(fault) {
    ranges_.resize(kernel.axes.size());
    positions_.resize(kernel.axes.size());
    scratch_.reserve(kernel.buffers.size());
    for (const Buffer& buffer : kernel.buffers) {
      if (buffer.role == BufferRole::scratch) {
        buffers_.push_back(scratch_.emplace_back(buffer.type).bytes.data());
      } else {
        GRADUS_CHECK(buffers_.size() < parameters.size(), "a kernel without all parameters");
        buffers_.push_back(parameters[buffers_.size()]);
      }
    }
    GRADUS_CHECK(buffers_.size() - scratch_.size() == parameters.size(), "too many parameters");
  }

  void run_task(Index task) {
    GRADUS_CHECK(task >= 0 && task < kernel_.task_count(), "no such task");
    set_task_ranges(task);
    open_.clear();
    open_sums_.clear();
    if (!kernel_.tile) {
      run_stages();
    } else {
      ir::Range& range = ranges_[at(kernel_.tile->axis)];
      const ir::Range whole = range;
      const Index tiles =
          std::max<Index>(1, (whole.size() + kernel_.tile->size - 1) / kernel_.tile->size);
      const ir::Cut cut{whole.size(), tiles, 1};
      for (Index tile = 0; tile < tiles; ++tile) {
        range = {whole.begin + cut(tile).begin, whole.begin + cut(tile).end};
        run_stages();
      }
    }
    for (auto& [rule, accumulators] : open_) finish(*rule, accumulators);
    for (const auto& [contract, sums] : open_sums_) finish(*contract, sums);
  }

 private:
  static std::size_t at(std::int32_t id) { return static_cast<std::size_t>(id); }

  void set_task_ranges(Index task) {
    for (std::size_t axis = 0; axis < ranges_.size(); ++axis) {
      ranges_[axis] = {0, kernel_.axes[axis].extent};
    }
    for (std::size_t i = kernel_.tasks.size(); i-- > 0;) {
      const TaskAxis& axis = kernel_.tasks[i];
      const Index part = task % axis.cut.count;
      task /= axis.cut.count;
      ranges_[at(axis.axis)] = axis.cut(part);
      for (std::size_t block = 0; block < ranges_.size(); ++block) {
        if (kernel_.axes[block].block_of == axis.axis) ranges_[block] = {part, part + 1};
      }
    }
  }

  void run_stages() {
    for (Tensor& scratch : scratch_) fill_with_garbage(scratch);
    for (const Stage& stage : kernel_.stages) {
      for (std::size_t axis = 0; axis < ranges_.size(); ++axis) {
        positions_[axis] = ranges_[axis].begin;
      }
      std::visit([&](const auto& s) { run(s); }, stage);
    }
  }

  /// Calls `point` for every point of the box of `axes`, row-major.
  template <typename Function>
  void for_each_point(std::span<const AxisId> axes, Function&& point) {
    if (axes.empty()) return point();
    const ir::Range range = ranges_[at(axes.front())];
    for (Index i = range.begin; i < range.end; ++i) {
      positions_[at(axes.front())] = i;
      for_each_point(axes.subspan(1), point);
    }
    positions_[at(axes.front())] = range.begin;
  }

  // --- Elements ---

  /// The exact value of an index at the current point; empty where the division leaves a rest.
  [[nodiscard]] std::optional<Index> value_of(const Affine& affine) const {
    Index value = affine.offset;
    for (const Term& term : affine.terms) value += term.coefficient * positions_[at(term.axis)];
    if (value % affine.divisor != 0) return std::nullopt;
    return value / affine.divisor;
  }
  [[nodiscard]] bool admits(const Guard& guard) const {
    const std::optional<Index> value = value_of(guard.value);
    return value && *value >= 0 && *value < guard.extent;
  }
  /// Row-major position in the buffer of the element at `indices`.
  [[nodiscard]] Index offset_of(const Access& access, std::span<const Index> indices) const {
    const Buffer& buffer = kernel_.buffers[at(access.buffer)];
    GRADUS_CHECK(indices.size() == buffer.type.shape.size(), to_string(access, kernel_));
    Index offset = 0;
    for (std::size_t d = 0; d < indices.size(); ++d) {
      const AxisId local = buffer.local.empty() ? -1 : buffer.local[d];
      const Index index = indices[d] - (local < 0 ? 0 : ranges_[at(local)].begin);
      GRADUS_CHECK(index >= 0 && index < buffer.type.shape[d],
                   fmt::format("kernel {}: {} outside of {} in dimension {}", kernel_.name,
                               to_string(access, kernel_), gradus::to_string(buffer.type), d));
      offset = offset * buffer.type.shape[d] + index;
    }
    return offset;
  }
  [[nodiscard]] std::vector<Index> indices_of(const Access& access) const {
    std::vector<Index> indices;
    for (const Affine& affine : access.index) {
      if (is_picked(access, indices.size())) {
        indices.push_back(picked(access));
        continue;
      }
      const std::optional<Index> value = value_of(affine);
      GRADUS_CHECK(value.has_value(), to_string(access, kernel_) + " is not exact");
      indices.push_back(*value);
    }
    return indices;
  }
  /// The index that an operand of the body gives, or the nearest one that exists.
  [[nodiscard]] Index picked(const Access& access) const {
    const auto operand = at(access.pick->operand);
    const Index position = dispatch(operand_types_.at(operand), [&](auto sample) {
      return static_cast<Index>(ir::from_word<decltype(sample)>(operands_.at(operand)));
    });
    const Shape& shape = kernel_.buffers[at(access.buffer)].type.shape;
    return std::clamp<Index>(position, 0, shape[at(access.pick->dimension)] - 1);
  }
  [[nodiscard]] Index offset_of(const Access& access) const {
    return offset_of(access, indices_of(access));
  }
  [[nodiscard]] ElementType type_of(const Access& access) const {
    return kernel_.buffers[at(access.buffer)].type.element;
  }
  [[nodiscard]] std::byte* address(const Access& access, Index offset) const {
    return buffers_[at(access.buffer)] + offset * byte_size(type_of(access));
  }
  [[nodiscard]] Word read(const Access& access) const {
    return load_word(type_of(access), address(access, offset_of(access)));
  }

  // --- Bodies ---

  /// The results of `body` at the current point; `operands` are those before the loads.
  [[nodiscard]] std::vector<Word> evaluate(const Body& body, std::vector<Word> operands,
                                           std::span<const AxisId> axes) {
    operands_ = std::move(operands);
    operand_types_ = body.program.operand_types;
    for (const Load& load : body.loads) {
      const bool admitted = std::all_of(load.guards.begin(), load.guards.end(),
                                        [&](const Guard& guard) { return admits(guard); });
      operands_.push_back(admitted ? read(load.access) : 0);
    }
    std::vector<Word> results(body.program.results.size());
    ir::ScalarFault fault;
    ir::evaluate_many(body.program, 1, operands_, positions_, results, {&fault, 1});
    if (fault.kind != ir::FaultKind::none) raise(body, fault, axes);
    return results;
  }
  void raise(const Body& body, const ir::ScalarFault& fault, std::span<const AxisId> axes) {
    if (fault_ == nullptr || *fault_ != 0) return;
    std::size_t number = 0;  // among the instructions that can fault
    for (std::size_t i = 0; i < at(fault.instruction); ++i) {
      number += ir::can_fault(body.program, body.program.code[i]) ? 1 : 0;
    }
    Index position = 0;
    for (AxisId axis : axes) {
      position = position * kernel_.axes[at(axis)].extent + positions_[at(axis)];
    }
    *fault_ = static_cast<runtime::FaultWord>(fault.kind) << 56 |
              static_cast<runtime::FaultWord>(body.fault_nodes.at(number)) << 32 |
              static_cast<std::uint32_t>(position);
  }
  void store(const std::vector<Store>& stores, const std::vector<Word>& results) {
    for (const Store& each : stores) {
      store_word(type_of(each.target), address(each.target, offset_of(each.target)),
                 results.at(at(each.value)));
    }
  }

  // --- Loops ---

  [[nodiscard]] bool completes_with_task(const Accumulate& rule) const {
    return std::any_of(rule.over.begin(), rule.over.end(), [&](AxisId axis) {
      return (kernel_.tile && kernel_.tile->axis == axis) ||
             std::any_of(kernel_.tasks.begin(), kernel_.tasks.end(),
                         [&](const TaskAxis& task) { return task.axis == axis; });
    });
  }

  void run(const Loop& loop) {
    std::vector<Accumulators> local(loop.accumulates.size());
    const auto accumulators_of = [&](std::size_t i) -> Accumulators& {
      const Accumulate& rule = loop.accumulates[i];
      return completes_with_task(rule) ? open_[&rule] : local[i];
    };
    for (std::size_t i = 0; i < loop.accumulates.size(); ++i) {
      start(loop.accumulates[i], loop, accumulators_of(i));
    }
    for_each_point(loop.axes, [&] {
      const std::vector<Word> results = evaluate(loop.body, {}, loop.axes);
      store(loop.stores, results);
      for (std::size_t i = 0; i < loop.accumulates.size(); ++i) {
        const Accumulate& rule = loop.accumulates[i];
        add(rule, accumulators_of(i), results.at(at(rule.value)));
      }
    });
    for (std::size_t i = 0; i < local.size(); ++i) finish(loop.accumulates[i], local[i]);
  }
  /// Makes an accumulator for each element of the target that this loop reduces to, so that
  /// reductions over nothing have their value too.
  void start(const Accumulate& rule, const Loop& loop, Accumulators& accumulators) {
    std::vector<AxisId> kept;
    for (AxisId axis : loop.axes) {
      if (std::find(rule.over.begin(), rule.over.end(), axis) == rule.over.end()) {
        kept.push_back(axis);
      }
    }
    const std::int32_t result = loop.body.program.results.at(at(rule.value));
    const ElementType type = loop.body.program.code.at(at(result)).type;
    for_each_point(kept,
                   [&] { accumulators.emplace(offset_of(rule.target), Accumulator(rule, type)); });
  }
  void add(const Accumulate& rule, Accumulators& accumulators, Word value) {
    Index position = 0;
    for (AxisId axis : rule.over) {
      position = position * kernel_.axes[at(axis)].extent + positions_[at(axis)];
    }
    const Index innermost = rule.over.empty() ? 0 : positions_[at(rule.over.back())];
    accumulators.at(offset_of(rule.target)).add(value, innermost, position);
  }
  void finish(const Accumulate& rule, Accumulators& accumulators) {
    for (auto& [offset, accumulator] : accumulators) {
      store_word(type_of(rule.target), address(rule.target, offset), accumulator.result());
    }
  }

  // --- Contractions ---

  void run(const Contract& contract) {
    const std::vector<AxisId> axes = contract.result_axes();
    const bool tiled = sums_over_tiles(kernel_, contract);
    std::size_t number = 0;
    for_each_point(axes, [&] {
      Word start = 0;
      if (tiled) {
        std::vector<Word>& sums = open_sums_[&contract];
        if (number == sums.size()) sums.push_back(start);
        start = sums[number];
      }
      const Word sum = type_of(contract.lhs) == ElementType::f32
                           ? sum_of_products<float>(contract, start)
                           : sum_of_products<double>(contract, start);
      if (tiled) {
        open_sums_[&contract][number++] = sum;
      } else {
        store(contract.stores, evaluate(contract.epilogue, {sum}, axes));
      }
    });
  }
  void finish(const Contract& contract, const std::vector<Word>& sums) {
    const std::vector<AxisId> axes = contract.result_axes();
    std::size_t number = 0;
    for_each_point(axes, [&] {
      store(contract.stores, evaluate(contract.epilogue, {sums.at(number++)}, axes));
    });
  }
  /// `start` is where a single chain begins.
  template <typename T>
  Word sum_of_products(const Contract& contract, Word start) {
    T sum{0};
    const AxisId first = contract.k.front();
    const ir::Range whole = ranges_[at(first)];
    for (Index part = 0; part < contract.parts.count; ++part) {
      T chain = contract.parts.count == 1 ? ir::from_word<T>(start) : T{0};
      if (contract.parts.count > 1) ranges_[at(first)] = contract.parts(part);
      for_each_point(contract.k, [&] {
        if (!admits(contract)) return;
        chain = fused_multiply_add(ir::from_word<T>(read(contract.lhs)),
                                   ir::from_word<T>(read_rhs(contract)), chain);
      });
      sum = contract.parts.count == 1 ? chain : sum + chain;
    }
    ranges_[at(first)] = whole;
    return ir::to_word(sum);
  }
  [[nodiscard]] bool admits(const Contract& contract) const {
    if (!contract.half_plane) return true;
    const HalfPlane& half_plane = *contract.half_plane;
    return positions_[at(half_plane.low)] <= positions_[at(half_plane.high)] + half_plane.offset;
  }
  [[nodiscard]] Word read_rhs(const Contract& contract) const {
    if (contract.panel == 0) return read(contract.rhs);
    const Index n = positions_[at(contract.n)];
    std::vector<Index> indices = indices_of(contract.rhs);
    Index position = 0;
    for (AxisId k : contract.k)
      position = position * kernel_.axes[at(k)].extent + positions_[at(k)];
    indices.insert(indices.end(), {n / contract.panel, position, n % contract.panel});
    return load_word(type_of(contract.rhs),
                     address(contract.rhs, offset_of(contract.rhs, indices)));
  }

  const Kernel& kernel_;
  runtime::FaultWord* fault_;
  std::vector<Tensor> scratch_;
  std::vector<std::byte*> buffers_;
  std::vector<ir::Range> ranges_;  // current, by axis
  std::vector<Index> positions_;   // current, by axis
  std::vector<Word> operands_;     // of the body, at the current point
  std::vector<ElementType> operand_types_;
  std::map<const Accumulate*, Accumulators> open_;  // complete at the end of the task
  std::map<const Contract*, std::vector<Word>> open_sums_;
};

}  // namespace

void interpret(const Kernel& kernel, std::span<std::byte* const> buffers, runtime::FaultWord* fault,
               std::span<const std::int64_t> tasks) {
  const FloatEnvironment environment;
  Interpreter interpreter(kernel, buffers, fault);
  for (std::int64_t task : tasks) interpreter.run_task(task);
}

void interpret(const Kernel& kernel, std::span<std::byte* const> buffers,
               runtime::FaultWord* fault) {
  std::vector<std::int64_t> tasks(static_cast<std::size_t>(kernel.task_count()));
  std::iota(tasks.begin(), tasks.end(), 0);
  interpret(kernel, buffers, fault, tasks);
}

}  // namespace gradus::codegen
