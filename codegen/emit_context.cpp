#include "codegen/emit_context.h"

#include <llvm/IR/Dominators.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/PromoteMemToReg.h>

#include <numeric>
#include <set>

#include "base/check.h"
#include "runtime/kernel_abi.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

constexpr std::int64_t kMostAxes = 64;  // of an AxisSet

/// Users come after what they use but where loops close.
void drop_unused(llvm::Function& function) {
  for (llvm::BasicBlock& block : llvm::reverse(function)) {
    for (llvm::Instruction& instruction : llvm::make_early_inc_range(llvm::reverse(block))) {
      if (llvm::isInstructionTriviallyDead(&instruction)) instruction.eraseFromParent();
    }
  }
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

EmitContext::EmitContext(const Kernel& k, const Target& t, llvm::Module& module,
                         const std::string& symbol)
    : kernel(k), target(t), b(module.getContext()) {
  GRADUS_CHECK(static_cast<std::int64_t>(kernel.axes.size()) <= kMostAxes, "too many axes");
  llvm::Type* pointer = b.getPtrTy();
  llvm::Type* word = b.getInt64Ty();
  auto* type = llvm::FunctionType::get(b.getVoidTy(), {pointer, pointer, word, word, pointer},
                                       /*isVarArg=*/false);
  function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, module);
  function->setDoesNotThrow();
  function->addFnAttr("denormal-fp-math", "preserve-sign,preserve-sign");
  function->addFnAttr("prefer-vector-width", std::to_string(target.vector_bits));
  function->addFnAttr("min-legal-vector-width", std::to_string(target.vector_bits));
  // Vectors are spilled to whole cache lines: a stack is aligned to 16 bytes elsewhere.
  function->addFnAttr("stackrealign");
  function->addFnAttr("target-cpu", target.cpu);
  if (!target.features.empty()) function->addFnAttr("target-features", target.features);
  function->getArg(0)->setName("buffers");
  function->getArg(1)->setName("scratch");
  function->getArg(2)->setName("first");
  function->getArg(3)->setName("last");
  function->getArg(4)->setName("fault");
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  fault = function->getArg(4);
  std::int64_t parameter = 0;
  for (const Buffer& buffer : kernel.buffers) {
    Value* address = nullptr;
    if (buffer.role == BufferRole::scratch) {
      address = reserve(buffer.type.byte_size());
    } else {
      Value* slot = b.CreateConstGEP1_64(pointer, function->getArg(0),
                                         static_cast<std::uint64_t>(parameter++));
      address = b.CreateLoad(pointer, slot);
    }
    address->setName(buffer.name);
    buffers.push_back(buffer);
    addresses.push_back(address);
  }
  for (const Axis& axis : kernel.axes) {
    ranges.push_back({i64(0), i64(axis.extent), {axis.extent}, 0});
  }
  positions.assign(kernel.axes.size(), nullptr);
  unread = unread_parts(kernel);
}

Value* EmitContext::position(AxisId id) {
  Value* current = positions[static_cast<std::size_t>(id)];
  return current != nullptr ? current : range(id).begin;
}

llvm::Type* EmitContext::register_type(ElementType type) {
  return type == ElementType::boolean ? b.getInt1Ty() : memory_type(type);
}

llvm::Type* EmitContext::memory_type(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return b.getFloatTy();
    case ElementType::f64:
      return b.getDoubleTy();
    case ElementType::i32:
    case ElementType::u32:
      return b.getInt32Ty();
    case ElementType::i64:
      return b.getInt64Ty();
    case ElementType::u8:
    case ElementType::boolean:
      break;
  }
  return b.getInt8Ty();
}

llvm::Type* EmitContext::lanes_type(llvm::Type* element, int lanes) {
  if (lanes == 1) return element;
  return llvm::FixedVectorType::get(element, static_cast<unsigned>(lanes));
}

Value* EmitContext::splat(Value* value, int lanes) {
  if (lanes == 1 || value->getType()->isVectorTy()) return value;
  if (auto* constant = llvm::dyn_cast<llvm::Constant>(value)) {
    return llvm::ConstantVector::getSplat(
        llvm::ElementCount::getFixed(static_cast<unsigned>(lanes)), constant);
  }
  return b.CreateVectorSplat(static_cast<unsigned>(lanes), value);
}

llvm::AllocaInst* EmitContext::variable(llvm::Type* type) {
  llvm::BasicBlock& entry = function->getEntryBlock();
  llvm::IRBuilder<> at_entry(&entry, entry.begin());
  variables_.push_back(at_entry.CreateAlloca(type));
  return variables_.back();
}

BufferId EmitContext::add_scratch(TensorType type, std::vector<AxisId> local) {
  addresses.push_back(reserve(type.byte_size()));
  buffers.push_back({.name = "own",
                     .type = std::move(type),
                     .role = BufferRole::scratch,
                     .local = std::move(local)});
  return static_cast<BufferId>(buffers.size()) - 1;
}

Value* EmitContext::reserve(std::int64_t bytes) {
  const std::int64_t offset = scratch_bytes_;
  scratch_bytes_ = round_up(offset + bytes, runtime::kBufferAlignment);
  // In the entry block, so that every later stage may use it.
  llvm::BasicBlock& entry = function->getEntryBlock();
  llvm::IRBuilder<> at_entry(&entry);
  if (llvm::Instruction* end = entry.getTerminator()) at_entry.SetInsertPoint(end);
  return at_entry.CreateConstGEP1_64(b.getInt8Ty(), function->getArg(1),
                                     static_cast<std::uint64_t>(offset));
}

Value* EmitContext::multiple(Value* value, std::int64_t factor) {
  return sums.value(sums.plus({}, value, factor));
}

Value* EmitContext::border(const ir::Cut& cut, Value* number) {
  const std::int64_t units = (cut.extent + cut.unit - 1) / cut.unit;
  Value* unit = units % cut.count == 0 ? multiple(number, units / cut.count)
                                       : b.CreateUDiv(multiple(number, units), i64(cut.count));
  Value* position = multiple(unit, cut.unit);
  if (units * cut.unit != cut.extent) {
    position = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, position, i64(cut.extent));
  }
  return position;
}

Value* EmitContext::clamped(Value* position, const AxisRange& range) {
  Value* from = b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, position, range.begin);
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, from, range.end);
}

Value* EmitContext::admits(const HalfPlane& half_plane, Value* low, Value* high) {
  return b.CreateICmpSLE(low, b.CreateAdd(high, i64(half_plane.offset)));
}

AxisRange EmitContext::admitted(const HalfPlane& half_plane, AxisId axis, const AxisRange& range,
                                Value* other, std::int64_t length) {
  AxisRange result{range.begin, range.end, {}, range.multiple};
  for (std::int64_t possible = 0; possible <= range.greatest(); ++possible) {
    result.lengths.push_back(possible);
  }
  if (half_plane.low == axis) {
    result.end = clamped(b.CreateAdd(other, i64(half_plane.offset + length)), range);
  } else {
    result.begin = clamped(b.CreateSub(other, i64(half_plane.offset)), range);
    result.multiple = 1;
  }
  return result;
}

void EmitContext::loop(Value* begin, Value* end, std::int64_t step,
                       std::optional<std::int64_t> trips, const std::function<void(Value*)>& body) {
  if (trips == 0) return;
  if (trips == 1) {
    body(begin);
    return;
  }
  llvm::LLVMContext& context = b.getContext();
  llvm::BasicBlock* before = b.GetInsertBlock();
  llvm::BasicBlock* inside = llvm::BasicBlock::Create(context, "loop", function);
  llvm::BasicBlock* after = llvm::BasicBlock::Create(context, "after", function);
  if (trips) {
    b.CreateBr(inside);
  } else {
    b.CreateCondBr(b.CreateICmpSLT(begin, end), inside, after);
  }
  b.SetInsertPoint(inside);
  llvm::PHINode* i = b.CreatePHI(b.getInt64Ty(), 2);
  i->addIncoming(begin, before);
  sums.scope([&] { body(i); });
  Value* next = b.CreateAdd(i, i64(step), "", /*HasNUW=*/false, /*HasNSW=*/true);
  i->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, end), inside, after);
  b.SetInsertPoint(after);
}

void EmitContext::when(Value* condition, const std::function<void()>& body) {
  llvm::LLVMContext& context = b.getContext();
  llvm::BasicBlock* then = llvm::BasicBlock::Create(context, "then", function);
  llvm::BasicBlock* after = llvm::BasicBlock::Create(context, "after", function);
  b.CreateCondBr(condition, then, after);
  b.SetInsertPoint(then);
  sums.scope(body);
  b.CreateBr(after);
  b.SetInsertPoint(after);
}

void EmitContext::pieces(AxisId axis, std::int64_t size,
                         const std::function<void(Value*, std::int64_t)>& body) {
  const AxisRange whole = range(axis);
  std::set<std::int64_t> rests;
  for (std::int64_t length : whole.lengths) rests.insert(length % size);
  Value* length = whole.fixed() ? i64(whole.greatest()) : b.CreateSub(whole.end, whole.begin);
  Value* rest = whole.fixed() ? i64(*rests.begin()) : b.CreateURem(length, i64(size));
  Value* middle = b.CreateSub(whole.end, rest);
  if (whole.greatest() >= size) {
    std::optional<std::int64_t> trips;
    if (whole.fixed()) trips = whole.greatest() / size;
    loop(whole.begin, middle, size, trips, [&](Value* begin) { body(begin, size); });
  }
  for (std::int64_t shorter : rests) {
    if (shorter == 0) continue;
    if (whole.fixed()) {
      body(middle, shorter);
    } else {
      when(b.CreateICmpEQ(rest, i64(shorter)), [&] { body(middle, shorter); });
    }
  }
}

void EmitContext::tiles(AxisId axis, std::int64_t size, const std::function<void()>& body) {
  const AxisRange whole = range(axis);
  const std::int64_t greatest = whole.greatest();
  if (greatest <= size) {
    body();
    return;
  }
  AxisRange& piece = range(axis);
  piece.lengths = piece_lengths(whole.lengths, size);
  piece.multiple = 1;
  std::optional<std::int64_t> trips;
  Value* length = b.CreateSub(whole.end, whole.begin);
  Value* count = nullptr;
  if (whole.fixed()) {
    trips = (greatest + size - 1) / size;
    count = i64(*trips);
    length = i64(greatest);
    piece.multiple = whole.multiple;
    for (std::int64_t i = 1; i < *trips; ++i) {
      piece.multiple = std::gcd(piece.multiple, greatest * i / *trips);
    }
  } else {
    count = b.CreateUDiv(b.CreateAdd(length, i64(size - 1)), i64(size));
  }
  loop(i64(0), count, 1, trips, [&](Value* i) {
    if (piece.fixed()) {
      piece.begin = b.CreateAdd(whole.begin, b.CreateMul(i, i64(piece.greatest())));
      piece.end = b.CreateAdd(piece.begin, i64(piece.greatest()));
    } else {
      const auto border = [&](Value* number) {
        Value* offset = b.CreateUDiv(b.CreateMul(length, number), count);
        return b.CreateAdd(whole.begin, offset);
      };
      piece.begin = border(i);
      piece.end = border(b.CreateAdd(i, i64(1)));
    }
    body();
  });
  range(axis) = whole;
}

std::int64_t EmitContext::finish() {
  b.CreateRetVoid();
  llvm::DominatorTree tree(*function);
  llvm::PromoteMemToReg(variables_, tree);
  drop_unused(*function);
  return scratch_bytes_;
}

std::vector<std::int64_t> piece_lengths(const std::vector<std::int64_t>& lengths,
                                        std::int64_t size) {
  std::set<std::int64_t> pieces;
  for (std::int64_t length : lengths) {
    const std::int64_t count = (length + size - 1) / size;
    if (count == 0) {
      pieces.insert(0);
      continue;
    }
    pieces.insert(length / count);
    pieces.insert((length + count - 1) / count);
  }
  return {pieces.begin(), pieces.end()};
}

}  // namespace gradus::codegen
