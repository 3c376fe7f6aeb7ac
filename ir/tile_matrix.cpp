#include "ir/tile_matrix.h"

#include <utility>

#include "ir/graph.h"

namespace gradus::ir {

double TileMatrix::entry(std::int64_t row, std::int64_t column) const {
  const auto numerator = numerators[static_cast<std::size_t>(row * columns + column)];
  return static_cast<double>(numerator) / static_cast<double>(divisor);
}

TileMatrix TileMatrix::transposed() const {
  TileMatrix result{rows(), {}, divisor};
  for (std::int64_t column = 0; column < columns; ++column) {
    for (std::int64_t row = 0; row < rows(); ++row) {
      result.numerators.push_back(numerators[static_cast<std::size_t>(row * columns + column)]);
    }
  }
  return result;
}

TileMatrix tile_matrix(const Attributes& attributes, std::int64_t columns) {
  return {columns, attributes.get<Integers>("matrix"), attributes.get<std::int64_t>("divisor")};
}

Expr transform_tiles(Expr x, Integers axes, const TileMatrix& matrix, std::int64_t use) {
  return apply("transform_tiles", {x},
               {{"axes", std::move(axes)},
                {"matrix", matrix.numerators},
                {"divisor", matrix.divisor},
                {"use", use}});
}

}  // namespace gradus::ir
