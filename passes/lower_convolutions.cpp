#include "passes/lower_convolutions.h"

#include <algorithm>

#include "ir/convolution.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace gradus::passes {
namespace {

using ir::Expr;
using ir::Integers;

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

Expr transposed(Expr x, const Integers& permutation) {
  return std::is_sorted(permutation.begin(), permutation.end()) ? x : ir::transpose(x, permutation);
}

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

  /// Axes of the result: batch, spatial, group, output.
  Expr phase_result() {
    Shape shape = result_;
    bool empty = false;
    bool single_taps = true;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      shape[order_[i]] = chosen_[i].outputs;
      empty |= chosen_[i].taps == 0;
      single_taps &= chosen_[i].taps == 1;
    }
    if (empty || element_count(shape) == 0) {
      return ir::full(*rhs_.graph, {rhs_.element(), shape}, 0);
    }
    Box taps(rhs_.shape());
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const std::size_t axis = at(axes_.spatial[i].rhs);
      taps.start[axis] = chosen_[i].first_tap;
      taps.limit[axis] = chosen_[i].first_tap + (chosen_[i].taps - 1) * chosen_[i].tap_step + 1;
      taps.stride[axis] = chosen_[i].tap_step;
    }
    const Expr rhs = taps.of(rhs_);
    if (single_taps) return points(rhs);
    Box places(lhs_.shape());
    Integers axes, size, stride, dilation;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const ir::Phase& phase = chosen_[i];
      axes.push_back(axes_.spatial[i].lhs);
      places.start[at(axes.back())] = phase.place;
      places.limit[at(axes.back())] = last_place(phase) + 1;
      size.push_back(phase.taps);
      stride.push_back(phase.place_step);
      dilation.push_back(phase.tap_place_step);
    }
    const Expr windows = ir::windows(places.of(lhs_), axes, size, stride, dilation);
    Integers tap_axes;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      tap_axes.push_back(axes.back() + 1 + static_cast<std::int64_t>(i));
    }
    const auto moved = [&](std::int64_t axis) {  // behind the tap axes
      return axis <= axes.back() ? axis : axis + static_cast<std::int64_t>(axes.size());
    };
    return product(windows, rhs, tap_axes, moved);
  }

  /// One tap that counts: the places themselves.
  Expr points(Expr rhs) {
    Box places(lhs_.shape());
    Shape without_taps;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const std::size_t axis = at(axes_.spatial[i].lhs);
      places.start[axis] = chosen_[i].place;
      places.limit[axis] = last_place(chosen_[i]) + 1;
      places.stride[axis] = chosen_[i].place_step;
    }
    return product(places.of(lhs_), rhs, {}, [](std::int64_t axis) { return axis; });
  }

  /// lhs [.., batch, spatial, feature, group ..] with the tap axes at `taps` (none: one tap that
  /// needs no axis) times rhs.
  template <typename Moved>
  Expr product(Expr lhs, Expr rhs, const Integers& taps, const Moved& moved) {
    // Contracted axes of lhs in rhs's order.
    Integers lhs_contract, rhs_contract, dropped;
    for (std::int64_t axis : axes_.contracted()) {
      std::int64_t mine = -1;
      if (axis == axes_.rhs_in) mine = moved(axes_.lhs_feature);
      for (std::size_t i = 0; i < taps.size(); ++i) {
        if (axes_.spatial[i].rhs == axis) mine = taps[i];
      }
      if (mine < 0) {
        dropped.push_back(axis);
        continue;
      }
      lhs_contract.push_back(mine);
      rhs_contract.push_back(axis);
    }
    const auto kept = [&](std::int64_t axis) {  // of rhs without the dropped ones
      return axis - std::ranges::count_if(dropped, [&](std::int64_t d) { return d < axis; });
    };
    Shape shape;
    for (std::int64_t axis = 0; axis < rhs.rank(); ++axis) {
      if (std::ranges::count(dropped, axis) == 0) shape.push_back(rhs.shape()[at(axis)]);
    }
    rhs = ir::reshape(rhs, shape);
    for (std::int64_t& axis : rhs_contract) axis = kept(axis);
    const std::int64_t out = kept(axes_.rhs_out);
    const std::int64_t rhs_group = axes_.grouped() ? kept(axes_.rhs_group) : -1;
    // Free axes of lhs as the result has them.
    Integers free{moved(axes_.lhs_batch)};
    Integers wanted{0};
    for (std::size_t i = 0; i < axes_.spatial.size(); ++i) {
      free.push_back(moved(axes_.spatial[i].lhs));
      wanted.push_back(static_cast<std::int64_t>(order_[i]));
    }
    if (axes_.grouped() && rhs.shape()[at(out)] == 1) {
      return sum_of_products(lhs, rhs, free, wanted, lhs_contract, rhs_contract, rhs_group, out,
                             moved);
    }
    Integers batch;
    if (axes_.grouped()) batch = {moved(axes_.lhs_group)};
    const Expr y = ir::dot(
        lhs, rhs,
        {batch, axes_.grouped() ? Integers{rhs_group} : Integers{}, lhs_contract, rhs_contract});
    // y: group, free axes ascending, out. The result: batch, spatial, group, out.
    Integers ascending = free;
    std::sort(ascending.begin(), ascending.end());
    Integers permutation(at(y.rank()));
    const auto groups = static_cast<std::int64_t>(batch.size());
    for (std::size_t i = 0; i < free.size(); ++i) {
      permutation[at(wanted[i])] =
          groups + (std::ranges::find(ascending, free[i]) - ascending.begin());
    }
    if (groups > 0) permutation[at(y.rank() - 2)] = 0;
    permutation.back() = y.rank() - 1;
    return transposed(y, permutation);
  }

  /// Groups of one output: products [batch, spatial, contracted, group], summed.
  template <typename Moved>
  Expr sum_of_products(Expr lhs, Expr rhs, const Integers& free, const Integers& wanted,
                       const Integers& lhs_contract, const Integers& rhs_contract,
                       std::int64_t rhs_group, std::int64_t out, const Moved& moved) {
    Integers order(free.size());
    for (std::size_t i = 0; i < free.size(); ++i) order[at(wanted[i])] = free[i];
    Integers reduced;
    for (std::int64_t axis : lhs_contract) {
      reduced.push_back(static_cast<std::int64_t>(order.size()));
      order.push_back(axis);
    }
    order.push_back(moved(axes_.lhs_group));
    const Expr x = transposed(lhs, order);
    Integers rhs_order = rhs_contract;
    rhs_order.push_back(rhs_group);
    rhs_order.push_back(out);
    Expr w = transposed(rhs, rhs_order);
    w = ir::reshape(w, Shape(w.shape().begin(), w.shape().end() - 1));
    Integers axes;
    for (std::int64_t axis = x.rank() - w.rank(); axis < x.rank(); ++axis) axes.push_back(axis);
    const Expr products = x * ir::broadcast(w, x.shape(), axes);
    const Expr y = reduced.empty() ? products : ir::sum(products, reduced);
    Shape shape = y.shape();
    shape.push_back(1);
    return ir::reshape(y, shape);
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
  return ConvolutionLowering(ir::convolution_axes(c.node.attributes), c.operands[0], c.operands[1],
                             shape)
      .run();
}

}  // namespace

ir::Graph lower_convolutions(const ir::Graph& graph) { return ir::rewrite(graph, lower); }

}  // namespace gradus::passes
