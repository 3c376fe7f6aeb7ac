#pragma once

// The text form of graphs, one node per line:
//
//   graph "train_step"
//   %0 = batch "image" : f32[128,784] @ "mlp.json":5:3 "input" forward
//   %1 = state "hidden/kernel" : f32[784,512]
//   %2 = dot %0, %1 {lhs_contract = [1], rhs_contract = [0]} : f32[128,512]
//   %3 = constant {value = f32[2] [1, -2.5e-07]} : f32[2]
//   %7 = scan %4, %5 {body = graph "cell" {
//     %0 = state "h" : f32[4]
//     %1 = batch "x" : f32[4]
//     %2 = add %0, %1
//     "h" <- %2
//   }, length = 5} : f32[4]
//   "loss" = %9
//   "hidden/kernel" <- %12
//
// Numbers are ids; `%7/1` is result number 1 of a node with several, whose types stand in a row.
// Attributes equal to their default are left out. Floats are the shortest decimals that read back;
// inf and nan, and nan(2143289345) for the bits of one that is not the canonical NaN. After `@`
// stands the provenance: file, line, column (and +length of what is underlined, when that is not
// 1), `used` and where the blocks are used that it stands in (as "40:7, 18:9": the file only where
// it is another), the layer, the role; several are separated by commas. A string is in double
// quotes, with \", \\ and \n. `#` starts a comment.

#include <string>
#include <string_view>

#include "ir/graph.h"

namespace gradus::ir {

struct OpRecord;

/// The inputs and the live nodes of `graph`. Parsed, it is the same graph: the same hash, the same
/// provenance; and the same text, if no node is dead.
[[nodiscard]] std::string to_text(const Graph& graph);

/// An attribute as it stands in the text.
[[nodiscard]] std::string to_text(const Attribute& attribute);

/// Reads the text form. Any unused number may name a node; what is defined must come before its
/// use; the type of a node that is no input may be left out. `file` is the name that errors give.
/// Throws UserError E0301 (malformed) or E0302 (breaks a law of ir/graph.h) with the place.
[[nodiscard]] Graph parse_graph(std::string_view text, const std::string& file = "");

/// The attributes of `op` from what stands between the braces. Throws UserError E0301.
[[nodiscard]] Attributes parse_attributes(const OpRecord& op, std::string_view text);

}  // namespace gradus::ir
