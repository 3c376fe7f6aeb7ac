#pragma once

// Blocks of layers: defined once, used by name with their own numbers, repeated.

#include <string>
#include <vector>

#include "frontend/json.h"
#include "frontend/reader.h"

namespace gradus::frontend {

/// A layer as it stands in the file after blocks and expressions are gone. Inside a block names are
/// those of the instance, "stage1/2/conv", and inputs are written out.
struct ExpandedLayer {
  Json json;
  std::string name;    // its own, or by kind: dense, dense_1, ...
  bool named = false;  // in the file
  BlockUses uses;
};

/// Replaces {"block": name, parameter: value, ..., "repeat": n} by the block's layers and every
/// "=..." by its value. `blocks` is the object of definitions or null:
/// {"residual": {"parameters": {"filters": 64}, "layers": [...]}}. In a block "input" names what
/// the instance reads, which its first layer reads unless it says otherwise; its last layer is its
/// result, and the instance's name stands for it. `first_input` is what the first layer reads; none
/// when it has to say. Reports E0210 (a block that is unknown, empty or
/// inside itself, or repeated out of range) and E0211 (an expression), and what ObjectReader
/// reports.
[[nodiscard]] std::vector<ExpandedLayer> expand_blocks(const Json::Array& layers,
                                                       const Json* blocks,
                                                       const std::string& first_input,
                                                       Findings& findings);

}  // namespace gradus::frontend
