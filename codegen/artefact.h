#pragma once

// A model compiled ahead of time: one object file or library with its C header, which needs only
// libc, libm and pthread and gives the bits of every other executor.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "codegen/compile.h"
#include "codegen/jit.h"
#include "codegen/tune.h"
#include "ir/graph.h"
#include "runtime/executable.h"

namespace gradus::codegen {

/// A program of the model for one size of batch. Those of one function have the same inputs and
/// outputs but for the leading extents of `examples`.
struct ArtefactProgram {
  std::string function;       // "step": the header declares NAME_step
  std::string summary;        // what it does, for the header
  std::int64_t examples = 0;  // of a batch; 0: it reads no batch
  ir::Graph graph;
  std::vector<std::string> finite;  // float scalar outputs without which a call has failed
};

struct ArtefactModel {
  std::string name;   // a C identifier, the beginning of every name
  std::string title;  // for people
  runtime::StateLayout layout;
  std::vector<ArtefactProgram> programs;
  bool shuffles = false;  // also gives the order in which `gradus train` visits examples
};

struct ArtefactOptions {
  /// Of one processor family; native is the greatest set of this machine. At start the greatest
  /// that the processor has is chosen.
  std::vector<InstructionSet> sets;
  bool fuse = true;
  CodeForm form = CodeForm::object;
  DebugOptions debug = {};  // `lines` alone counts
  Tuner* tuner = nullptr;   // chooses how contractions run; null: the model does
  /// Plans a program for one of the sets.
  std::function<Plan(const ArtefactProgram&, const CompileOptions&)> plan =
      [](const ArtefactProgram& program, const CompileOptions& options) {
        return plan_program(program.graph, options);
      };
};

struct Artefact {
  std::string code;                  // text, or the bytes of an object file
  std::string header;                // C11 and C++11
  std::vector<std::string> kernels;  // symbols, of all instruction sets
};

/// Compiles the model. Throws InternalError where a stage breaks its law.
[[nodiscard]] Artefact make_artefact(const ArtefactModel& model, const ArtefactOptions& options);

/// Whether code for both can be in one object file.
[[nodiscard]] bool same_family(InstructionSet a, InstructionSet b);

/// The bytes of a static library with one object file of the name `member`.
[[nodiscard]] std::string make_archive(const std::string& member, const std::string& object);

}  // namespace gradus::codegen
