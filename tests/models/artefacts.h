#pragma once

// C programs around models compiled ahead of time, on this machine and on emulated ones.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "codegen/artefact_header.h"
#include "runtime/memory.h"

namespace gradus {

/// A machine to run C programs on.
struct Machine {
  std::string compiler;  // of C, with its options
  std::string emulator;  // runs what it makes; empty: none
};
inline const Machine kThisMachine{"cc", ""};
inline const Machine kAarch64{"aarch64-linux-gnu-gcc -static", "qemu-aarch64"};

/// The first of the machine's programs that is not installed; empty when all are.
std::string missing_program(const Machine& machine);

/// What a call gave.
struct CallResult {
  std::int32_t status = 0;
  std::vector<Tensor> outputs;  // in the order of the function's
  runtime::AlignedBytes state;  // after the call
};

/// Calls every function of the artefact once, in order and on one state of zeros, with 3 threads,
/// in a C program made in `folder`. The model's name is `m`; `inputs` holds the inputs of each
/// function, of which every other one is not aligned.
std::vector<CallResult> call_all(const std::filesystem::path& folder, const Machine& machine,
                                 const codegen::ArtefactModel& model,
                                 const codegen::Artefact& artefact,
                                 const std::vector<std::vector<Tensor>>& inputs);

}  // namespace gradus
