#include "codegen/emit_columns.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "codegen/caches.h"
#include "codegen/emit_loop.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

/// Sums of whole rows that a first cache holds beside the rows themselves.
constexpr std::int64_t kNearSums = 16 * 1024;
/// Vectors of a column: as many bytes as prefetchers like to see in a row of memory, ...
constexpr std::int64_t kColumnVectors = 4;
/// ... and less where all copies of the body together would have more instructions than this.
constexpr std::size_t kColumnCode = 200;

bool contains(const std::vector<AxisId>& axes, AxisId axis) {
  return std::ranges::find(axes, axis) != axes.end();
}

/// The first level from which all axes before the vector axis are accumulated.
std::optional<std::size_t> sums_level(const std::vector<AxisId>& axes,
                                      const Accumulate& accumulate) {
  if (contains(accumulate.over, axes.back())) return std::nullopt;
  std::size_t level = axes.size() - 1;
  while (level > 0 && contains(accumulate.over, axes[level - 1])) --level;
  return level;
}

ElementType type_of(const Loop& loop, const Accumulate& accumulate) {
  const ir::ScalarProgram& program = loop.body.program;
  const auto result = static_cast<std::size_t>(accumulate.value);
  return program.code[static_cast<std::size_t>(program.results[result])].type;
}

/// As many vectors as leave half of the registers free of sums.
std::int64_t vectors_of_column(const EmitContext& context, const Loop& loop) {
  std::int64_t registers = 0;  // per vector
  for (const Accumulate& accumulate : loop.accumulates) {
    const std::int64_t width = context.target.width(type_of(loop, accumulate));
    registers += (kVectorLanes + width - 1) / width;
  }
  const std::size_t code = flatten(loop.body.program, {}).code.size();
  auto most = static_cast<std::int64_t>(kColumnCode / std::max<std::size_t>(code, 1));
  if (registers > 0) most = std::min(most, context.target.vector_registers() / 2 / registers);
  return std::clamp<std::int64_t>(most, 1, kColumnVectors);
}

/// Whether parts of rows would come from beyond the second cache, in columns, although the sums of
/// whole rows could stay in the first one: then rows are read from their beginning to their end.
bool streams_rows(EmitContext& context, const Loop& loop, const EffectiveAxes& effective) {
  if (context.range(effective.vector.axis).greatest() <=
      vectors_of_column(context, loop) * kVectorLanes) {
    return false;
  }
  std::int64_t sums = 0;  // bytes in a task or tile
  for (const Accumulate& accumulate : loop.accumulates) {
    std::int64_t count = 1;
    for (AxisId axis : effective.axes) {
      if (!contains(accumulate.over, axis)) count *= context.range(axis).greatest();
    }
    sums += count * byte_size(type_of(loop, accumulate));
  }
  std::int64_t points = 1;  // in all tasks
  for (AxisId axis : effective.axes) points *= context.axis(axis).extent;
  std::int64_t read = 0;
  for (const Load& load : loop.body.loads) {
    const Buffer& buffer = context.buffers[static_cast<std::size_t>(load.access.buffer)];
    const bool moves = std::ranges::any_of(load.access.index, [&](const Affine& index) {
      return std::ranges::any_of(index.terms, [&](const Term& term) {
        return contains(loop.accumulates[0].over, term.axis);
      });
    });
    if (moves) read += byte_size(buffer.type.element) * points;
  }
  return sums <= kNearSums && read > kSecondCache;
}

class ColumnsEmitter {
 public:
  ColumnsEmitter(EmitContext& context, const Loop& loop, const EffectiveAxes& effective,
                 const ColumnLevels& levels,
                 std::span<const std::unique_ptr<AccumulateEmitter>> accumulates,
                 const std::vector<Fetch>& fetches, const Unread* unread)
      : c_(context),
        loop_(loop),
        effective_(effective),
        levels_(levels),
        accumulates_(accumulates),
        fetches_(fetches),
        unread_(unread),
        program_(flatten(loop.body.program, loop.body.fault_nodes)) {}

  void emit() {
    emit_nest(c_, {.axes = axes(0, levels_.columns), .point = [&](Value*) { columns(); }});
  }

 private:
  /// One vector of a column.
  struct Copy {
    BodyEmitter body;
    StoreEmitter stores;
    FetchEmitter fetches;
    Value* begin = nullptr;
    std::int64_t lanes = 0;  // that exist
  };

  [[nodiscard]] std::vector<AxisId> axes(std::size_t begin, std::size_t end) const {
    return {effective_.axes.begin() + static_cast<std::ptrdiff_t>(begin),
            effective_.axes.begin() + static_cast<std::ptrdiff_t>(end)};
  }

  void columns() {
    c_.pieces(effective_.vector.axis, vectors_of_column(c_, loop_) * kVectorLanes,
              [&](Value* begin, std::int64_t lanes) {
                if (unread_ == nullptr) return column(begin, lanes);
                const HalfPlane& border = unread_->half_plane;
                const AxisId rows = border.other(effective_.vector.axis);
                const AxisRange whole = c_.range(rows);
                // Rows that any of the columns sees: of the last column, or of the first.
                if (c_.positions[static_cast<std::size_t>(rows)] == nullptr) {
                  c_.range(rows) = c_.admitted(border, rows, whole, begin, lanes);
                }
                column(begin, lanes);
                c_.range(rows) = whole;
              });
  }

  void column(Value* begin, std::int64_t lanes) {
    std::vector<Copy> copies;
    for (std::int64_t lane = 0; lane < lanes; lane += kVectorLanes) {
      copies.push_back({BodyEmitter(c_, program_, loop_.body.loads, loop_.axes, effective_.vector),
                        StoreEmitter(c_, loop_.stores, effective_.vector),
                        FetchEmitter(c_, fetches_, effective_.vector),
                        c_.b.CreateAdd(begin, c_.i64(lane)),
                        std::min<std::int64_t>(lanes - lane, kVectorLanes)});
      copies.back().body.set_mask(mask_of(copies.back()));
    }
    const auto each = [&](auto&& action) { each_copy(copies, action); };
    const auto enter_from = [&](std::size_t first) {
      return [&, first](std::size_t level) {
        AxisSet known = ~AxisSet{0};
        for (AxisId axis : axes(first + level, effective_.axes.size() - 1)) {
          known &= ~axis_bit(axis);
        }
        each([&](std::size_t, Copy& copy) {
          copy.body.advance(known);
          copy.stores.advance(known);
          copy.fetches.advance(known);
        });
      };
    };
    enter_from(levels_.columns)(0);
    const Nest inner{.axes = axes(levels_.sums, effective_.axes.size() - 1),
                     .enter = enter_from(levels_.sums),
                     .point = [&](Value*) { point(copies); }};
    emit_nest(c_, {.axes = axes(levels_.columns, levels_.sums),
                   .enter = enter_from(levels_.columns),
                   .point = [&](Value*) {
                     for (const auto& sum : accumulates_) sum->clear_columns();
                     each([&](std::size_t, Copy& copy) {
                       for (const auto& sum : accumulates_) sum->open_column(copy.body.mask());
                     });
                     emit_nest(c_, inner);
                     each([&](std::size_t number, Copy& copy) {
                       for (const auto& sum : accumulates_) {
                         sum->close_column(number, copy.body.mask());
                       }
                     });
                   }});
  }

  template <typename Action>
  void each_copy(std::vector<Copy>& copies, const Action& action) {
    Value*& position = c_.positions[static_cast<std::size_t>(effective_.vector.axis)];
    for (std::size_t number = 0; number < copies.size(); ++number) {
      position = copies[number].begin;
      action(number, copies[number]);
    }
    position = nullptr;
  }

  void point(std::vector<Copy>& copies) {
    if (const std::optional<std::size_t> choice = rare_choice(copies[0].body)) {
      chosen_point(copies, *choice);
      return;
    }
    each_copy(copies, [&](std::size_t number, Copy& copy) {
      copy.body.advance(~AxisSet{0});
      copy.stores.advance(~AxisSet{0});
      copy.stores.store(copy.body);
      copy.fetches.advance(~AxisSet{0});
      copy.fetches.fetch();
      for (std::size_t i = 0; i < accumulates_.size(); ++i) {
        accumulates_[i]->add_to_column(number, copy.body.result(loop_.accumulates[i].value));
      }
    });
  }

  /// The choice of a body that a stride makes: it holds at one of several positions only.
  [[nodiscard]] std::optional<std::size_t> rare_choice(const BodyEmitter& body) const {
    const bool strided = std::ranges::any_of(loop_.body.loads, [](const Load& load) {
      return std::ranges::any_of(load.guards,
                                 [](const Guard& guard) { return guard.value.divisor != 1; });
    });
    if (!strided || !loop_.stores.empty()) return std::nullopt;
    return body.choice();
  }

  /// Accumulates constants where the choice does not hold, without computing anything else.
  void chosen_point(std::vector<Copy>& copies, std::size_t choice) {
    std::vector<llvm::AllocaInst*> terms;
    each_copy(copies, [&](std::size_t, Copy& copy) {
      for (const Accumulate& accumulate : loop_.accumulates) {
        Value* constant = copy.body.otherwise(accumulate.value);
        terms.push_back(c_.variable(constant->getType()));
        c_.b.CreateStore(constant, terms.back());
      }
    });
    c_.when(copies[0].body.emit_choice(choice), [&] {
      std::size_t term = 0;
      each_copy(copies, [&](std::size_t, Copy& copy) {
        copy.body.assume(choice);
        copy.body.advance(~AxisSet{0});
        for (const Accumulate& accumulate : loop_.accumulates) {
          c_.b.CreateStore(copy.body.result(accumulate.value), terms[term++]);
        }
      });
    });
    for (std::size_t term = 0; term < terms.size(); ++term) {
      Value* value = c_.b.CreateLoad(terms[term]->getAllocatedType(), terms[term]);
      accumulates_[term % accumulates_.size()]->add_to_column(term / accumulates_.size(), value);
    }
  }

  Value* mask_of(const Copy& copy) const {
    if (copy.lanes == kVectorLanes) return nullptr;
    std::vector<llvm::Constant*> exists;
    for (std::int64_t lane = 0; lane < kVectorLanes; ++lane) {
      exists.push_back(c_.b.getInt1(lane < copy.lanes));
    }
    return llvm::ConstantVector::get(exists);
  }

  EmitContext& c_;
  const Loop& loop_;
  const EffectiveAxes& effective_;
  const ColumnLevels levels_;
  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates_;
  const std::vector<Fetch>& fetches_;
  const Unread* unread_;
  FlatProgram program_;
};

}  // namespace

std::optional<ColumnLevels> column_levels(EmitContext& context, const Loop& loop,
                                          const EffectiveAxes& effective) {
  const std::size_t count = effective.axes.size();
  if (count < 2) return std::nullopt;
  if (loop.accumulates.empty()) {
    const BodyEmitter body(context, flatten(loop.body.program, {}), loop.body.loads, loop.axes,
                           effective.vector);
    if (!body.computes_for(axis_bit(effective.vector.axis))) return std::nullopt;
    return ColumnLevels{count - 2, count - 1};
  }
  std::set<std::optional<std::size_t>> levels;
  for (const Accumulate& sum : loop.accumulates) levels.insert(sums_level(effective.axes, sum));
  const std::optional<std::size_t> level = *levels.begin();
  if (levels.size() > 1 || !level || *level + 1 == count) return std::nullopt;
  if (streams_rows(context, loop, effective)) return std::nullopt;
  return ColumnLevels{*level == 0 ? 0 : *level - 1, *level};
}

void emit_columns(EmitContext& context, const Loop& loop, const EffectiveAxes& effective,
                  const ColumnLevels& levels,
                  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates,
                  const std::vector<Fetch>& fetches, const Unread* unread) {
  ColumnsEmitter(context, loop, effective, levels, accumulates, fetches, unread).emit();
}

}  // namespace gradus::codegen
