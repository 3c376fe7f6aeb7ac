#pragma once

// The op record: everything that Gradus knows about one op. Text form, verification, reference
// value, gradient, kernels, documentation and tests all follow from it; there is no other list of
// ops, and nothing switches over op names.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/attributes.h"
#include "ir/expr.h"
#include "ir/graph.h"
#include "ir/index_map.h"
#include "ir/scalar_program.h"

namespace gradus::ir {

struct AttributeSpec {
  std::string_view name;
  AttributeKind kind;
  std::string_view doc;
  std::optional<Attribute> default_value = std::nullopt;  // empty: required
};

/// What type inference sees.
struct InferContext {
  std::span<const TensorType> operands;
  const Attributes& attributes;
};

/// What a gradient function sees: node y = op(x...), the cotangent dy of y, all in one graph.
struct VjpContext {
  std::vector<Expr> x;
  Expr y;   // of an op with several results the first
  Expr dy;  // of an op with one result
  const Attributes& attributes;
  std::span<const std::optional<Expr>> dys = {};  // by result; empty where none flows
};
/// Cotangents by operand; empty where none flows.
using Cotangents = std::vector<std::optional<Expr>>;

// --- The kinds of computation. A new kind is a compile error wherever it matters. ---

/// Comes from outside: state, batch or scalar.
struct InputComputation {};
/// The bits in attribute "value".
struct ConstantComputation {};

/// Every result element depends on the operand elements at the same index (an operand of rank 0
/// is used for every element) and on the index itself.
struct ElementwiseComputation {
  Scalar (*record)(ScalarBuilder& b, std::span<const Scalar> x, const Attributes& attributes);
};

/// Every result element is the element of the *first* operand whose index map is inside it.
/// The last operand's map is inside everywhere.
struct MovementComputation {
  std::vector<IndexMap> (*maps)(std::span<const TensorType> operands, const TensorType& result,
                                const Attributes& attributes);
};

/// The operand's elements in the same row-major order under another shape.
struct ViewComputation {};

/// Every result element is the element of the first operand at the position along attribute `axis`
/// that the second operand gives (ir/indexing.h).
struct GatherComputation {};

/// The reverse: every element of the first operand is added to that element of the result, which
/// starts at +0, in the order of the indices.
struct ScatterComputation {};

/// Adds along attribute `axis` in order, one chain from +0 per line: the sums so far.
struct CumulativeComputation {};

/// The positions along attribute `axis` in the order of their elements. Kernels know it as counts
/// of the elements that come before each (passes/lower_indexing.h).
struct SortComputation {};

/// Every tile of the operand - its elements along attribute "axes", all other indices alike -
/// becomes a tile of the result, whose extents along these axes are the op's. Both tiles are
/// row-major over the axes.
struct TileComputation {
  std::vector<Scalar> (*record)(ScalarBuilder& b, std::span<const Scalar> tile,
                                const Shape& extents, const Attributes& attributes);
};

/// Attribute "axes" names the operand axes that disappear.
enum class ReductionKind : std::uint8_t { sum, max, min, arg_max, arg_min, any, all };
struct ReductionComputation {
  ReductionKind kind;
};
/// The block sums of `sum` (order.h): result axis 0 counts the blocks, then the kept axes.
struct BlockSumComputation {};
/// Adds along axis 0 in order, one chain per result element, starting at +0.
struct CombineComputation {};

/// Sum of products over contracted axes; attributes lhs_batch, rhs_batch, lhs_contract,
/// rhs_contract; the result has the batch axes, then lhs's free axes, then rhs's. With `parts`,
/// result axis 0 counts the parts of ir/order.h, which are not added.
struct ContractionComputation {
  bool parts = false;
};

/// As the attributes of `conv` say (ir/convolution.h). Kernels know it as contractions over windows
/// (passes/lower_convolutions.h).
struct ConvolutionComputation {};

/// Runs attribute "body" attribute "length" times (ir/scan.h). The only one with several results.
struct ScanComputation {};
/// A result of a loop as a value of its own, which passes and kernels know by its node.
struct ResultComputation {};

using Computation =
    std::variant<InputComputation, ConstantComputation, ElementwiseComputation, MovementComputation,
                 ViewComputation, TileComputation, ReductionComputation, BlockSumComputation,
                 CombineComputation, ContractionComputation, ConvolutionComputation,
                 GatherComputation, ScatterComputation, CumulativeComputation, SortComputation,
                 ScanComputation, ResultComputation>;

/// What hoisting an op out of a loop sees (ir/hoist.h): the operands, of which some are stacks of
/// those of all iterations along a new axis 0, and the op's result in one iteration.
struct StackContext {
  std::span<const Expr> x;
  std::span<const bool> stacked;
  const TensorType& result;
  const Attributes& attributes;
};

/// An instance of an op: operand types and attributes in text form, such as
/// {{"f32[2,3]", "f32[]"}, "low = [1,0], high = [0,2], interior = [0,0]"}. Documentation shows it,
/// every test by enumeration runs it.
struct OpExample {
  std::vector<std::string_view> operands;
  std::string_view attributes = "";
  double low = -2;  // operands are drawn from [low, high)
  double high = 2;
};

struct OpRecord {
  std::string_view name;
  std::string_view doc;  // with conventions at kinks and why it is a primitive
  int least_operands = 1;
  int most_operands = 1;
  std::vector<AttributeSpec> attributes = {};
  /// Result types from operand types and attributes; throws TypeError.
  std::vector<TensorType> (*infer)(const InferContext& context) = nullptr;
  /// Builds the cotangents of the operands; null where the op has no gradient.
  Cotangents (*vjp)(const VjpContext& context) = nullptr;
  Computation compute = InputComputation{};
  /// Second derivatives exist and are continuous on the examples' ranges.
  bool smooth = false;
  /// The results of all iterations as one stack; null: the op stays in its loop.
  Expr (*stack)(const StackContext& context) = nullptr;
  /// The sum of the results of all iterations as one op over stacks; null: there is none. Called
  /// where all operands are stacks.
  Expr (*stack_sum)(const StackContext& context) = nullptr;
  /// Linear in all operands together, so that sums over iterations go through it.
  bool additive = false;
  std::vector<OpExample> examples = {};
};

/// Every op, in the order of the reference page.
[[nodiscard]] std::span<const OpRecord> op_records();
/// The record of `name`; null when there is none.
[[nodiscard]] const OpRecord* find_op(std::string_view name);
/// The record of `name`; throws InternalError when there is none.
[[nodiscard]] const OpRecord& op(std::string_view name);

/// The scalar program of an elementwise node.
[[nodiscard]] ScalarProgram record_elementwise(const ElementwiseComputation& compute,
                                               std::span<const TensorType> operands,
                                               const TensorType& result,
                                               const Attributes& attributes);

/// The scalar program of one tile: an operand per element of the operand's tile, a result per
/// element of the result's.
[[nodiscard]] ScalarProgram record_tile(const TileComputation& compute, const TensorType& operand,
                                        const Attributes& attributes);

}  // namespace gradus::ir
