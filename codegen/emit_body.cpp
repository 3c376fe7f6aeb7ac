#include "codegen/emit_body.h"

#include <llvm/IR/MDBuilder.h>

#include <algorithm>

#include "base/check.h"
#include "codegen/emit_scalar.h"
#include "codegen/emit_shared_body.h"

namespace gradus::codegen {
namespace {

using ir::ScalarInstruction;
using ir::ScalarOp;
using llvm::Value;

// Instructions from which a part that reads no memory is a function: initial weights of layers
// differ in shape and constants, and their long way from position to number is the same.
constexpr std::size_t kLongPart = 64;

AxisSet axes_of(const Affine& affine) {
  AxisSet axes = 0;
  for (const Term& term : affine.terms) axes |= axis_bit(term.axis);
  return axes;
}

std::size_t argument_count(const ScalarInstruction& instruction) {
  std::size_t count = 0;
  while (count < instruction.arguments.size() && instruction.arguments[count] >= 0) ++count;
  return count;
}

/// Whether `op` takes subnormal floats for zeros.
bool flushes(ScalarOp op) {
  switch (op) {
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::div:
    case ScalarOp::fma:
    case ScalarOp::sqrt:
    case ScalarOp::equal:
    case ScalarOp::not_equal:
    case ScalarOp::less:
    case ScalarOp::less_equal:
      return true;
    default:
      return false;
  }
}

/// By instruction: whether a subnormal value of it is a zero to all that use it.
std::vector<bool> flushed_values(const ir::ScalarProgram& program) {
  std::vector<bool> flushed(program.code.size(), true);
  for (std::int32_t result : program.results) flushed[static_cast<std::size_t>(result)] = false;
  for (const ScalarInstruction& instruction : program.code) {
    if (flushes(instruction.op)) continue;
    for (std::int32_t argument : instruction.arguments) {
      if (argument >= 0) flushed[static_cast<std::size_t>(argument)] = false;
    }
  }
  return flushed;
}

}  // namespace

BodyEmitter::BodyEmitter(EmitContext& context, FlatProgram program, std::span<const Load> loads,
                         const std::vector<AxisId>& axes, VectorAxis vector, int given)
    : c_(context),
      program_(std::move(program)),
      axes_(axes),
      vector_(vector),
      given_(given),
      given_values_(static_cast<std::size_t>(given), nullptr) {
  const AxisSet lane_axis = vector.lanes > 1 ? axis_bit(vector.axis) : 0;
  // An axis without a loop stands still: its position is known from the start.
  AxisSet looped = 0;
  for (AxisId axis : axes) looped |= axis_bit(axis);
  for (const Load& load : loads) operands_.push_back(operand_of(load, looped));
  for (const ScalarInstruction& instruction : program_.code) {
    AxisSet needs = 0;
    bool moves = false;
    if (instruction.op == ScalarOp::operand) {
      const auto number = static_cast<int>(instruction.immediate);
      const bool is_given = number < given;
      const std::size_t loaded = is_given ? 0 : static_cast<std::size_t>(number - given);
      needs = is_given ? looped : operands_[loaded].needs;
      moves = is_given ? vector.lanes > 1 : operands_[loaded].moves;
    } else if (instruction.op == ScalarOp::index) {
      needs = axis_bit(static_cast<AxisId>(instruction.immediate)) & looped;
      moves = (needs & lane_axis) != 0;
    }
    for (std::size_t a = 0; a < argument_count(instruction); ++a) {
      const auto argument = static_cast<std::size_t>(instruction.arguments[a]);
      needs |= needs_[argument];
      moves = moves || moves_[argument];
    }
    needs_.push_back(needs);
    moves_.push_back(moves);
  }
  splat_.assign(program_.code.size(), false);
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if (!moves_[i]) continue;
    for (std::size_t a = 0; a < argument_count(program_.code[i]); ++a) {
      const auto argument = static_cast<std::size_t>(program_.code[i].arguments[a]);
      if (!moves_[argument]) splat_[argument] = true;
    }
  }
  for (std::int32_t result : program_.results) {
    if (!moves_[static_cast<std::size_t>(result)]) splat_[static_cast<std::size_t>(result)] = true;
  }
  flushed_ = flushed_values(program_);
  value_.assign(program_.code.size(), nullptr);
  lanes_.assign(program_.code.size(), nullptr);
}

BodyEmitter::Operand BodyEmitter::operand_of(const Load& load, AxisSet looped) {
  Operand operand{Reference(c_, load.access, vector_), {}, {}};
  operand.early = operand.reference.base_axes();
  if (const std::optional<Pick>& pick = load.access.pick) {
    Operand& index = operands_.at(static_cast<std::size_t>(pick->operand - given_));
    index.picks = true;
    operand.needs |= index.needs;
    if (index.moves) operand.reference.pick_by_lanes();
  }
  operand.moves = !operand.reference.uniform();
  for (const Affine& index : load.access.index) operand.needs |= axes_of(index);
  for (const Guard& guard : load.guards) {
    const bool moves = vector_.moves(guard.value);
    operand.moves = operand.moves || moves;
    (moves ? operand.lane_guards : operand.scalar_guards).push_back(guard);
    operand.needs |= axes_of(guard.value);
    if (!moves) operand.early |= axes_of(guard.value);
  }
  operand.early &= looped;
  operand.needs &= looped;
  return operand;
}

bool BodyEmitter::computes_for(AxisSet axes) const {
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if (needs_[i] == axes && argument_count(program_.code[i]) > 0) return true;
  }
  return false;
}

const ScalarInstruction& BodyEmitter::instruction_of(std::int32_t result) const {
  return program_
      .code[static_cast<std::size_t>(program_.results[static_cast<std::size_t>(result)])];
}

std::optional<std::size_t> BodyEmitter::choice() const {
  // A fault is raised whatever becomes of the value.
  for (const ScalarInstruction& instruction : program_.code) {
    if (ir::can_fault(program_, instruction)) return std::nullopt;
  }
  const auto code = [&](std::int32_t i) -> const ScalarInstruction& {
    return program_.code[static_cast<std::size_t>(i)];
  };
  std::int32_t condition = -1;
  for (std::size_t r = 0; r < program_.results.size(); ++r) {
    const ScalarInstruction& select = instruction_of(static_cast<std::int32_t>(r));
    if (select.op != ScalarOp::select) return std::nullopt;
    if (code(select.arguments[2]).op != ScalarOp::constant) return std::nullopt;
    if (r > 0 && select.arguments[0] != condition) return std::nullopt;
    condition = select.arguments[0];
  }
  if (condition < 0 || moves_[static_cast<std::size_t>(condition)]) return std::nullopt;
  std::vector<std::int32_t> open{condition};
  while (!open.empty()) {
    const ScalarInstruction& instruction = code(open.back());
    open.pop_back();
    if (instruction.op == ScalarOp::operand) return std::nullopt;
    const auto begin = instruction.arguments.begin();
    open.insert(open.end(), begin,
                begin + static_cast<std::ptrdiff_t>(argument_count(instruction)));
  }
  return static_cast<std::size_t>(condition);
}

Value* BodyEmitter::emit_choice(std::size_t condition) {
  emit_arguments(condition);
  return value_[condition];
}

void BodyEmitter::assume(std::size_t condition) {
  value_[condition] = c_.b.getTrue();
  if (splat_[condition]) lanes_[condition] = c_.splat(value_[condition], vector_.lanes);
}

Value* BodyEmitter::otherwise(std::int32_t result) {
  const auto constant = static_cast<std::size_t>(instruction_of(result).arguments[2]);
  emit_arguments(constant);
  return lanes_of(constant);
}

/// Emits instruction `i` and, before it, what it is made of.
void BodyEmitter::emit_arguments(std::size_t i) {
  if (value_[i] != nullptr) return;
  for (std::size_t a = 0; a < argument_count(program_.code[i]); ++a) {
    emit_arguments(static_cast<std::size_t>(program_.code[i].arguments[a]));
  }
  value_[i] = emit(i);
}

void BodyEmitter::give(int operand, Value* value) {
  given_values_[static_cast<std::size_t>(operand)] = value;
}

void BodyEmitter::advance(AxisSet known) {
  for (Operand& operand : operands_) {
    if (!operand.ready && (operand.early & ~known) == 0) prepare(operand);
    if (operand.picks && operand.value == nullptr && (operand.needs & ~known) == 0) {
      operand.value = load(operand);
    }
  }
  const std::vector<std::size_t> shared = shared_part(known);
  auto next = shared.begin();
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if (value_[i] != nullptr || (needs_[i] & ~known) != 0) continue;
    if (next != shared.end() && *next == i) {
      ++next;
      continue;
    }
    value_[i] = emit(i);
    if (splat_[i]) lanes_[i] = c_.splat(value_[i], vector_.lanes);
  }
  if (!shared.empty()) call(shared);
}

std::vector<std::size_t> BodyEmitter::shared_part(AxisSet known) const {
  std::vector<std::size_t> part;
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    const ScalarInstruction& instruction = program_.code[i];
    if (ir::can_fault(program_, instruction)) return {};
    if (instruction.op == ScalarOp::operand && moves_[i]) return {};
    const bool waits = value_[i] == nullptr && (needs_[i] & ~known) == 0;
    if (waits && moves_[i] && argument_count(instruction) > 0) part.push_back(i);
  }
  if (part.size() < kLongPart) part.clear();
  return part;
}

void BodyEmitter::call(std::span<const std::size_t> part) {
  std::vector<std::size_t> results;
  const auto need = [&](std::int32_t value) {
    const auto i = static_cast<std::size_t>(value);
    if (std::ranges::binary_search(part, i) && std::ranges::find(results, i) == results.end()) {
      results.push_back(i);
    }
  };
  for (std::int32_t result : program_.results) need(result);
  // What waits for other axes is made of it.
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if (std::ranges::binary_search(part, i)) continue;
    const ScalarInstruction& instruction = program_.code[i];
    for (std::size_t a = 0; a < argument_count(instruction); ++a) need(instruction.arguments[a]);
  }
  const std::vector<Value*> values = call_shared_body(c_, program_, part, results, vector_.lanes,
                                                      [&](std::size_t i) { return value_[i]; });
  // What stays inside of the function is known to nobody here.
  for (std::size_t i : part) {
    value_[i] = llvm::PoisonValue::get(
        EmitContext::lanes_type(c_.register_type(program_.code[i].type), vector_.lanes));
  }
  for (std::size_t r = 0; r < results.size(); ++r) value_[results[r]] = values[r];
}

void BodyEmitter::forget(AxisId axis) {
  for (Operand& operand : operands_) {
    if ((operand.needs & axis_bit(axis)) != 0) operand.value = nullptr;
    if ((operand.early & axis_bit(axis)) == 0) continue;
    operand.ready = false;
    operand.reference.forget_base();
  }
  for (std::size_t i = 0; i < program_.code.size(); ++i) {
    if ((needs_[i] & axis_bit(axis)) == 0) continue;
    value_[i] = nullptr;
    lanes_[i] = nullptr;
  }
}

void BodyEmitter::prepare(Operand& operand) {
  operand.reference.emit_base();
  operand.guard = nullptr;
  for (const Guard& guard : operand.scalar_guards) {
    Value* holds = emit_guard(c_, guard, vector_);
    operand.guard = operand.guard == nullptr ? holds : c_.b.CreateAnd(operand.guard, holds);
  }
  if (operand.guard != nullptr && operand.moves) {
    operand.guard = c_.splat(operand.guard, vector_.lanes);
  }
  operand.ready = true;
}

void BodyEmitter::place(Reference& reference) {
  if (!reference.pick()) return;
  Operand& index = operands_.at(static_cast<std::size_t>(reference.pick()->operand - given_));
  reference.set_picked(index.value != nullptr ? index.value : load(index),
                       index.reference.element());
}

Value* BodyEmitter::load(Operand& operand) {
  place(operand.reference);
  if (!operand.moves) return operand.reference.load(nullptr, operand.guard);
  Value* mask = mask_;
  const auto also = [&](Value* condition) {
    mask = mask == nullptr ? condition : c_.b.CreateAnd(mask, condition);
  };
  if (operand.guard != nullptr) also(operand.guard);
  for (const Guard& guard : operand.lane_guards) also(emit_guard(c_, guard, vector_));
  return operand.reference.load(mask);
}

Value* BodyEmitter::index(const ScalarInstruction& instruction, bool lanes) {
  llvm::Type* type = c_.register_type(instruction.type);
  Value* first = c_.b.CreateIntCast(c_.position(static_cast<AxisId>(instruction.immediate)), type,
                                    /*isSigned=*/true);
  if (!lanes) return first;
  return c_.b.CreateAdd(c_.splat(first, vector_.lanes), lane_numbers(type, vector_.lanes));
}

Value* BodyEmitter::emit(std::size_t i) {
  const ScalarInstruction& instruction = program_.code[i];
  const int lanes = moves_[i] ? vector_.lanes : 1;
  if (instruction.op == ScalarOp::operand) {
    const auto number = static_cast<int>(instruction.immediate);
    if (number < given_) return given_values_[static_cast<std::size_t>(number)];
    Operand& operand = operands_[static_cast<std::size_t>(number - given_)];
    if (!operand.ready) prepare(operand);
    return operand.value != nullptr ? operand.value : load(operand);
  }
  if (instruction.op == ScalarOp::index) return index(instruction, moves_[i]);
  std::array<Value*, 3> arguments{};
  const std::size_t count = argument_count(instruction);
  for (std::size_t a = 0; a < count; ++a) {
    const auto argument = static_cast<std::size_t>(instruction.arguments[a]);
    arguments[a] = lanes > 1 ? lanes_of(argument) : value_[argument];
  }
  if (instruction.op == ScalarOp::fault) {
    raise(arguments[0], instruction.immediate, program_.nodes[i]);
    return arguments[0];
  }
  if (ir::can_fault(program_, instruction)) {
    llvm::Constant* zero = llvm::Constant::getNullValue(arguments[1]->getType());
    raise(c_.b.CreateICmpEQ(arguments[1], zero),
          static_cast<std::uint64_t>(ir::FaultKind::division_by_zero), program_.nodes[i]);
  }
  if (instruction.op == ScalarOp::select && is_float(instruction.type) && flushed_[i]) {
    return c_.b.CreateSelect(arguments[0], arguments[1], arguments[2]);  // may become an extremum
  }
  const ElementType argument_type =
      count == 0 ? instruction.type
                 : program_.code[static_cast<std::size_t>(instruction.arguments[0])].type;
  return emit_operation(c_, instruction, argument_type, std::span(arguments.data(), count), lanes);
}

// The cold block names the first lane whose condition holds.
void BodyEmitter::raise(Value* condition, std::uint64_t kind, std::uint32_t node) {
  llvm::IRBuilder<>& b = c_.b;
  Value* any = condition;
  Value* lanes = nullptr;
  if (condition->getType()->isVectorTy()) {
    if (mask_ != nullptr) condition = b.CreateAnd(condition, mask_);
    lanes = b.CreateBitCast(condition, b.getIntNTy(static_cast<unsigned>(vector_.lanes)));
    any = b.CreateICmpNE(lanes, llvm::Constant::getNullValue(lanes->getType()));
  }
  llvm::LLVMContext& context = b.getContext();
  llvm::BasicBlock* cold = llvm::BasicBlock::Create(context, "fault", c_.function);
  llvm::BasicBlock* after = llvm::BasicBlock::Create(context, "after", c_.function);
  b.CreateCondBr(any, cold, after, llvm::MDBuilder(context).createUnlikelyBranchWeights());
  b.SetInsertPoint(cold);
  Value* position = c_.i64(0);
  for (AxisId axis : axes_) {
    position = b.CreateAdd(b.CreateMul(position, c_.i64(c_.axis(axis).extent)), c_.position(axis));
  }
  if (lanes != nullptr) {
    Value* lane = b.CreateBinaryIntrinsic(llvm::Intrinsic::cttz, lanes, b.getTrue());
    position = b.CreateAdd(position, b.CreateZExt(lane, b.getInt64Ty()));
  }
  constexpr int kKindShift = 56;
  constexpr int kNodeShift = 32;
  constexpr std::uint64_t kNodeMask = 0xffffff;
  const std::uint64_t high = (kind << kKindShift) | ((node & kNodeMask) << kNodeShift);
  Value* word = b.CreateOr(b.CreateAnd(position, b.getInt64(0xffffffff)), b.getInt64(high));
  b.CreateAtomicCmpXchg(c_.fault, b.getInt64(0), word, llvm::Align(8),
                        llvm::AtomicOrdering::Monotonic, llvm::AtomicOrdering::Monotonic);
  b.CreateBr(after);
  b.SetInsertPoint(after);
}

Value* BodyEmitter::lanes_of(std::size_t i) {
  if (moves_[i]) return value_[i];
  if (lanes_[i] == nullptr) lanes_[i] = c_.splat(value_[i], vector_.lanes);
  return lanes_[i];
}

Value* BodyEmitter::wanted(std::int32_t result) {
  emit_arguments(static_cast<std::size_t>(program_.results[static_cast<std::size_t>(result)]));
  return this->result(result);
}

Value* BodyEmitter::result(std::int32_t result) {
  const auto i = static_cast<std::size_t>(program_.results[static_cast<std::size_t>(result)]);
  return lanes_of(i);
}

}  // namespace gradus::codegen
