#include "codegen/emit_transpose.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "codegen/emit_loop.h"
#include "codegen/fetch.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

constexpr std::int64_t kBlock = kVectorLanes;
constexpr std::int64_t kElementBytes = 4;
/// So many blocks ahead rows are fetched: blocks are no stream that a processor sees coming.
constexpr std::int64_t kBlocksAhead = 4;

/// The longest multiple of a block from the beginning of `whole`, and what remains.
struct Split {
  AxisRange blocks;
  AxisRange rest;
  std::optional<std::int64_t> trips;
};

Split split(EmitContext& c, const AxisRange& whole) {
  Split result{whole, whole, std::nullopt};
  Value* middle = nullptr;
  if (whole.fixed()) {
    result.trips = whole.greatest() / kBlock;
    middle = c.b.CreateAdd(whole.begin, c.i64(*result.trips * kBlock));
  } else {
    Value* length = c.b.CreateSub(whole.end, whole.begin);
    middle = c.b.CreateAdd(whole.begin, c.b.CreateAnd(length, c.i64(-kBlock)));
  }
  std::set<std::int64_t> rests;
  for (std::int64_t length : whole.lengths) rests.insert(length % kBlock);
  result.blocks.end = middle;
  result.rest = {middle, whole.end, {rests.begin(), rests.end()}, 1};
  return result;
}

/// Rows of a square of 32-bit elements become its columns. Inside each 128-bit quarter of a vector
/// 4 x 4 elements are transposed by unpacking, then the quarters are.
void transpose(llvm::IRBuilder<>& b, std::vector<Value*>& x) {
  constexpr int kQuarter = 4;
  const auto shuffle = [&](Value* low, Value* high, auto&& source) {
    llvm::SmallVector<int> lanes;
    for (int lane = 0; lane < kBlock; ++lane) lanes.push_back(source(lane));
    return b.CreateShuffleVector(low, high, lanes);
  };
  // Unpacks the lower or the upper halves of quarters in units of `unit` elements.
  const auto unpack = [&](Value* low, Value* high, int unit, bool upper) {
    return shuffle(low, high, [&](int lane) {
      const int quarter = lane / kQuarter * kQuarter;
      const int place = lane % kQuarter;
      const int pair = place / (2 * unit) * unit + (upper ? 2 : 0) + place % unit;
      return quarter + pair + (place / unit % 2 != 0 ? static_cast<int>(kBlock) : 0);
    });
  };
  std::vector<Value*> y(x.size());
  for (std::size_t i = 0; i < x.size(); i += kQuarter) {
    Value* even_low = unpack(x[i], x[i + 1], 1, false);
    Value* even_high = unpack(x[i], x[i + 1], 1, true);
    Value* odd_low = unpack(x[i + 2], x[i + 3], 1, false);
    Value* odd_high = unpack(x[i + 2], x[i + 3], 1, true);
    y[i] = unpack(even_low, odd_low, 2, false);
    y[i + 1] = unpack(even_low, odd_low, 2, true);
    y[i + 2] = unpack(even_high, odd_high, 2, false);
    y[i + 3] = unpack(even_high, odd_high, 2, true);
  }
  // Quarters first and second of `low`, then of `high`.
  const auto quarters = [&](Value* low, Value* high, int first, int second) {
    return shuffle(low, high, [&](int lane) {
      const int quarter = lane / kQuarter;
      const int from = (quarter % 2 == 0 ? first : second) * kQuarter + lane % kQuarter;
      return from + (quarter >= 2 ? static_cast<int>(kBlock) : 0);
    });
  };
  for (std::size_t i = 0; i < kQuarter; ++i) {
    Value* left_top = quarters(y[i], y[i + 4], 0, 1);
    Value* right_top = quarters(y[i], y[i + 4], 2, 3);
    Value* left_bottom = quarters(y[i + 8], y[i + 12], 0, 1);
    Value* right_bottom = quarters(y[i + 8], y[i + 12], 2, 3);
    x[i] = quarters(left_top, left_bottom, 0, 2);
    x[i + 4] = quarters(left_top, left_bottom, 1, 3);
    x[i + 8] = quarters(right_top, right_bottom, 0, 2);
    x[i + 12] = quarters(right_top, right_bottom, 1, 3);
  }
}

/// Writes rows that are `step` bytes apart.
void store_rows(llvm::IRBuilder<>& b, const std::vector<Value*>& x, Value* target, Value* step) {
  for (Value* row : x) {
    b.CreateAlignedStore(row, target, llvm::Align(4));
    target = b.CreateGEP(b.getInt8Ty(), target, step);
  }
}

/// The function (source, bytes from row to row, target, bytes from row to row, bytes from source to
/// what is fetched) that reads a whole square and writes its columns as rows. Its shuffles take
/// long to compile: all kernels of a module for one instruction set share it.
llvm::Function* square_transposition(EmitContext& c) {
  const std::string name = "gradus_transpose_" + std::string(to_string(c.target.set));
  llvm::Module& module = *c.function->getParent();
  if (llvm::Function* known = module.getFunction(name)) return known;
  llvm::IRBuilder<> b(module.getContext());
  auto* signature = llvm::FunctionType::get(
      b.getVoidTy(), {b.getPtrTy(), b.getInt64Ty(), b.getPtrTy(), b.getInt64Ty(), b.getInt64Ty()},
      /*isVarArg=*/false);
  llvm::Function* function =
      llvm::Function::Create(signature, llvm::Function::InternalLinkage, name, module);
  function->addFnAttrs(
      llvm::AttrBuilder(module.getContext(), c.function->getAttributes().getFnAttrs()));
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  auto* row = EmitContext::lanes_type(b.getInt32Ty(), kVectorLanes);
  Value* address = function->getArg(0);
  std::vector<Value*> x;
  for (std::int64_t r = 0; r < kBlock; ++r) {
    x.push_back(b.CreateAlignedLoad(row, address, llvm::Align(4)));
    fetch_line(b, b.CreateGEP(b.getInt8Ty(), address, function->getArg(4)), 0, Purpose::read);
    address = b.CreateGEP(b.getInt8Ty(), address, function->getArg(1));
  }
  transpose(b, x);
  store_rows(b, x, function->getArg(2), function->getArg(3));
  b.CreateRetVoid();
  return function;
}

class TransposingLoop {
 public:
  TransposingLoop(EmitContext& context, const Loop& loop, const EffectiveAxes& effective)
      : c_(context), loop_(loop), effective_(effective), by_blocks_(loop) {}

  /// Finds the loads to transpose; false where there is none.
  bool prepare() {
    const std::vector<AxisId>& axes = effective_.axes;
    if (axes.size() < 2 || !loop_.accumulates.empty()) return false;
    row_ = axes[axes.size() - 1];
    column_ = axes[axes.size() - 2];
    if (c_.range(row_).lengths.front() < kBlock || c_.range(column_).lengths.front() < kBlock) {
      return false;
    }
    for (std::size_t i = 0; i < loop_.body.loads.size(); ++i) {
      if (is_transposed(loop_.body.loads[i])) loads_.push_back(i);
    }
    first_block_ = static_cast<BufferId>(c_.buffers.size());
    for (std::size_t i : loads_) {
      const ElementType type = element_of(loop_.body.loads[i]);
      const BufferId block = c_.add_scratch({type, {kBlock, kBlock}}, {column_, row_});
      by_blocks_.body.loads[i] = {{block, {{{{column_, 1}}, 0, 1}, {{{row_, 1}}, 0, 1}}}, {}};
    }
    return !loads_.empty();
  }

  void emit() {
    GRADUS_CHECK(!c_.narrowed, "a transposing loop within another");
    c_.narrowed = EmitContext::Narrowed{first_block_, c_.ranges};
    Nest nest{.axes = effective_.axes};
    nest.axes.resize(nest.axes.size() - 2);
    nest.point = [&](Value*) {
      const std::vector<AxisRange> ranges = c_.ranges;
      for (AxisId axis : nest.axes) {
        Value* here = c_.position(axis);
        c_.range(axis) = {here, c_.b.CreateAdd(here, c_.i64(1)), {1}, 1};
      }
      plane();
      c_.ranges = ranges;
    };
    emit_nest(c_, nest);
    c_.narrowed.reset();
  }

 private:
  [[nodiscard]] ElementType element_of(const Load& load) const {
    return c_.buffers[static_cast<std::size_t>(load.access.buffer)].type.element;
  }

  [[nodiscard]] bool is_transposed(const Load& load) {
    if (load.access.pick || byte_size(element_of(load)) != kElementBytes) return false;
    for (const Affine& index : load.access.index) {
      if (index.divisor != 1) return false;
    }
    for (const Guard& guard : load.guards) {
      if (coefficient_of(guard.value, column_) != 0) return false;
    }
    const Reference reference(c_, load.access, {});
    const std::int64_t step = reference.stride(row_);
    return reference.stride(column_) == 1 && step != 0 && step != 1;
  }

  void plane() {
    const Split rows = split(c_, c_.range(row_));
    const Split columns = split(c_, c_.range(column_));
    const AxisRange all_rows = c_.range(row_);
    const auto along = [&](const AxisRange& row_range) {
      c_.loop(columns.blocks.begin, columns.blocks.end, kBlock, columns.trips, [&](Value* column) {
        c_.range(row_) = row_range;
        c_.range(column_) = {column, c_.b.CreateAdd(column, c_.i64(kBlock)), {kBlock}, 1};
        columns_left_ = c_.b.CreateSub(columns.blocks.end, column);
        trips_ = columns.trips;
        block();
      });
    };
    c_.loop(rows.blocks.begin, rows.blocks.end, kBlock, rows.trips,
            [&](Value* row) { along({row, c_.b.CreateAdd(row, c_.i64(kBlock)), {kBlock}, 1}); });
    if (rows.rest.lengths != std::vector<std::int64_t>{0}) {
      if (rows.rest.fixed()) {
        along(rows.rest);
      } else {
        c_.range(row_) = rows.rest;
        c_.range(column_) = columns.blocks;
        c_.range(column_).lengths = {0, kBlock};  // not fixed, and too short to transpose
        LoopEmitter(c_, loop_).emit();
      }
    }
    if (columns.rest.lengths != std::vector<std::int64_t>{0}) {
      c_.range(row_) = all_rows;
      c_.range(column_) = columns.rest;
      LoopEmitter(c_, loop_).emit();
    }
  }

  void block() {
    if (copied()) return;
    for (std::size_t i : loads_) transpose_load(i);
    LoopEmitter(c_, by_blocks_).emit();
  }

  /// Whether a whole square that is only copied has been written where it belongs.
  bool copied() {
    const ir::ScalarProgram& program = loop_.body.program;
    if (loads_.size() != 1 || loop_.body.loads.size() != 1 || loop_.stores.size() != 1 ||
        program.code.size() != 1 || program.code[0].op != ir::ScalarOp::operand ||
        !loop_.body.loads[0].guards.empty() || c_.range(row_).greatest() != kBlock) {
      return false;
    }
    const Access& target = loop_.stores[0].target;
    Reference to(c_, target, {});
    if (to.element() != element_of(loop_.body.loads[0]) || to.stride(row_) != 1) return false;
    Reference from(c_, loop_.body.loads[0].access, {});
    Value* source = from.address();
    c_.b.CreateCall(square_transposition(c_),
                    {source, c_.i64(kElementBytes * from.stride(row_)), to.address(),
                     c_.i64(kElementBytes * to.stride(column_)), ahead(loop_.body.loads[0])});
    return true;
  }

  /// Bytes to a block that comes later, in this row of blocks or the next one.
  Value* ahead(const Load& load) {
    if (!is_far(c_.kernel, load.access)) return c_.i64(0);
    const std::int64_t line = kBlock * kElementBytes;
    const std::int64_t row = line * Reference(c_, load.access, {}).stride(row_);
    if (!trips_) return c_.i64(kBlocksAhead * line);
    if (*trips_ <= kBlocksAhead) return c_.i64(kBlocksAhead / *trips_ * row);
    Value* same = c_.b.CreateICmpSGT(columns_left_, c_.i64(kBlocksAhead * kBlock));
    return c_.b.CreateSelect(same, c_.i64(kBlocksAhead * line),
                             c_.i64(row + (kBlocksAhead - *trips_) * line));
  }

  /// Reads up to 16 rows of a block of an operand and writes its columns to scratch.
  void transpose_load(std::size_t i) {
    llvm::IRBuilder<>& b = c_.b;
    const Load& load = loop_.body.loads[i];
    Reference reference(c_, load.access, {});
    const std::int64_t step = kElementBytes * reference.stride(row_);
    auto* type = EmitContext::lanes_type(b.getInt32Ty(), kVectorLanes);
    llvm::Constant* zero = llvm::Constant::getNullValue(type);
    const AxisRange rows = c_.range(row_);
    Value* first = reference.address();
    const auto buffer = static_cast<std::size_t>(by_blocks_.body.loads[i].access.buffer);
    if (load.guards.empty() && rows.greatest() == kBlock) {
      b.CreateCall(square_transposition(c_), {first, c_.i64(step), c_.addresses[buffer],
                                              c_.i64(kBlock * kElementBytes), ahead(load)});
      return;
    }
    std::vector<Value*> x;
    for (std::int64_t r = 0; r < kBlock; ++r) {
      if (r >= rows.greatest()) {
        x.push_back(zero);
        continue;
      }
      Value* address =
          b.CreateConstGEP1_64(b.getInt8Ty(), first, static_cast<std::uint64_t>(r * step));
      Value* guard = nullptr;
      c_.positions[static_cast<std::size_t>(row_)] = b.CreateAdd(rows.begin, c_.i64(r));
      for (const Guard& condition : load.guards) {
        Value* holds = emit_guard(c_, condition, {});
        guard = guard == nullptr ? holds : b.CreateAnd(guard, holds);
      }
      c_.positions[static_cast<std::size_t>(row_)] = nullptr;
      const llvm::Align alignment(4);
      x.push_back(
          guard == nullptr
              ? static_cast<Value*>(b.CreateAlignedLoad(type, address, alignment))
              : b.CreateMaskedLoad(type, address, alignment, c_.splat(guard, kVectorLanes), zero));
    }
    transpose(b, x);
    store_rows(b, x, c_.addresses[buffer], c_.i64(kBlock * kElementBytes));
  }

  EmitContext& c_;
  const Loop& loop_;
  const EffectiveAxes& effective_;
  Loop by_blocks_;  // reads the blocks in scratch
  BufferId first_block_ = 0;
  AxisId row_ = 0;     // the vector axis: numbers the operand's rows
  AxisId column_ = 0;  // contiguous in the operand
  std::vector<std::size_t> loads_;
  std::optional<std::int64_t> trips_;  // blocks in a row of them
  Value* columns_left_ = nullptr;      // from the current block on
};

}  // namespace

bool emit_transposing(EmitContext& context, const Loop& loop, const EffectiveAxes& effective) {
  TransposingLoop transposing(context, loop, effective);
  if (!transposing.prepare()) return false;
  transposing.emit();
  return true;
}

}  // namespace gradus::codegen
