#include "codegen/emit_nest.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

class NestEmitter {
 public:
  NestEmitter(EmitContext& context, const Nest& nest) : c_(context), nest_(nest) {}

  void level(std::size_t l) {
    if (l == nest_.axes.size()) {
      nest_.point(nullptr);
      return;
    }
    if (nest_.enter) nest_.enter(l);
    if (l + 1 == nest_.axes.size() && nest_.vector.lanes > 1) {
      vectors();
    } else {
      const AxisId axis = nest_.axes[l];
      const AxisRange range = c_.range(axis);
      const std::int64_t step = axis == nest_.stepped ? nest_.step : 1;
      std::optional<std::int64_t> trips;
      if (range.fixed()) trips = range.greatest() / step;
      c_.loop(range.begin, range.end, step, trips,
              [&](Value* i) { at(axis, i, [&] { level(l + 1); }); });
    }
    if (nest_.leave) nest_.leave(l);
  }

 private:
  template <typename Body>
  void at(AxisId axis, Value* position, const Body& body) {
    Value*& current = c_.positions[static_cast<std::size_t>(axis)];
    Value* before = current;
    current = position;
    body();
    c_.positions[static_cast<std::size_t>(axis)] = before;
  }

  void vectors() {
    const AxisId axis = nest_.vector.axis;
    AxisRange range = c_.range(axis);
    const std::int64_t lanes = nest_.vector.lanes;
    if (nest_.half_plane) {
      const HalfPlane& border = *nest_.half_plane;
      const AxisId other = border.other(axis);
      range = c_.admitted(border, axis, range, c_.position(other), 1);
      if (border.high == axis) return masked_vectors(axis, range);
    }
    if (nest_.fixed_lanes && range.multiple % lanes != 0) {
      masked_vectors(axis, range);
      return;
    }
    llvm::IRBuilder<>& b = c_.b;
    if (range.fixed()) {
      const std::int64_t full = range.greatest() / lanes * lanes;
      Value* middle = b.CreateAdd(range.begin, c_.i64(full));
      c_.loop(range.begin, middle, lanes, full / lanes,
              [&](Value* j) { at(axis, j, [&] { nest_.point(nullptr); }); });
      if (full == range.greatest()) return;
      std::vector<llvm::Constant*> exists;
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        exists.push_back(b.getInt1(full + lane < range.greatest()));
      }
      at(axis, middle, [&] { nest_.point(llvm::ConstantVector::get(exists)); });
      return;
    }
    Value* length = b.CreateSub(range.end, range.begin);
    Value* full = b.CreateAnd(length, c_.i64(-lanes));
    Value* middle = b.CreateAdd(range.begin, full);
    c_.loop(range.begin, middle, lanes, std::nullopt,
            [&](Value* j) { at(axis, j, [&] { nest_.point(nullptr); }); });
    bool whole = true;
    for (std::int64_t possible : range.lengths) whole = whole && possible % lanes == 0;
    if (whole) return;
    c_.when(b.CreateICmpNE(full, length), [&] {
      at(axis, middle, [&] { nest_.point(lanes_below(b.CreateSub(length, full))); });
    });
  }

  /// Vectors that begin at multiples of the number of lanes, all masked.
  void masked_vectors(AxisId axis, const AxisRange& range) {
    llvm::IRBuilder<>& b = c_.b;
    const std::int64_t lanes = nest_.vector.lanes;
    Value* first = b.CreateAnd(range.begin, c_.i64(-lanes));
    c_.loop(first, range.end, lanes, std::nullopt, [&](Value* j) {
      at(axis, j, [&] {
        Value* before = lanes_below(b.CreateSub(range.begin, j));
        Value* below = lanes_below(b.CreateSub(range.end, j));
        nest_.point(b.CreateAnd(below, b.CreateNot(before)));
      });
    });
  }

  Value* lanes_below(Value* count) {
    llvm::Type* lane_type = c_.b.getInt32Ty();
    Value* bound = c_.splat(c_.b.CreateTrunc(count, lane_type), nest_.vector.lanes);
    return c_.b.CreateICmpSLT(lane_numbers(lane_type, nest_.vector.lanes), bound);
  }

  EmitContext& c_;
  const Nest& nest_;
};

}  // namespace

void emit_nest(EmitContext& context, const Nest& nest) {
  if (nest.axes.empty()) {
    if (nest.enter) nest.enter(0);
    nest.point(nullptr);
    if (nest.leave) nest.leave(0);
    return;
  }
  NestEmitter(context, nest).level(0);
}

EffectiveAxes effective_axes(EmitContext& context, const std::vector<AxisId>& axes) {
  EffectiveAxes result;
  for (AxisId axis : axes) {
    const Axis& described = context.axis(axis);
    if (described.extent != 1 && described.block_of < 0) result.axes.push_back(axis);
  }
  if (!result.axes.empty()) result.vector = {result.axes.back(), kVectorLanes};
  return result;
}

}  // namespace gradus::codegen
