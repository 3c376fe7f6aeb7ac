#include "codegen/emit_contract.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "codegen/emit_body.h"
#include "codegen/emit_chain.h"
#include "codegen/emit_fetch.h"
#include "codegen/emit_loop.h"
#include "codegen/emit_nest.h"
#include "codegen/kernel_scratch.h"

// The box of m x n is cut into panels of columns and tiles of rows, either of them outside: what
// the inner loop shares, a panel of rhs or some rows of lhs, stays in the cache. A tile's
// accumulators are registers through the whole loop over k: per step one row of vectors from rhs,
// then per row one element of lhs in all lanes and one fma per vector. All strides are constants.
// Heights of tiles are nearly equal, so that there are at most two; each height and each width of
// panel has its own loop over k.

namespace gradus::codegen {
namespace {

using llvm::Value;

/// Epilogues of up to this many instructions are applied to the accumulators in registers.
constexpr std::size_t kShortEpilogue = 4;
/// From this many instructions on, tiles keep groups of rows together (emit_loop.cpp).
constexpr std::size_t kLongEpilogue = 40;

ElementType element_type(const EmitContext& context, const Contract& contract) {
  return context.buffers[static_cast<std::size_t>(contract.lhs.buffer)].type.element;
}
std::int64_t vector_width(const EmitContext& context, const Contract& contract) {
  return std::min<std::int64_t>(context.target.width(element_type(context, contract)),
                                kVectorLanes);
}

class ContractEmitter {
 public:
  /// `sums` go on from tile to tile of the task; null: there are none.
  ContractEmitter(EmitContext& context, const Contract& contract, RestingSums* sums,
                  const Unread* unread)
      : c_(context),
        b_(context.b),
        contract_(contract),
        type_(element_type(context, contract)),
        width_(vector_width(context, contract)),
        lines_(contract.tile.lines),
        inner_(lines_ > 1 ? context.axis(contract.m()).extent : 1),
        rows_(lines_ > 1 ? lines_ * inner_ : contract.tile.rows),
        columns_(contract.tile.vectors * width_),
        copy_(contract.copied
                  ? std::optional<RhsCopy>(std::in_place, context, contract, type_, columns_)
                  : std::nullopt),
        chain_(context, contract, type_, width_, copy_ ? &*copy_ : nullptr),
        fetches_(epilogue_fetches(context.kernel, contract)),
        unread_(unread),
        resting_(sums) {
    GRADUS_CHECK(contract.panel % columns_ == 0, "a panel of rhs is no multiple of the tile");
    const FlatProgram epilogue = flatten(contract.epilogue.program, {});
    short_ = epilogue.code.size() <= kShortEpilogue && contract.parts.count == 1;
    if (resting_ != nullptr) return;
    if (contract.chunk.size > 0) {
      const auto rest = [&](std::optional<RestingSums>& own) {
        own.emplace(c_, contract_, type_, width_,
                    rests_in_result(c_.kernel, contract) ? RestingSums::Extent::in_result
                                                         : RestingSums::Extent::one_of_batch);
      };
      rest(chunk_sums_);
      if (contract.parts.count > 1) rest(totals_);
      resting_ = &*chunk_sums_;
      return;
    }
    if (lines_ > 1) {
      tile_ = c_.add_scratch({type_, {lines_, inner_, columns_}},
                             {tile_axis(), contract.m(), contract.n});
      return;
    }
    if (epilogue.code.size() >= kLongEpilogue && whole_groups()) unit_ = kGroupRows;
    tile_ = c_.add_scratch({type_, {rows_, columns_}}, {contract.m(), contract.n});
  }

  void emit() { batch(0); }

 private:
  /// The axis whose positions tiles divide among them: m, or with several lines the one before.
  [[nodiscard]] AxisId tile_axis() const {
    return lines_ > 1 ? contract_.rows[contract_.rows.size() - 2] : contract_.m();
  }

  /// A tile: its range of tile_axis, its first column, and its columns.
  struct Place {
    Value* m = nullptr;
    Value* m_end = nullptr;
    Value* n = nullptr;
    std::int64_t columns = 0;
    [[nodiscard]] std::int64_t vectors(std::int64_t width) const {
      return (columns + width - 1) / width;
    }
  };

  /// Whether tiles can consist of groups of rows.
  [[nodiscard]] bool whole_groups() {
    const AxisRange& range = c_.range(contract_.m());
    bool whole = rows_ >= kGroupRows && range.multiple % kGroupRows == 0;
    for (std::int64_t length : range.lengths) whole = whole && length % kGroupRows == 0;
    return whole;
  }

  Value*& position(AxisId axis) { return c_.positions[static_cast<std::size_t>(axis)]; }

  void batch(std::size_t level) {
    if (level < contract_.batch.size()) {
      each_position(contract_.batch[level], [&] { batch(level + 1); });
    } else if (chunk_sums_) {
      chunks();
    } else {
      box();
    }
  }

  /// All tiles for one piece of k after the other; meanwhile the sums rest in memory.
  void chunks() {
    const auto sums = [&] {
      if (!has_terms(c_.kernel, contract_)) chunk_sums_->clear();
      pieces(0, b_.getTrue());
    };
    if (!totals_) {
      sums();
      chunk_sums_->finish();
      return;
    }
    totals_->clear();
    each_part([&] {
      sums();
      totals_->add(*chunk_sums_);
    });
    totals_->finish();
  }
  /// Emits `body` with each part as the range of the first axis of k.
  void each_part(const std::function<void()>& body) {
    const ir::Cut& cut = contract_.parts;
    const AxisId first = contract_.k.front();
    const AxisRange whole = c_.range(first);
    std::set<std::int64_t> sizes;
    for (std::int64_t part = 0; part < cut.count; ++part) sizes.insert(cut(part).size());
    const std::vector<std::int64_t> lengths(sizes.begin(), sizes.end());
    c_.loop(c_.i64(0), c_.i64(cut.count), 1, cut.count, [&](Value* part) {
      Value* begin = c_.border(cut, part);
      Value* end = c_.border(cut, b_.CreateAdd(part, c_.i64(1)));
      c_.range(first) = {begin, end, lengths, 1};
      body();
      c_.range(first) = whole;
    });
  }
  /// `first`: whether none came before, as far as axes before `level` are concerned.
  void pieces(std::int32_t level, Value* first) {
    const AxisId axis = contract_.k[static_cast<std::size_t>(level)];
    Value* begin = c_.range(axis).begin;
    const auto still_first = [&] {
      return b_.CreateAnd(first, b_.CreateICmpEQ(c_.range(axis).begin, begin));
    };
    if (level < contract_.chunk.axis) {
      each_position(axis, [&] { pieces(level + 1, still_first()); });
    } else {
      c_.tiles(axis, contract_.chunk.size, [&] {
        begins_ = still_first();
        box();
      });
    }
  }
  /// Goes on with the sums of a tile where they rest, or begins them.
  void go_on(const Place& place, std::int64_t rows) {
    std::vector<Value*> addresses;
    const llvm::Align alignment(static_cast<std::uint64_t>(byte_size(type_)));
    for (std::int64_t row = 0; row < rows; ++row) {
      set_row(place, row);
      Value* first = resting_->address(place.n);
      for (std::int64_t v = 0; v < place.vectors(width_); ++v) {
        addresses.push_back(displaced(first, v * width_));
      }
    }
    set_row(place, 0);
    position(contract_.n) = place.n;
    const std::vector<Value*> sums = chain(place, rows, begun(addresses, alignment));
    forget_place();
    for (std::size_t i = 0; i < sums.size(); ++i) {
      b_.CreateAlignedStore(sums[i], addresses[i], alignment);
    }
  }

  /// The vectors of sums that rest there, or +0.
  std::vector<Value*> begun(const std::vector<Value*>& addresses, llvm::Align alignment) {
    std::vector<llvm::AllocaInst*> variables;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      variables.push_back(c_.variable(vector_type()));
      b_.CreateStore(llvm::Constant::getNullValue(vector_type()), variables.back());
    }
    const auto load = [&] {
      for (std::size_t i = 0; i < addresses.size(); ++i) {
        b_.CreateStore(b_.CreateAlignedLoad(vector_type(), addresses[i], alignment), variables[i]);
      }
    };
    if (begins_ == nullptr) {
      load();
    } else {
      c_.when(b_.CreateNot(begins_), load);
    }
    std::vector<Value*> sums;
    for (llvm::AllocaInst* sum : variables) sums.push_back(b_.CreateLoad(vector_type(), sum));
    return sums;
  }

  /// Emits `body` for one position of the axis after the other.
  void each_position(AxisId axis, const std::function<void()>& body) {
    const AxisRange range = c_.range(axis);
    std::optional<std::int64_t> trips;
    if (range.fixed()) trips = range.greatest();
    c_.loop(range.begin, range.end, 1, trips, [&](Value* i) {
      position(axis) = i;
      c_.range(axis) = {i, b_.CreateAdd(i, c_.i64(1)), {1}, 1};
      body();
      c_.range(axis) = range;
      position(axis) = nullptr;
    });
  }

  /// All tiles of the ranges of rows and n.
  void box() {
    if (contract_.order == TileOrder::columns_outer) {
      panels([&](Value* n, std::int64_t columns) {
        if (copy_) copy_->fill(n, columns);
        rows(0, [&](Value* m, Value* m_end, const std::vector<std::int64_t>& heights) {
          tile({m, m_end, n, columns}, heights);
        });
      });
    } else {
      rows(0, [&](Value* m, Value* m_end, const std::vector<std::int64_t>& heights) {
        panels([&](Value* n, std::int64_t columns) {
          if (copy_) copy_->fill(n, columns);
          tile({m, m_end, n, columns}, heights);
        });
      });
    }
  }

  /// Emits `body` for each panel of columns: its first one and how many.
  void panels(const std::function<void(Value*, std::int64_t)>& body) {
    c_.pieces(contract_.n, columns_, body);
  }

  /// A range of tile_axis and the heights that it can have.
  using Rows = std::function<void(Value*, Value*, const std::vector<std::int64_t>&)>;

  void rows(std::size_t level, const Rows& body) {
    if (contract_.rows[level] == tile_axis()) return tiles(body);
    each_position(contract_.rows[level], [&] { rows(level + 1, body); });
  }

  /// Positions along tile_axis in nearly equal tiles, the tall ones first.
  void tiles(const Rows& body) {
    const AxisRange range = c_.range(tile_axis());
    if (range.greatest() == 0 || inner_ == 0) return;
    const std::int64_t most = rows_ / inner_ / unit_;  // units of positions in a tile
    std::vector<std::int64_t> lengths;
    for (std::int64_t length : range.lengths) lengths.push_back(length / unit_);
    std::vector<std::int64_t> heights;
    for (std::int64_t units : piece_lengths(lengths, most)) {
      if (units != 0) heights.push_back(units * unit_);
    }
    Value* length = range.fixed()
                        ? c_.i64(lengths[0])
                        : b_.CreateUDiv(b_.CreateSub(range.end, range.begin), c_.i64(unit_));
    Value* count = b_.CreateUDiv(b_.CreateAdd(length, c_.i64(most - 1)), c_.i64(most));
    // Without rows there are no tiles; the divisor must not be zero all the same.
    Value* divisor =
        range.fixed() ? count : b_.CreateBinaryIntrinsic(llvm::Intrinsic::umax, count, c_.i64(1));
    Value* low = b_.CreateUDiv(length, divisor);
    Value* tall = b_.CreateURem(length, divisor);
    std::optional<std::int64_t> trips;
    if (range.fixed()) trips = (lengths[0] + most - 1) / most;
    c_.loop(c_.i64(0), count, 1, trips, [&](Value* i) {
      const auto begin = [&](Value* tile) {
        Value* taller = b_.CreateBinaryIntrinsic(llvm::Intrinsic::umin, tile, tall);
        Value* units = b_.CreateAdd(b_.CreateMul(tile, low), taller);
        return b_.CreateAdd(range.begin, b_.CreateMul(units, c_.i64(unit_)));
      };
      if (heights.size() == 1) {
        Value* m = b_.CreateAdd(range.begin, b_.CreateMul(i, c_.i64(heights[0])));
        body(m, b_.CreateAdd(m, c_.i64(heights[0])), heights);
      } else {
        body(begin(i), begin(b_.CreateAdd(i, c_.i64(1))), heights);
      }
    });
  }

  /// One tile of one of the given heights, if any of it is read.
  void tile(const Place& place, const std::vector<std::int64_t>& heights) {
    if (unread_ == nullptr) return whole_tile(place, heights);
    const HalfPlane& border = unread_->half_plane;
    const bool rows_low = border.low == contract_.m();
    Value* last_column = b_.CreateAdd(place.n, c_.i64(place.columns - 1));
    Value* low = rows_low ? place.m : place.n;
    Value* high = rows_low ? last_column : b_.CreateSub(place.m_end, c_.i64(1));
    c_.when(c_.admits(border, low, high), [&] { whole_tile(place, heights); });
  }
  void whole_tile(const Place& place, const std::vector<std::int64_t>& heights) {
    const auto sums_of_height = [&](std::int64_t height) {
      const std::int64_t rows = height * inner_;
      if (resting_ != nullptr) {
        go_on(place, rows);
        return;
      }
      if (!fetches_beside(rows)) fetch_rows(place, rows);
      set_row(place, 0);
      position(contract_.n) = place.n;
      if (contract_.parts.count > 1) {
        parts(place, rows);
        forget_place();
        return;
      }
      const std::vector<Value*> sums = chain(place, rows, zeros(place, rows));
      forget_place();
      if (short_) {
        epilogue_in_registers(place, rows, sums);
      } else {
        store_tile(place, rows, sums);
      }
    };
    Value* length = b_.CreateSub(place.m_end, place.m);
    for (std::int64_t height : heights) {
      if (heights.size() == 1) {
        sums_of_height(height);
      } else {
        c_.when(b_.CreateICmpEQ(length, c_.i64(height)), [&] { sums_of_height(height); });
      }
    }
    if (!short_ && resting_ == nullptr) epilogue_loop(place, heights);
  }

  /// The position of row number `row` of a tile.
  void set_row(const Place& place, std::int64_t row) {
    position(tile_axis()) = b_.CreateAdd(place.m, c_.i64(row / inner_));
    if (lines_ > 1) {
      position(contract_.m()) = b_.CreateAdd(c_.range(contract_.m()).begin, c_.i64(row % inner_));
    }
  }
  /// Whether the first steps of a chain fetch a row of the results each. All rows at once would
  /// keep what these steps read from coming.
  [[nodiscard]] bool fetches_beside(std::int64_t rows) {
    const bool one_loop = contract_.k.size() == 1 && contract_.parts.count == 1;
    if (fetches_.empty() || lines_ > 1 || !one_loop || contract_.half_plane) return false;
    if (resting_ != nullptr && !rests_in_result(c_.kernel, contract_)) return false;
    const AxisRange& k = c_.range(contract_.k[0]);
    return k.fixed() && k.greatest() >= rows;
  }
  /// Fetches what the epilogue is going to read and to fill in the current row of a tile.
  void fetch_row(const Place& place) {
    position(contract_.n) = place.n;
    FetchEmitter line(c_, fetches_, {contract_.n, static_cast<int>(place.columns)});
    line.advance(~AxisSet{0});
    line.fetch();
  }
  void fetch_rows(const Place& place, std::int64_t rows) {
    for (std::int64_t row = 0; row < rows && !fetches_.empty(); ++row) {
      set_row(place, row);
      fetch_row(place);
    }
  }
  void fetch_row_of_step(const Place& place, std::int64_t rows, Value* step) {
    c_.when(b_.CreateICmpULT(step, c_.i64(rows)), [&] {
      Value* before = position(contract_.m());
      position(contract_.m()) = b_.CreateAdd(place.m, step);
      fetch_row(place);
      position(contract_.m()) = before;
    });
  }
  void forget_place() {
    position(tile_axis()) = position(contract_.m()) = position(contract_.n) = nullptr;
  }
  /// Elements of lhs between the first row of a tile and row number `row`.
  [[nodiscard]] std::int64_t row_offset(std::int64_t row) const {
    const std::int64_t lines = row / inner_ * chain_.lhs_stride(tile_axis());
    return lines_ > 1 ? lines + row % inner_ * chain_.lhs_stride(contract_.m()) : lines;
  }

  [[nodiscard]] llvm::Type* vector_type() const {
    return EmitContext::lanes_type(c_.register_type(type_), static_cast<int>(width_));
  }

  Value* displaced(Value* address, std::int64_t elements) {
    if (elements == 0) return address;
    return b_.CreateConstGEP1_64(b_.getInt8Ty(), address,
                                 static_cast<std::uint64_t>(elements * byte_size(type_)));
  }

  /// One chain of fma per element of the tile over the ranges of k, row by row, going on from
  /// `sums`.
  std::vector<Value*> chain(const Place& place, std::int64_t height, std::vector<Value*> sums) {
    ChainTile tile{{}, place.n, place.columns, lines_ == 1};
    if (fetches_beside(height)) {
      tile.beside = [&](Value* step) { fetch_row_of_step(place, height, step); };
    }
    for (std::int64_t row = 0; row < height; ++row) tile.rows.push_back(row_offset(row));
    return chain_.emit(tile, std::move(sums));
  }
  std::vector<Value*> zeros(const Place& place, std::int64_t height) const {
    return std::vector<Value*>(static_cast<std::size_t>(height * place.vectors(width_)),
                               llvm::Constant::getNullValue(vector_type()));
  }

  /// Address of a vector of the tile in scratch.
  Value* tile_address(std::int64_t row, std::int64_t vector) {
    return displaced(c_.addresses[static_cast<std::size_t>(tile_)],
                     row * columns_ + vector * width_);
  }

  template <typename Visit>
  void for_each_vector(const Place& place, std::int64_t height, const Visit& visit) {
    const std::int64_t vectors = place.vectors(width_);
    for (std::int64_t row = 0; row < height; ++row) {
      for (std::int64_t v = 0; v < vectors; ++v) {
        visit(tile_address(row, v), static_cast<std::size_t>(row * vectors + v));
      }
    }
  }

  void store_tile(const Place& place, std::int64_t height, const std::vector<Value*>& sums) {
    for_each_vector(place, height,
                    [&](Value* address, std::size_t i) { b_.CreateStore(sums[i], address); });
  }

  /// The sum of all parts, from +0, in scratch.
  void parts(const Place& place, std::int64_t height) {
    for_each_vector(place, height, [&](Value* address, std::size_t) {
      b_.CreateStore(llvm::Constant::getNullValue(vector_type()), address);
    });
    each_part([&] {
      const std::vector<Value*> sums = chain(place, height, zeros(place, height));
      for_each_vector(place, height, [&](Value* address, std::size_t i) {
        Value* old = b_.CreateLoad(vector_type(), address);
        b_.CreateStore(b_.CreateFAdd(old, sums[i]), address);
      });
    });
  }

  void epilogue_in_registers(const Place& place, std::int64_t height,
                             const std::vector<Value*>& sums) {
    const VectorAxis vector{contract_.n, static_cast<int>(width_)};
    BodyEmitter body(c_, flatten(contract_.epilogue.program, contract_.epilogue.fault_nodes),
                     contract_.epilogue.loads, contract_.result_axes(), vector, /*given=*/1);
    const std::int64_t vectors = place.vectors(width_);
    for (std::int64_t v = 0; v < vectors; ++v) {
      position(contract_.n) = b_.CreateAdd(place.n, c_.i64(v * width_));
      body.forget(contract_.n);
      body.set_mask(chain_.column_mask(place.columns, v));
      for (std::int64_t row = 0; row < height; ++row) {
        set_row(place, row);
        body.forget(tile_axis());
        body.forget(contract_.m());
        body.give(0, sums[static_cast<std::size_t>(row * vectors + v)]);
        body.advance(~AxisSet{0});
        StoreEmitter(c_, contract_.stores, vector).store(body);
      }
    }
    forget_place();
  }

  /// The epilogue as a loop over the tile, whose sums it loads from scratch.
  void epilogue_loop(const Place& place, const std::vector<std::int64_t>& heights) {
    Loop loop{.axes = contract_.result_axes(),
              .body = contract_.epilogue,
              .stores = contract_.stores,
              .accumulates = {}};
    Access sums{tile_, {{{{tile_axis(), 1}}, 0, 1}, {{{contract_.n, 1}}, 0, 1}}};
    if (lines_ > 1) sums.index.insert(sums.index.begin() + 1, {{{contract_.m(), 1}}, 0, 1});
    loop.body.loads.insert(loop.body.loads.begin(), Load{sums, {}});
    const AxisRange m = c_.range(tile_axis());
    const AxisRange n = c_.range(contract_.n);
    c_.range(tile_axis()) = {place.m, place.m_end, heights, unit_};
    c_.range(contract_.n) = {
        place.n, b_.CreateAdd(place.n, c_.i64(place.columns)), {place.columns}, 1};
    LoopEmitter(c_, loop).emit();
    c_.range(tile_axis()) = m;
    c_.range(contract_.n) = n;
  }

  EmitContext& c_;
  llvm::IRBuilder<>& b_;
  const Contract& contract_;
  ElementType type_;
  std::int64_t width_;  // elements of a vector register
  std::int64_t lines_;  // of the register tile
  std::int64_t inner_;  // rows of a line; 1: rows are positions of m
  std::int64_t rows_;   // of the register tile
  std::int64_t columns_;
  std::int64_t unit_ = 1;  // heights of tiles are multiples of it
  bool short_ = false;     // the epilogue is applied in registers
  std::optional<RhsCopy> copy_;
  ChainEmitter chain_;
  BufferId tile_ = 0;                      // the sums of one tile in scratch
  std::vector<Fetch> fetches_;             // of an element of the epilogue
  const Unread* unread_;                   // tiles that may be left out
  RestingSums* resting_;                   // where sums go on; null: they are complete
  Value* begins_ = nullptr;                // whether they begin in this chunk; null: no chunks
  std::optional<RestingSums> chunk_sums_;  // between chunks of k
  std::optional<RestingSums> totals_;      // of the parts so far
};

}  // namespace

ContractStage::ContractStage(EmitContext& context, const Contract& contract)
    : c_(context), contract_(contract), unread_(context.unread_part(contract)) {}

void ContractStage::begin_task() {
  if (!sums_over_tiles(c_.kernel, contract_)) return;
  sums_.emplace(c_, contract_, element_type(c_, contract_), vector_width(c_, contract_),
                RestingSums::Extent::whole_batch);
  sums_->clear();
}

void ContractStage::emit() {
  ContractEmitter(c_, contract_, sums_ ? &*sums_ : nullptr, unread_).emit();
}

void ContractStage::end_task() {
  if (sums_) sums_->finish();
}

}  // namespace gradus::codegen
