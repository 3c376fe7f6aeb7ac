#include "ir/half_plane.h"

#include <array>
#include <utility>

#include "ir/graph.h"

namespace gradus::ir {
namespace {

/// No position is as far, and sums with one do not wrap.
constexpr std::int64_t kGreatestOffset = std::int64_t{1} << 48;

}  // namespace

bool HalfPlane::admits(std::int64_t row, std::int64_t column, std::int64_t contracted) const {
  const std::array<std::int64_t, 3> index{row, column, contracted};
  return index[static_cast<std::size_t>(low)] <= index[static_cast<std::size_t>(high)] + offset;
}

HalfPlane HalfPlane::renamed(MatrixAxis row, MatrixAxis column, MatrixAxis contracted) const {
  const std::array<MatrixAxis, 3> name{row, column, contracted};
  return {name[static_cast<std::size_t>(low)], name[static_cast<std::size_t>(high)], offset};
}

HalfPlane HalfPlane::exchanged() const {
  return renamed(MatrixAxis::column, MatrixAxis::row, MatrixAxis::contracted);
}

std::optional<HalfPlane> half_plane(const Attributes& attributes) {
  const auto& numbers = attributes.get<Integers>("half_plane");
  if (numbers.empty()) return std::nullopt;
  const auto is_axis = [](std::int64_t number) { return number >= 0 && number <= 2; };
  if (numbers.size() != 3 || !is_axis(numbers[0]) || !is_axis(numbers[1]) ||
      numbers[0] == numbers[1] || numbers[2] > kGreatestOffset || numbers[2] < -kGreatestOffset) {
    throw TypeError("half_plane names two of the axes 0, 1 and 2 and an offset, found " +
                    to_string(numbers));
  }
  return HalfPlane{static_cast<MatrixAxis>(numbers[0]), static_cast<MatrixAxis>(numbers[1]),
                   numbers[2]};
}

Integers to_attribute(const std::optional<HalfPlane>& half_plane) {
  if (!half_plane) return {};
  return {static_cast<std::int64_t>(half_plane->low), static_cast<std::int64_t>(half_plane->high),
          half_plane->offset};
}

Expr dot(Expr lhs, Expr rhs, DotAxes axes, const PartRule& rule,
         const std::optional<HalfPlane>& half_plane) {
  return apply("dot", {lhs, rhs},
               {{"lhs_batch", std::move(axes.lhs_batch)},
                {"rhs_batch", std::move(axes.rhs_batch)},
                {"lhs_contract", std::move(axes.lhs_contract)},
                {"rhs_contract", std::move(axes.rhs_contract)},
                {"half_plane", to_attribute(half_plane)},
                {"part_unit", rule.unit},
                {"part_chain", rule.chain}});
}

}  // namespace gradus::ir
