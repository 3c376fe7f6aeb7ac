#include "codegen/unread.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/overloaded.h"
#include "ir/evaluate_scalar.h"

namespace gradus::codegen {
namespace {

using Word = std::uint64_t;

/// A half-plane in the dimensions of a buffer.
struct Region {
  std::size_t low = 0;
  std::size_t high = 0;
  std::int64_t offset = 0;
  friend bool operator==(const Region&, const Region&) = default;
};

/// The dimension whose index is the position along the axis, if the index of no other one moves
/// with it.
std::optional<std::size_t> dimension_of(const Access& access, AxisId axis) {
  std::optional<std::size_t> found;
  for (std::size_t d = 0; d < access.index.size(); ++d) {
    const Affine& index = access.index[d];
    if (std::ranges::none_of(index.terms, [&](const Term& t) { return t.axis == axis; })) continue;
    const bool plain = index == Affine{{{axis, 1}}, 0, 1};
    if (found || !plain) return std::nullopt;
    found = d;
  }
  return found;
}

std::optional<Region> region_of(const Access& access, const HalfPlane& half_plane) {
  const auto low = dimension_of(access, half_plane.low);
  const auto high = dimension_of(access, half_plane.high);
  if (access.pick || !low || !high) return std::nullopt;
  return Region{*low, *high, half_plane.offset};
}

/// The axes that an access has in the dimensions of a region.
std::optional<HalfPlane> half_plane_of(const Access& access, const Region& region) {
  const auto axis_of = [&](std::size_t dimension) -> std::optional<AxisId> {
    if (dimension >= access.index.size() || access.index[dimension].terms.size() != 1) {
      return std::nullopt;
    }
    return access.index[dimension].terms[0].axis;
  };
  const auto low = axis_of(region.low);
  const auto high = axis_of(region.high);
  if (!low || !high) return std::nullopt;
  const HalfPlane result{*low, *high, region.offset};
  return region_of(access, result) == region ? std::optional(result) : std::nullopt;
}

/// What the instructions of a program are where a half-plane does not admit.
class Outside {
 public:
  Outside(const ir::ScalarProgram& program, const std::vector<std::optional<Word>>& operands,
          const HalfPlane& half_plane)
      : program_(program), half_plane_(half_plane) {
    for (const ir::ScalarInstruction& i : program.code) {
      value_.push_back(i.op == ir::ScalarOp::operand ? operands.at(i.immediate) : value(i));
    }
  }
  [[nodiscard]] std::optional<Word> result(std::int32_t number) const {
    return of(program_.results.at(static_cast<std::size_t>(number)));
  }

 private:
  [[nodiscard]] std::optional<Word> of(std::int32_t instruction) const {
    return value_[static_cast<std::size_t>(instruction)];
  }

  std::optional<Word> value(const ir::ScalarInstruction& i) const {
    using enum ir::ScalarOp;
    if (i.op == constant) return i.immediate;
    if (i.op == index || i.op == fault) return std::nullopt;
    if (i.op == less_equal && is_border(i)) return Word{0};
    if (i.op == bit_and && i.type == ElementType::boolean &&
        (of(i.arguments[0]) == Word{0} || of(i.arguments[1]) == Word{0})) {
      return Word{0};
    }
    if (i.op == select) {
      const std::optional<Word> condition = of(i.arguments[0]);
      return condition ? of(i.arguments[*condition != 0 ? 1 : 2]) : std::nullopt;
    }
    return evaluated(i);
  }

  /// Of constants only.
  std::optional<Word> evaluated(ir::ScalarInstruction i) const {
    ir::ScalarProgram single;
    for (std::int32_t& argument : i.arguments) {
      if (argument < 0) break;
      const std::optional<Word> known = of(argument);
      if (!known) return std::nullopt;
      const ElementType type = program_.code[static_cast<std::size_t>(argument)].type;
      argument = static_cast<std::int32_t>(single.code.size());
      single.code.push_back({ir::ScalarOp::constant, type, {-1, -1, -1}, *known});
    }
    single.code.push_back(i);
    single.results = {static_cast<std::int32_t>(single.code.size()) - 1};
    std::array<Word, 1> result{};
    Word raised = 0;
    ir::evaluate(single, {}, {}, result, &raised);
    return raised == 0 ? std::optional(result[0]) : std::nullopt;
  }

  /// Whether it asks for what the half-plane admits.
  [[nodiscard]] bool is_border(const ir::ScalarInstruction& i) const {
    return half_plane_.offset == 0 && is_position(i.arguments[0], half_plane_.low) &&
           is_position(i.arguments[1], half_plane_.high);
  }
  [[nodiscard]] bool is_position(std::int32_t instruction, AxisId axis) const {
    const ir::ScalarInstruction& i = program_.code[static_cast<std::size_t>(instruction)];
    if (i.op == ir::ScalarOp::convert && is_signed_integer(i.type)) {
      return is_position(i.arguments[0], axis);
    }
    return i.op == ir::ScalarOp::index && is_signed_integer(i.type) &&
           i.immediate == static_cast<Word>(axis);
  }

  const ir::ScalarProgram& program_;
  const HalfPlane& half_plane_;
  std::vector<std::optional<Word>> value_;  // by instruction
};

class Finder {
 public:
  explicit Finder(const Kernel& kernel) : kernel_(kernel), result_(kernel.stages.size()) {}

  std::vector<std::optional<Unread>> run() {
    const bool any = std::ranges::any_of(kernel_.stages, [](const Stage& stage) {
      const auto* contract = std::get_if<Contract>(&stage);
      return contract != nullptr && contract->half_plane.has_value();
    });
    if (!any) return std::move(result_);
    count_writers();
    for (const Stage& stage : kernel_.stages) note_constants(stage);
    for (std::size_t i = kernel_.stages.size(); i-- > 0;) {
      std::visit([&](const auto& stage) { visit(i, stage); }, kernel_.stages[i]);
    }
    return std::move(result_);
  }

 private:
  /// What scratch holds outside of a region.
  struct Constant {
    Region region;
    Word word = 0;
  };

  void count_writers() {
    for (std::size_t i = 0; i < kernel_.stages.size(); ++i) {
      std::visit(
          [&](const auto& stage) {
            for (const Store& store : stage.stores) ++writers_[store.target.buffer];
          },
          kernel_.stages[i]);
      if (const auto* loop = std::get_if<Loop>(&kernel_.stages[i])) {
        for (const Accumulate& sum : loop->accumulates) ++writers_[sum.target.buffer];
      }
    }
  }

  [[nodiscard]] const Buffer& buffer(const Access& access) const {
    return kernel_.buffers[static_cast<std::size_t>(access.buffer)];
  }
  [[nodiscard]] bool is_scratch(const Access& access) const {
    return buffer(access).role == BufferRole::scratch && writers_.at(access.buffer) == 1;
  }

  /// The operands outside: those that the caller gives, then the loads.
  std::vector<std::optional<Word>> operands(const Body& body, const HalfPlane& half_plane,
                                            std::vector<std::optional<Word>> given) const {
    for (const Load& load : body.loads) {
      const auto found = constants_.find(load.access.buffer);
      const bool known = found != constants_.end() && load.guards.empty() &&
                         region_of(load.access, half_plane) == found->second.region;
      given.push_back(known ? std::optional(found->second.word) : std::nullopt);
    }
    return given;
  }

  void note_stores(const Body& body, const std::vector<Store>& stores, const HalfPlane& half_plane,
                   std::vector<std::optional<Word>> given) {
    const Outside outside(body.program, operands(body, half_plane, std::move(given)), half_plane);
    for (const Store& store : stores) {
      const std::optional<Region> region = region_of(store.target, half_plane);
      const std::optional<Word> word = outside.result(store.value);
      if (region && word && is_scratch(store.target)) {
        constants_.emplace(store.target.buffer, Constant{*region, *word});
      }
    }
  }
  void note_constants(const Stage& stage) {
    if (const auto* loop = std::get_if<Loop>(&stage)) {
      for (const HalfPlane& border : borders_of(*loop)) {
        note_stores(loop->body, loop->stores, border, {});
      }
      return;
    }
    const auto& contract = std::get<Contract>(stage);
    if (is_of_result(contract) && !sums_over_tiles(kernel_, contract)) {
      note_stores(contract.epilogue, contract.stores, *contract.half_plane, {Word{0}});
    }
  }

  /// The border is between rows and columns of the result.
  static bool is_of_result(const Contract& contract) {
    return contract.half_plane && contract.half_plane->low != contract.k.front() &&
           contract.half_plane->high != contract.k.front();
  }

  /// Half-planes that may matter to a loop: of what it reads, and of what is read of it.
  std::vector<HalfPlane> borders_of(const Loop& loop) const {
    std::vector<HalfPlane> result;
    const auto add = [&](const std::optional<HalfPlane>& border) {
      if (border && std::ranges::find(result, *border) == result.end()) result.push_back(*border);
    };
    for (const Load& load : loop.body.loads) {
      const auto found = constants_.find(load.access.buffer);
      if (found != constants_.end()) add(half_plane_of(load.access, found->second.region));
    }
    for (const Stage& stage : kernel_.stages) {
      const auto* contract = std::get_if<Contract>(&stage);
      if (contract == nullptr || !contract->half_plane) continue;
      for (const Access* factor : {&contract->lhs, &contract->rhs}) {
        const std::optional<Region> region = region_of(*factor, *contract->half_plane);
        if (!region) continue;
        for (const Store& store : loop.stores) {
          if (store.target.buffer == factor->buffer) add(half_plane_of(store.target, *region));
        }
        for (const Load& load : loop.body.loads) {
          if (load.access.buffer == factor->buffer) add(half_plane_of(load.access, *region));
        }
      }
      // The result of the contraction, read by the loop.
      for (const Store& store : contract->stores) {
        const std::optional<Region> region = region_of(store.target, *contract->half_plane);
        for (const Load& load : loop.body.loads) {
          if (region && load.access.buffer == store.target.buffer) {
            add(half_plane_of(load.access, *region));
          }
        }
      }
    }
    return result;
  }

  void visit(std::size_t number, const Loop& loop) {
    if (!loop.ordered.empty()) return;
    for (const HalfPlane& border : borders_of(loop)) {
      if (!fits(loop, border) || !all_unread(number, loop.stores, border)) continue;
      const Outside outside(loop.body.program, operands(loop.body, border, {}), border);
      Unread unread{border, {}};
      for (const Accumulate& sum : loop.accumulates) {
        const std::optional<Word> word = outside.result(sum.value);
        if (!word || !changes_once(loop, border, sum, *word)) break;
        unread.constants.push_back(*word);
      }
      if (unread.constants.size() != loop.accumulates.size()) continue;
      result_[number] = std::move(unread);
      return;
    }
  }
  void visit(std::size_t number, const Contract& contract) {
    const bool goes_on = sums_over_tiles(kernel_, contract) || contract.chunk.size > 0;
    if (!is_of_result(contract) || goes_on || has_faults(contract.epilogue)) return;
    if (all_unread(number, contract.stores, *contract.half_plane)) {
      result_[number] = Unread{*contract.half_plane, {}};
    }
  }

  static bool has_faults(const Body& body) { return !body.fault_nodes.empty(); }

  /// The border is between the innermost axis, all of which is there, and another one.
  [[nodiscard]] bool fits(const Loop& loop, const HalfPlane& border) const {
    const AxisId inner = loop.axes.back();
    const AxisId other = border.other(inner);
    const auto is_long = [&](AxisId axis) {
      const Axis& described = kernel_.axes[static_cast<std::size_t>(axis)];
      return described.extent > 1 && described.block_of < 0;
    };
    const bool cut = (kernel_.tile && kernel_.tile->axis == inner) ||
                     std::ranges::any_of(kernel_.tasks, [&](const TaskAxis& task) {
                       return task.axis == inner && task.cut.count > 1;
                     });
    return (border.low == inner || border.high == inner) && !cut && is_long(inner) &&
           is_long(other) && std::ranges::find(loop.axes, other) != loop.axes.end() &&
           !has_faults(loop.body);
  }

  /// To add the constant again, or after the others instead of where it stands, changes nothing.
  /// +0 makes a sum of -0 +0 unless it comes first, as it does where beginnings are left out.
  static bool changes_once(const Loop& loop, const HalfPlane& border, const Accumulate& sum,
                           Word word) {
    if (sum.over != std::vector<AxisId>{loop.axes.back()}) return false;
    if (sum.kind == ir::ReductionKind::max || sum.kind == ir::ReductionKind::min) return true;
    return sum.kind == ir::ReductionKind::sum && sum.lanes && word == 0 &&
           border.low == loop.axes.back();
  }

  /// Whether nobody reads what is stored behind the border.
  [[nodiscard]] bool all_unread(std::size_t number, const std::vector<Store>& stores,
                                const HalfPlane& border) const {
    return std::ranges::all_of(stores, [&](const Store& store) {
      const std::optional<Region> region = region_of(store.target, border);
      return region && is_scratch(store.target) && is_unread(number, store.target.buffer, *region);
    });
  }
  [[nodiscard]] bool is_unread(std::size_t writer, BufferId buffer, const Region& region) const {
    for (std::size_t i = 0; i < kernel_.stages.size(); ++i) {
      bool outside = false;
      const auto read = [&](const Access& access, const std::optional<HalfPlane>& inside) {
        if (access.buffer != buffer) return;
        outside = outside || i <= writer || !inside || region_of(access, *inside) != region;
      };
      std::optional<HalfPlane> own;
      if (result_[i]) own = result_[i]->half_plane;
      std::visit(overloaded{[&](const Loop& loop) {
                              for (const Load& load : loop.body.loads) read(load.access, own);
                            },
                            [&](const Contract& contract) {
                              read(contract.lhs, contract.half_plane);
                              read(contract.rhs, contract.half_plane);
                              for (const Load& load : contract.epilogue.loads) {
                                read(load.access, own);
                              }
                            }},
                 kernel_.stages[i]);
      if (outside) return false;
    }
    return true;
  }

  const Kernel& kernel_;
  std::vector<std::optional<Unread>> result_;
  std::map<BufferId, int> writers_;
  std::map<BufferId, Constant> constants_;
};

}  // namespace

std::vector<std::optional<Unread>> unread_parts(const Kernel& kernel) {
  return Finder(kernel).run();
}

}  // namespace gradus::codegen
