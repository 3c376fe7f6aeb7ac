#pragma once

// Kernels that differ in a few numbers as one function. Private to the emitter.

namespace llvm {
class Module;
}

namespace gradus::codegen {

/// Functions of the module that differ in nothing but integers that they xor or pass on, such as
/// the streams of random numbers, and tables that they pass on, become calls of one function, which
/// is given these. Its places in the model are those of the first.
void unite_alike(llvm::Module& module);

}  // namespace gradus::codegen
