#pragma once

// Linked code and those who look at it from outside. Private to codegen/*.cpp: it includes LLVM.

#include <llvm/ExecutionEngine/JITEventListener.h>
#include <llvm/ExecutionEngine/RuntimeDyld.h>
#include <llvm/Object/ObjectFile.h>

#include <vector>

#include "codegen/debug_options.h"

namespace gradus::codegen {

/// An object in memory of which gdb and perf know, as `options` say, until this is destroyed. Made
/// when the code is in its place: perf keeps a copy of it.
class Announcement {
 public:
  Announcement(const llvm::object::ObjectFile& object,
               const llvm::RuntimeDyld::LoadedObjectInfo& loaded, const DebugOptions& options);
  ~Announcement();
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;

 private:
  std::vector<llvm::JITEventListener*> listeners_;  // the process's
};

}  // namespace gradus::codegen
