#include "ir/interpret_contraction.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/float_environment.h"
#include "ir/compositions/winograd.h"
#include "ir/convolution.h"
#include "ir/half_plane.h"
#include "ir/interpret.h"
#include "ir/interpret_sums.h"
#include "ir/op.h"

namespace gradus::ir {
namespace {

template <typename T>
T multiply_add(T a, T b, T c) {
  if constexpr (std::is_floating_point_v<T>) {
    return fused_multiply_add(a, b, c);
  } else {
    using U = std::uint64_t;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b) + static_cast<U>(c));
  }
}
template <typename T>
T multiply(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return a * b;
  return multiply_add(a, b, T{0});
}

/// The axes of a contraction and the strides to walk them in both operands.
struct DotShape {
  Shape result;  // batch, lhs free, rhs free
  Shape contracted;
  std::int64_t outputs_per_batch = 1;
  Integers lhs_result, rhs_result;  // strides of the result axes
  Integers lhs_inner, rhs_inner;    // strides of the contracted axes

  DotShape(const Node& node, const Tensor& lhs, const Tensor& rhs, bool parts)
      : result(node.types[0].shape) {
    if (parts) result.erase(result.begin());
    const auto axes = [&](std::string_view name) { return node.attributes.get<Integers>(name); };
    const Integers lhs_strides = row_major_strides(lhs.type.shape);
    const Integers rhs_strides = row_major_strides(rhs.type.shape);
    const Integers lhs_batch = axes("lhs_batch"), rhs_batch = axes("rhs_batch");
    const Integers lhs_contract = axes("lhs_contract"), rhs_contract = axes("rhs_contract");
    for (std::size_t i = 0; i < lhs_batch.size(); ++i) {
      lhs_result.push_back(lhs_strides[at(lhs_batch[i])]);
      rhs_result.push_back(rhs_strides[at(rhs_batch[i])]);
    }
    const auto add_free = [&](const Tensor& own, const Integers& batch, const Integers& contract,
                              const Integers& strides, Integers& mine, Integers& other) {
      for (std::int64_t axis = 0; axis < own.type.rank(); ++axis) {
        if (std::ranges::count(batch, axis) + std::ranges::count(contract, axis) > 0) continue;
        mine.push_back(strides[at(axis)]);
        other.push_back(0);
        outputs_per_batch *= own.type.shape[at(axis)];
      }
    };
    add_free(lhs, lhs_batch, lhs_contract, lhs_strides, lhs_result, rhs_result);
    add_free(rhs, rhs_batch, rhs_contract, rhs_strides, rhs_result, lhs_result);
    for (std::size_t i = 0; i < lhs_contract.size(); ++i) {
      contracted.push_back(lhs.type.shape[at(lhs_contract[i])]);
      lhs_inner.push_back(lhs_strides[at(lhs_contract[i])]);
      rhs_inner.push_back(rhs_strides[at(rhs_contract[i])]);
    }
  }
};

std::int64_t inner_product(const Integers& strides, const Index& index) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) offset += strides[i] * index[i];
  return offset;
}

template <typename T>
struct Factors {
  T lhs{};
  T rhs{};
  bool counts = true;
};

/// Row-major factors of one result element.
template <typename T>
std::vector<Factors<T>> factors(const DotShape& dot, const Tensor& lhs, const Tensor& rhs,
                                const Index& index, const std::optional<HalfPlane>& half_plane) {
  const std::int64_t lhs_base = inner_product(dot.lhs_result, index);
  const std::int64_t rhs_base = inner_product(dot.rhs_result, index);
  std::vector<Factors<T>> result;
  for_each_index(dot.contracted, [&](const Index& k) {
    const bool counts =
        !half_plane || half_plane->admits(index[index.size() - 2], index.back(), k[0]);
    result.push_back({lhs.as<T>()[at(lhs_base + inner_product(dot.lhs_inner, k))],
                      rhs.as<T>()[at(rhs_base + inner_product(dot.rhs_inner, k))], counts});
  });
  return result;
}

/// One chain of fma from +0 for each part.
template <typename T>
std::vector<T> chains(const std::vector<Factors<T>>& factors, const Shape& contracted,
                      const PartRule& rule) {
  const ContractionOrder order = contraction_order(contracted, rule);
  std::int64_t slice = 1;  // factors per position of the cut axis
  if (order.part_axis >= 0) {
    for (std::size_t axis = at(order.part_axis) + 1; axis < contracted.size(); ++axis) {
      slice *= contracted[axis];
    }
  } else {
    slice = static_cast<std::int64_t>(factors.size());
  }
  std::vector<T> result;
  for (std::int64_t part = 0; part < order.parts.count; ++part) {
    const Range range = order.parts(part);
    T sum{};
    for (std::int64_t i = range.begin * slice; i < range.end * slice; ++i) {
      const auto& [x, y, counts] = factors[at(i)];
      if (counts) sum = multiply_add(x, y, sum);
    }
    result.push_back(sum);
  }
  return result;
}

/// The parts; several are added in order, starting at +0.
template <typename T>
T chain(const std::vector<Factors<T>>& factors, const Shape& contracted, const PartRule& rule) {
  const std::vector<T> parts = chains(factors, contracted, rule);
  if (parts.size() == 1) return parts[0];
  T total{};
  for (T part : parts) total = add(total, part);
  return total;
}

/// The sum of the products, ordered as the sum over a product tensor in which the contracted axes
/// are `innermost` or in front of the one that is.
template <typename T>
T sum_of_products(const std::vector<Factors<T>>& factors, Shape contracted, bool innermost) {
  std::vector<T> products;
  for (const auto& [x, y, counts] : factors) products.push_back(counts ? multiply(x, y) : T{});
  if (contracted.empty()) return products[0];
  // One result element is its own slice of the product tensor.
  Integers axes;
  for (std::size_t i = 0; i < contracted.size(); ++i) {
    axes.push_back(static_cast<std::int64_t>(i));
  }
  if (!innermost) contracted.push_back(1);
  return sums(std::span<const T>(products), contracted, axes)[0];
}

}  // namespace

Tensor interpret_dot(const Node& node, const Tensor& lhs, const Tensor& rhs) {
  const bool parts = std::get<ContractionComputation>(node.op->compute).parts;
  const DotShape dot(node, lhs, rhs, parts);
  const PartRule rule = part_rule(node.attributes);
  const std::optional<HalfPlane> counted = half_plane(node.attributes);
  Tensor result(node.types[0]);
  const std::int64_t elements = element_count(dot.result);
  dispatch(lhs.type.element, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>) {
      std::int64_t element = 0;
      for_each_index(dot.result, [&](const Index& index) {
        const auto terms = factors<T>(dot, lhs, rhs, index, counted);
        if (parts) {
          std::int64_t part = 0;
          for (T sum : chains(terms, dot.contracted, rule)) {
            result.as<T>()[at(element + elements * part++)] = sum;
          }
        } else {
          result.as<T>()[at(element)] = dot.outputs_per_batch < kSmallContraction
                                            ? sum_of_products(terms, dot.contracted, true)
                                            : chain(terms, dot.contracted, rule);
        }
        ++element;
      });
    }
  });
  return result;
}

namespace {

/// One spatial axis at one output: the taps that count and their places, which may be outside.
struct Taps {
  std::vector<std::int64_t> taps;
  std::vector<std::int64_t> places;
  std::int64_t alike = 0;  // outputs for which the same taps count

  Taps(const SpatialAxis& axis, std::int64_t count, std::int64_t outputs, std::int64_t output) {
    for (std::int64_t tap = 0; tap < count; ++tap) {
      const std::int64_t place = output * axis.stride + tap * axis.window_dilation - axis.low;
      if (place % axis.base_dilation != 0) continue;
      taps.push_back(tap);
      places.push_back(place / axis.base_dilation);
    }
    for (std::int64_t other = 0; other < outputs; ++other) {
      alike += (other - output) * axis.stride % axis.base_dilation == 0 ? 1 : 0;
    }
  }
};

/// A convolution at one output element.
template <typename T>
class ConvolutionAt {
 public:
  ConvolutionAt(const ConvolutionAxes& axes, const Tensor& lhs, const Tensor& rhs,
                const Shape& result, const Index& index)
      : lhs_(lhs), rhs_(rhs), lhs_index_(lhs.type.shape.size()), rhs_index_(rhs.type.shape.size()) {
    lhs_index_[at(axes.lhs_batch)] = index[0];
    rhs_index_[at(axes.rhs_out)] = index.back();
    outputs_ = result[0] * result.back();
    if (axes.grouped()) {
      lhs_index_[at(axes.lhs_group)] = index[index.size() - 2];
      rhs_index_[at(axes.rhs_group)] = index[index.size() - 2];
    }
    products_ = axes.grouped() && result.back() == 1;
    for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
      const SpatialAxis& axis = axes.spatial[i];
      taps_.emplace_back(axis, rhs.type.shape[at(axis.rhs)], result[i + 1], index[i + 1]);
      outputs_ *= taps_.back().alike;
    }
    for (std::int64_t axis : axes.contracted()) {
      std::int64_t number = -1;  // the spatial axis; -1: input features
      for (std::size_t i = 0; i < axes.spatial.size(); ++i) {
        if (axes.spatial[i].rhs == axis) number = static_cast<std::int64_t>(i);
      }
      if (number >= 0 && taps_[at(number)].taps.size() == 1) {  // no axis of its own
        set_place(axes.spatial[at(number)], taps_[at(number)], 0);
        continue;
      }
      order_.push_back(number);
      contracted_.push_back(number < 0 ? rhs.type.shape[at(axis)]
                                       : static_cast<std::int64_t>(taps_[at(number)].taps.size()));
    }
    collect(axes);
  }

  [[nodiscard]] T value() const {
    if (products_) return sum_of_products(factors_, contracted_, false);
    return outputs_ < kSmallContraction ? sum_of_products(factors_, contracted_, true)
                                        : chain(factors_, contracted_, {});
  }

 private:
  void set_place(const SpatialAxis& axis, const Taps& taps, std::size_t number) {
    lhs_index_[at(axis.lhs)] = taps.places[number];
    rhs_index_[at(axis.rhs)] = taps.taps[number];
  }

  void collect(const ConvolutionAxes& axes) {
    for_each_index(contracted_, [&](const Index& k) {
      for (std::size_t i = 0; i < order_.size(); ++i) {
        if (order_[i] < 0) {
          lhs_index_[at(axes.lhs_feature)] = k[i];
          rhs_index_[at(axes.rhs_in)] = k[i];
          continue;
        }
        set_place(axes.spatial[at(order_[i])], taps_[at(order_[i])], at(k[i]));
      }
      bool inside = true;
      for (std::size_t axis = 0; axis < lhs_index_.size(); ++axis) {
        inside = inside && lhs_index_[axis] >= 0 && lhs_index_[axis] < lhs_.type.shape[axis];
      }
      const T factor = inside ? lhs_.as<T>()[at(flat(lhs_.type.shape, lhs_index_))] : T{};
      factors_.push_back({factor, rhs_.as<T>()[at(flat(rhs_.type.shape, rhs_index_))]});
    });
  }

  const Tensor& lhs_;
  const Tensor& rhs_;
  Index lhs_index_;
  Index rhs_index_;
  std::vector<Taps> taps_;
  std::vector<std::int64_t> order_;  // which spatial axis each contracted axis is
  Shape contracted_;
  std::vector<Factors<T>> factors_;
  std::int64_t outputs_ = 1;  // of the contraction that the element belongs to
  bool products_ = false;
};

template <typename T>
void convolve(const ConvolutionAxes& axes, const Tensor& lhs, const Tensor& rhs, Tensor& result) {
  std::size_t element = 0;
  for_each_index(result.type.shape, [&](const Index& index) {
    result.as<T>()[element++] = ConvolutionAt<T>(axes, lhs, rhs, result.type.shape, index).value();
  });
}

Tensor interpret_winograd(const ConvolutionAxes& axes, const Tensor& lhs, const Tensor& rhs) {
  Graph graph("winograd");
  const Expr x{&graph, graph.add_input("lhs", InputKind::batch, lhs.type)};
  const Expr w{&graph, graph.add_input("rhs", InputKind::batch, rhs.type)};
  graph.add_result("y", winograd(x, w, axes).value);
  return interpret(graph, {{"lhs", lhs}, {"rhs", rhs}}).outputs.at("y");
}

}  // namespace

Tensor interpret_conv(const Node& node, const Tensor& lhs, const Tensor& rhs) {
  const ConvolutionAxes axes = convolution_axes(node.attributes);
  if (axes.algorithm != ConvolutionAlgorithm::direct) return interpret_winograd(axes, lhs, rhs);
  Tensor result(node.types[0]);
  if (lhs.type.element == ElementType::f32) {
    convolve<float>(axes, lhs, rhs, result);
  } else {
    convolve<double>(axes, lhs, rhs, result);
  }
  return result;
}

}  // namespace gradus::ir
