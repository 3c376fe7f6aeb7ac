#include "passes/lower_convolutions.h"

#include <algorithm>
#include <map>

#include "ir/compositions/winograd.h"
#include "ir/convolution.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// [0, rank) with step 1 in every axis, to be changed.
struct Box {
  Integers start, limit, stride;
  explicit Box(const Shape& shape)
      : start(shape.size(), 0), limit(shape), stride(shape.size(), 1) {}
  [[nodiscard]] Expr of(Expr x) const {
    const bool whole = limit == x.shape() &&
                       std::ranges::all_of(start, [](std::int64_t s) { return s == 0; }) &&
                       std::ranges::all_of(stride, [](std::int64_t s) { return s == 1; });
    return whole ? x : ir::slice(x, start, limit, stride);
  }
};

class ConvolutionLowering {
 public:
  ConvolutionLowering(const ir::ConvolutionAxes& axes, Expr lhs, Expr rhs, const Shape& result)
      : axes_(axes), rhs_(rhs), result_(result) {
    std::ranges::sort(axes_.spatial, {}, &ir::SpatialAxis::lhs);
    for (std::size_t i = 0; i < axes_.spatial.size(); ++i) {
      const ir::SpatialAxis& axis = axes_.spatial[i];
      const std::int64_t outputs = result[1 + number_in(axes, axis)];
      phases_.push_back(ir::phases(axis, outputs, rhs.shape()[at(axis.rhs)]));
      order_.push_back(1 + number_in(axes, axis));
    }
    lhs_ = padded(lhs);
  }

  Expr run() { return interleaved(0); }

 private:
  static std::size_t number_in(const ir::ConvolutionAxes& axes, const ir::SpatialAxis& wanted) {
    return at(std::ranges::find(axes.spatial, wanted.lhs, &ir::SpatialAxis::lhs) -
              axes.spatial.begin());
  }

  /// lhs with zeros wherever some tap reads outside of it; phases count places from there.
  Expr padded(Expr lhs) {
    Integers low(lhs.shape().size(), 0);
    Integers high = low;
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      const std::size_t axis = at(axes_.spatial[i].lhs);
      for (const ir::Phase& phase : phases_[i]) {
        if (phase.outputs == 0 || phase.taps == 0) continue;
        low[axis] = std::max(low[axis], -phase.place);
        high[axis] = std::max(high[axis], last_place(phase) - (lhs.shape()[axis] - 1));
      }
      for (ir::Phase& phase : phases_[i]) phase.place += low[axis];
    }
    const bool none = std::ranges::all_of(low, [](std::int64_t n) { return n == 0; }) &&
                      std::ranges::all_of(high, [](std::int64_t n) { return n == 0; });
    if (none) return lhs;
    const Expr zero = ir::constant(*lhs.graph, lhs.element(), 0);
    return ir::pad(lhs, zero, low, high, Integers(low.size(), 0));
  }
  static std::int64_t last_place(const ir::Phase& phase) {
    return phase.place + (phase.outputs - 1) * phase.place_step +
           (phase.taps - 1) * phase.tap_place_step;
  }

  /// The result for the phases chosen on the first `axis` spatial axes and all of the others.
  Expr interleaved(std::size_t axis) {
    if (axis == phases_.size()) return phase_result();
    std::vector<Expr> parts;
    for (const ir::Phase& phase : phases_[axis]) {
      chosen_.push_back(phase);
      parts.push_back(interleaved(axis + 1));
      chosen_.pop_back();
    }
    if (parts.empty()) return ir::full(*rhs_.graph, {rhs_.element(), result_}, 0);
    return ir::interleave(parts, static_cast<std::int64_t>(order_[axis]));
  }

  /// How the phases chosen read one spatial axis of lhs.
  enum class Reading : std::uint8_t {
    places,   // a single tap: one place per output
    taps,     // a single output: one place per tap
    windows,  // both
  };
  static Reading reading(const ir::Phase& phase) {
    if (phase.taps == 1) return Reading::places;
    return phase.outputs == 1 ? Reading::taps : Reading::windows;
  }

  /// Axes of the result: batch, spatial, group, output.
  Expr phase_result() {
    Shape shape = result_;
    bool empty = false;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      shape[order_[i]] = chosen_[i].outputs;
      empty |= chosen_[i].taps == 0;
    }
    if (empty || element_count(shape) == 0) {
      return ir::full(*rhs_.graph, {rhs_.element(), shape}, 0);
    }
    const Factor lhs = lhs_factor();
    const Factor rhs = rhs_factor();
    const bool products = axes_.grouped() && result_.back() == 1;
    return ir::reshape(products ? sum_of_products(lhs, rhs) : contraction(lhs, rhs), shape);
  }

  /// A factor and where its axes are; -1: it has none. Those of `contracted` are in rhs's order.
  struct Factor {
    Expr x;
    std::int64_t group = -1;
    Integers free;  // of lhs: batch and spatial axes in the order of the result; of rhs: out
    Integers contracted;
  };

  Factor lhs_factor() {
    Box box(lhs_.shape());
    Integers window_axes, size, stride, dilation;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const ir::Phase& phase = chosen_[i];
      const std::size_t axis = at(axes_.spatial[i].lhs);
      box.start[axis] = phase.place;
      box.limit[axis] = last_place(phase) + 1;
      if (reading(phase) == Reading::places) box.stride[axis] = phase.place_step;
      if (reading(phase) == Reading::taps) box.stride[axis] = phase.tap_place_step;
      if (reading(phase) != Reading::windows) continue;
      window_axes.push_back(axes_.spatial[i].lhs);
      size.push_back(phase.taps);
      stride.push_back(phase.place_step);
      dilation.push_back(phase.tap_place_step);
    }
    Expr x = box.of(lhs_);
    const auto windowed = static_cast<std::int64_t>(window_axes.size());
    const std::int64_t last = windowed == 0 ? x.rank() : window_axes.back();
    if (windowed > 0) x = ir::windows(x, window_axes, size, stride, dilation);
    const auto moved = [&](std::int64_t axis) {  // behind the axes of taps
      return axis <= last ? axis : axis + windowed;
    };
    Factor result{x, axes_.grouped() ? moved(axes_.lhs_group) : -1, {}, {}};
    std::map<std::size_t, std::int64_t> by_result{{0, moved(axes_.lhs_batch)}};
    std::map<std::int64_t, std::int64_t> by_rhs{{axes_.rhs_in, moved(axes_.lhs_feature)}};
    std::int64_t next_tap = last + 1;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const std::int64_t axis = moved(axes_.spatial[i].lhs);
      const Reading how = reading(chosen_[i]);
      if (how != Reading::taps) by_result[order_[i]] = axis;
      if (how != Reading::places) {
        by_rhs[axes_.spatial[i].rhs] = how == Reading::taps ? axis : next_tap++;
      }
    }
    for (const auto& [position, axis] : by_result) result.free.push_back(axis);
    for (const auto& [position, axis] : by_rhs) result.contracted.push_back(axis);
    return result;
  }

  /// The taps that count; axes of single taps are left out.
  Factor rhs_factor() {
    Box box(rhs_.shape());
    Integers dropped;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const ir::Phase& phase = chosen_[i];
      const std::size_t axis = at(axes_.spatial[i].rhs);
      box.start[axis] = phase.first_tap;
      box.limit[axis] = phase.first_tap + (phase.taps - 1) * phase.tap_step + 1;
      box.stride[axis] = phase.tap_step;
      if (reading(phase) == Reading::places) dropped.push_back(axes_.spatial[i].rhs);
    }
    const Expr x = box.of(rhs_);
    Shape shape;
    std::map<std::int64_t, std::int64_t> kept;  // axis -> axis
    for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
      if (std::ranges::count(dropped, axis) > 0) continue;
      kept[axis] = static_cast<std::int64_t>(shape.size());
      shape.push_back(x.shape()[at(axis)]);
    }
    Factor result{ir::reshape(x, shape),
                  axes_.grouped() ? kept.at(axes_.rhs_group) : -1,
                  {kept.at(axes_.rhs_out)},
                  {}};
    for (std::int64_t axis : axes_.contracted()) {
      if (kept.contains(axis)) result.contracted.push_back(kept.at(axis));
    }
    return result;
  }

  /// Axes of the result that there are: batch, spatial, group, output.
  static Expr contraction(const Factor& lhs, const Factor& rhs) {
    const bool grouped = lhs.group >= 0;
    ir::DotAxes axes{{}, {}, lhs.contracted, rhs.contracted};
    if (grouped) axes.lhs_batch = {lhs.group};
    if (grouped) axes.rhs_batch = {rhs.group};
    const Expr y = ir::dot(lhs.x, rhs.x, axes);
    // y has group, free axes of lhs in lhs's order, output.
    Integers ascending = lhs.free;
    std::sort(ascending.begin(), ascending.end());
    Integers permutation;
    for (std::int64_t axis : lhs.free) {
      permutation.push_back((grouped ? 1 : 0) +
                            (std::ranges::find(ascending, axis) - ascending.begin()));
    }
    if (grouped) permutation.push_back(0);
    permutation.push_back(y.rank() - 1);
    return ir::transpose(y, permutation);
  }

  /// Groups of one output: products [free, contracted, group], summed.
  static Expr sum_of_products(const Factor& lhs, const Factor& rhs) {
    Integers order = lhs.free;
    Integers reduced;
    for (std::int64_t axis : lhs.contracted) {
      reduced.push_back(static_cast<std::int64_t>(order.size()));
      order.push_back(axis);
    }
    order.push_back(lhs.group);
    const Expr x = ir::transpose(lhs.x, order);
    Integers rhs_order = rhs.contracted;
    rhs_order.insert(rhs_order.end(), {rhs.group, rhs.free[0]});
    Expr w = ir::transpose(rhs.x, rhs_order);
    w = ir::reshape(w, Shape(w.shape().begin(), w.shape().end() - 1));
    Integers axes;
    for (std::int64_t axis = x.rank() - w.rank(); axis < x.rank(); ++axis) axes.push_back(axis);
    const Expr products = x * ir::broadcast(w, x.shape(), axes);
    return reduced.empty() ? products : ir::sum(products, reduced);
  }

  ir::ConvolutionAxes axes_;                    // spatial axes in lhs's order
  std::vector<std::vector<ir::Phase>> phases_;  // of every spatial axis
  std::vector<std::size_t> order_;              // which axis of the result it is
  std::vector<ir::Phase> chosen_;
  Expr lhs_;
  Expr rhs_;
  Shape result_;
};

std::optional<Expr> lower(const ir::RewriteContext& c) {
  if (!std::holds_alternative<ir::ConvolutionComputation>(c.node.op->compute)) return std::nullopt;
  const Shape& shape = c.node.types[0].shape;
  if (element_count(shape) == 0) return ir::full(*c.operands[0].graph, c.node.types[0], 0);
  const ir::ConvolutionAxes axes = ir::convolution_axes(c.node.attributes);
  if (axes.algorithm != ir::ConvolutionAlgorithm::direct) {
    return ir::winograd(c.operands[0], c.operands[1], axes);
  }
  return ConvolutionLowering(axes, c.operands[0], c.operands[1], shape).run();
}

}  // namespace

ir::Graph lower_convolutions(const ir::Graph& graph) { return ir::rewrite(graph, lower); }

}  // namespace gradus::passes
