#include "codegen/emit_patch.h"

#include <algorithm>

#include "codegen/emit_body.h"
#include "codegen/emit_fetch.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

constexpr std::size_t kMostCode = 12;  // instructions of a point
/// Vectors of a column: as many bytes as prefetchers like to see in a row of memory.
constexpr std::int64_t kColumnRegisters = 4;
/// Of a patch whose sums rest in memory, where more sums at a time are worth more: what they read
/// is read once.
constexpr std::int64_t kLeastRegisters = 2;
constexpr std::int64_t kMostPoints = 144;  // of all vectors of a patch
constexpr std::size_t kMostFetchedPoints = 512;
constexpr int kMaskBits = 256;  // of vectors that can be loaded under a mask

bool contains(const std::vector<AxisId>& axes, AxisId axis) {
  return std::ranges::find(axes, axis) != axes.end();
}

/// Sums in registers that leave enough of them for what a point reads.
std::int64_t most_sums(const EmitContext& context) {
  return context.target.vector_registers() * 5 / 8;
}

/// Registers of one vector's sums at one point.
std::int64_t registers_of_sums(const EmitContext& context, const Loop& loop) {
  constexpr std::int64_t kRegistersOfExtremum = 3;
  std::int64_t registers = 0;
  for (const Accumulate& accumulate : loop.accumulates) {
    const auto result = static_cast<std::size_t>(accumulate.value);
    const auto id = static_cast<std::size_t>(loop.body.program.results[result]);
    const std::int64_t width = context.target.width(loop.body.program.code[id].type);
    const bool sum = accumulate.kind == ir::ReductionKind::sum;
    registers += (kVectorLanes + width - 1) / width * (sum ? 1 : kRegistersOfExtremum);
  }
  return registers;
}

bool is_possible(const EmitContext& context, const Loop& loop, const EffectiveAxes& effective) {
  if (loop.accumulates.empty() || !loop.stores.empty() || effective.axes.size() < 3) return false;
  const FlatProgram program = flatten(loop.body.program, loop.body.fault_nodes);
  if (program.code.size() > kMostCode) return false;
  for (const ir::ScalarInstruction& instruction : program.code) {
    if (instruction.op == ir::ScalarOp::index || ir::can_fault(program, instruction)) return false;
  }
  for (const Load& load : loop.body.loads) {
    if (load.access.pick) return false;
    if (!load.guards.empty() && context.target.vector_bits < kMaskBits) return false;
  }
  for (AxisId axis : effective.axes) {
    if (context.axis(axis).extent == 0) return false;
  }
  const std::vector<AxisId>& over = loop.accumulates[0].over;
  return std::ranges::all_of(loop.accumulates, [&](const Accumulate& accumulate) {
    return accumulate.over == over && accumulate.kind != ir::ReductionKind::arg_max &&
           accumulate.kind != ir::ReductionKind::arg_min && !contains(over, effective.axes.back());
  });
}

PatchAxis described(EmitContext& context, AxisId axis) {
  const AxisRange& range = context.range(axis);
  if (const std::optional<Tile>& tile = context.kernel.tile; tile && tile->axis == axis) {
    return {axis, piece_lengths(range.lengths, tile->size), false};
  }
  const bool whole =
      range.fixed() && range.multiple == 0 && range.greatest() == context.axis(axis).extent;
  return {axis, range.lengths, whole};
}

class PatchEmitter {
 public:
  PatchEmitter(EmitContext& context, const Loop& loop, const PatchCourse& course, VectorAxis vector,
               std::span<const std::unique_ptr<AccumulateEmitter>> accumulates)
      : c_(context), loop_(loop), course_(course), vector_(vector), accumulates_(accumulates) {
    head_.assign(course.head.size() - course.shape.kept.size(), 1);
    head_.insert(head_.end(), course.shape.kept.begin(), course.shape.kept.end());
    std::int64_t points = 1;
    std::int64_t registers = registers_of_sums(context, loop);
    for (std::int64_t count : course.shape.reduced) points *= count;
    for (std::int64_t count : course.shape.kept) {
      points *= count;
      registers *= count;
    }
    const std::int64_t vectors = std::min(kMostPoints / points, most_sums(context) / registers);
    columns_ = std::clamp<std::int64_t>(vectors, 1, kColumnRegisters) * kVectorLanes;
  }

  void emit() {
    walk(course_.head, head_, 0, {}, [&](const std::vector<Span>& kept) {
      const auto terms = [&](const SpansBody& body) {
        walk(course_.tail, course_.shape.reduced, 0, {}, body);
      };
      if (in_memory()) {  // then rows of memory are read from end to end
        terms([&](const std::vector<Span>& reduced) {
          columns([&] { sums(kept, [&] { points(reduced, kept, reads_ahead(reduced, kept)); }); });
        });
      } else {
        std::vector<Span> whole;
        for (AxisId axis : course_.tail) whole.push_back({axis, c_.axis(axis).extent});
        columns([&] {
          sums(kept, [&] {
            fetch(reads_ahead(whole, kept));
            each_sum(kept, [&](std::size_t, const Vector&) { fetch_here(writes_ahead()); });
            terms([&](const std::vector<Span>& reduced) { points(reduced, kept, {}); });
          });
        });
      }
    });
  }

 private:
  using SpansBody = std::function<void(const std::vector<Span>&)>;
  struct Vector {
    Value* begin = nullptr;
    Value* mask = nullptr;
  };

  [[nodiscard]] bool in_memory() const { return accumulates_[0]->in_memory(); }

  /// The loops of `axes` from number `i` on, in pieces of `counts` positions; `body` gets those
  /// that a patch spans.
  void walk(const std::vector<AxisId>& axes, const std::vector<std::int64_t>& counts, std::size_t i,
            const std::vector<Span>& spans, const SpansBody& body) {
    if (i == axes.size()) {
      body(spans);
      return;
    }
    c_.pieces(axes[i], counts[i], [&](Value* begin, std::int64_t count) {
      std::vector<Span> longer = spans;
      if (counts[i] > 1) longer.push_back({axes[i], count});
      at(axes[i], begin, [&] { walk(axes, counts, i + 1, longer, body); });
    });
  }

  void columns(const std::function<void()>& body) {
    c_.pieces(vector_.axis, columns_, [&](Value* begin, std::int64_t lanes) {
      vectors_.clear();
      for (std::int64_t lane = 0; lane < lanes; lane += kVectorLanes) {
        vectors_.push_back({c_.b.CreateAdd(begin, c_.i64(lane)), mask_of(lanes - lane)});
      }
      body();
    });
  }

  /// The sums of a patch of kept positions, in registers while `body` runs.
  void sums(const std::vector<Span>& kept, const std::function<void()>& body) {
    for (const auto& sum : accumulates_) sum->clear_columns();
    each_sum(kept, [&](std::size_t, const Vector& vector) {
      for (const auto& sum : accumulates_) sum->open_column(vector.mask);
    });
    body();
    each_sum(kept, [&](std::size_t number, const Vector& vector) {
      for (const auto& sum : accumulates_) sum->close_column(number, vector.mask);
    });
  }

  /// All that is accumulated at one place of the loops, vector beside vector as they lie in memory,
  /// and what is fetched meanwhile.
  void points(const std::vector<Span>& reduced, const std::vector<Span>& kept,
              std::span<const Fetch> beside) {
    std::vector<Span> spans = reduced;
    spans.insert(spans.end(), kept.begin(), kept.end());
    const PatchBody patch = patch_body(loop_, c_.kernel.axes, spans);
    const std::size_t results = loop_.body.program.results.size();
    const std::size_t sums = count_of(kept);
    const std::size_t terms = count_of(reduced);
    std::vector<BodyEmitter> bodies;
    for (const Vector& vector : vectors_) {
      bodies.emplace_back(c_, patch.program, patch.loads, loop_.axes, vector_);
      bodies.back().set_mask(vector.mask);
    }
    const auto add = [&](std::size_t point, std::size_t v) {
      at(vector_.axis, vectors_[v].begin, [&] {
        for (std::size_t i = 0; i < accumulates_.size(); ++i) {
          const std::size_t result =
              point * results + static_cast<std::size_t>(loop_.accumulates[i].value);
          accumulates_[i]->add_to_column(v * sums + point % sums,
                                         bodies[v].wanted(static_cast<std::int32_t>(result)));
        }
      });
    };
    const std::size_t count = terms * sums;
    std::size_t fetched = 0;
    for (std::size_t point = 0; point < count; ++point) {
      for (std::size_t v = 0; v < bodies.size(); ++v) add(point, v);
      for (; fetched < beside.size() * (point + 1) / count; ++fetched) fetch({beside[fetched]});
    }
  }

  /// What a patch a row later is going to read first; `reduced` and `kept` are what is read before
  /// that is asked again.
  [[nodiscard]] std::vector<Fetch> reads_ahead(const std::vector<Span>& reduced,
                                               const std::vector<Span>& kept) const {
    std::vector<Span> spans = reduced;
    spans.insert(spans.end(), kept.begin(), kept.end());
    const std::vector<Span> around = this->around();
    if (around.empty() || count_of(spans) > kMostFetchedPoints) return {};
    std::vector<Access> first = first_reads(c_.kernel, loop_, spans, around);
    return ahead(std::move(first), Purpose::read, around);
  }
  /// What it is going to fill.
  [[nodiscard]] std::vector<Fetch> writes_ahead() const {
    std::vector<Access> targets;
    for (const Accumulate& accumulate : loop_.accumulates) targets.push_back(accumulate.target);
    return ahead(std::move(targets), Purpose::write, around());
  }
  [[nodiscard]] std::vector<Fetch> ahead(std::vector<Access> accesses, Purpose purpose,
                                         const std::vector<Span>& around) const {
    std::vector<Fetch> result;
    if (around.empty()) return result;
    const bool in_row = around.back().count > 1 && around.size() > 1;
    const AxisId rows = around[around.size() - (in_row ? 2 : 1)].axis;
    for (Access& access : accesses) {
      if (is_far(c_.kernel, access)) result.push_back({std::move(access), purpose, rows, 1});
    }
    return result;
  }
  /// The loops around what is computed between fetches, with the distances from patch to patch.
  [[nodiscard]] std::vector<Span> around() const {
    std::vector<Span> result = steps(course_.head, head_);
    if (in_memory()) {
      const std::vector<Span> terms = steps(course_.tail, course_.shape.reduced);
      result.insert(result.end(), terms.begin(), terms.end());
    }
    return result;
  }
  void fetch(const std::vector<Fetch>& fetches) {
    for (const Vector& vector : vectors_) {
      at(vector_.axis, vector.begin, [&] { fetch_here(fetches); });
    }
  }
  void fetch_here(const std::vector<Fetch>& fetches) {
    FetchEmitter ahead(c_, fetches, vector_, -1, 1);
    ahead.advance(~AxisSet{0});
    ahead.fetch();
  }
  /// Of the axes that a patch does not span whole, how far it is from patch to patch.
  [[nodiscard]] std::vector<Span> steps(const std::vector<AxisId>& axes,
                                        const std::vector<std::int64_t>& counts) const {
    std::vector<Span> result;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      if (counts[i] < c_.axis(axes[i]).extent) result.push_back({axes[i], counts[i]});
    }
    return result;
  }

  static std::size_t count_of(const std::vector<Span>& spans) {
    std::size_t count = 1;
    for (const Span& span : spans) count *= static_cast<std::size_t>(span.count);
    return count;
  }

  /// `action` with the number and the vector of every sum, at its position.
  template <typename Action>
  void each_sum(const std::vector<Span>& kept, const Action& action) {
    std::size_t number = 0;
    for (const Vector& vector : vectors_) {
      at(vector_.axis, vector.begin,
         [&] { each_position(kept, 0, [&] { action(number++, vector); }); });
    }
  }
  void each_position(const std::vector<Span>& kept, std::size_t i,
                     const std::function<void()>& body) {
    if (i == kept.size()) {
      body();
      return;
    }
    Value* begin = c_.position(kept[i].axis);
    for (std::int64_t step = 0; step < kept[i].count; ++step) {
      Value* position = c_.b.CreateAdd(begin, c_.i64(step));
      at(kept[i].axis, position, [&] { each_position(kept, i + 1, body); });
    }
  }

  template <typename Body>
  void at(AxisId axis, Value* position, const Body& body) {
    Value*& current = c_.positions[static_cast<std::size_t>(axis)];
    Value* before = current;
    current = position;
    body();
    c_.positions[static_cast<std::size_t>(axis)] = before;
  }

  Value* mask_of(std::int64_t lanes) const {
    if (lanes >= kVectorLanes) return nullptr;
    std::vector<llvm::Constant*> exists;
    for (std::int64_t lane = 0; lane < kVectorLanes; ++lane) {
      exists.push_back(c_.b.getInt1(lane < lanes));
    }
    return llvm::ConstantVector::get(exists);
  }

  EmitContext& c_;
  const Loop& loop_;
  const PatchCourse& course_;
  VectorAxis vector_;
  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates_;
  std::vector<std::int64_t> head_;  // how many positions of the head's axes a patch spans
  std::int64_t columns_ = 0;        // positions of the vector axis side by side
  std::vector<Vector> vectors_;     // of the current column
};

}  // namespace

std::optional<PatchCourse> patch_course(EmitContext& context, const Loop& loop,
                                        const EffectiveAxes& effective) {
  if (!is_possible(context, loop, effective)) return std::nullopt;
  const std::vector<AxisId>& over = loop.accumulates[0].over;
  const auto begin = effective.axes.begin();
  const auto vector = effective.axes.end() - 1;
  auto tail = vector, kept = vector;
  while (tail != begin && contains(over, *(tail - 1))) --tail;
  for (kept = tail; kept != begin && !contains(over, *(kept - 1));) --kept;
  std::vector<PatchAxis> sums, terms;
  for (auto axis = kept; axis != tail; ++axis) sums.push_back(described(context, *axis));
  for (auto axis = tail; axis != vector; ++axis) terms.push_back(described(context, *axis));
  const std::optional<Tile>& tile = context.kernel.tile;
  const bool in_memory = kept != begin || (tile && contains(over, tile->axis));
  const std::int64_t vectors = in_memory ? kLeastRegisters : kColumnRegisters;
  const std::int64_t registers = std::max(registers_of_sums(context, loop), vectors);
  const PatchLimits limits{most_sums(context) / registers, kMostPoints / vectors};
  std::optional<PatchShape> shape = choose_patch(loop, sums, terms, limits);
  if (!shape) return std::nullopt;
  return PatchCourse{{begin, tail}, {tail, vector}, std::move(*shape)};
}

void emit_patches(EmitContext& context, const Loop& loop, const PatchCourse& course,
                  VectorAxis vector,
                  std::span<const std::unique_ptr<AccumulateEmitter>> accumulates) {
  PatchEmitter(context, loop, course, vector, accumulates).emit();
}

}  // namespace gradus::codegen
