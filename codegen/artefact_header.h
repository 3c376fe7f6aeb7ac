#pragma once

// The C side of an artefact: its functions as C declares them.

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/artefact.h"

namespace gradus::codegen {

/// Names in C, none twice and none a word of C or C++.
class Identifiers {
 public:
  /// `name` with an underscore for every character that an identifier cannot have.
  [[nodiscard]] std::string add(std::string_view name);

 private:
  std::set<std::string> taken_;
};

/// A parameter of a function: an input or an output of its programs.
struct ArtefactArgument {
  std::string name;        // of the graph
  std::string identifier;  // in C
  TensorType type;         // for the function's first program
  bool by_value = false;   // an input that is a scalar
};

/// A function of the header: int32_t NAME_function(context, state, [examples,] inputs, outputs).
struct ArtefactFunction {
  std::string name;  // "step"
  std::string summary;
  std::vector<std::int64_t> batches;  // empty: it reads no batch
  bool updates_state = false;
  std::vector<ArtefactArgument> inputs;
  std::vector<ArtefactArgument> outputs;
};

/// The functions in the order of their first programs.
[[nodiscard]] std::vector<ArtefactFunction> artefact_functions(const ArtefactModel& model);

/// The header's text. `sets` are the instruction sets of the code, the greatest first.
[[nodiscard]] std::string artefact_header(const ArtefactModel& model,
                                          std::span<const ArtefactFunction> functions,
                                          std::span<const InstructionSet> sets);

}  // namespace gradus::codegen
