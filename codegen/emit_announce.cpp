#include "codegen/emit_announce.h"

#include <mutex>

#include "base/check.h"

namespace gradus::codegen {
namespace {

/// Listeners are told of one object at a time: in perf's file the lines of a function stand right
/// before its code.
std::mutex& turn() {
  static std::mutex mutex;
  return mutex;
}

llvm::JITEventListener::ObjectKey key_of(const Announcement* announcement) {
  return reinterpret_cast<llvm::JITEventListener::ObjectKey>(announcement);
}

}  // namespace

Announcement::Announcement(const llvm::object::ObjectFile& object,
                           const llvm::RuntimeDyld::LoadedObjectInfo& loaded,
                           const DebugOptions& options) {
  const std::lock_guard lock(turn());
  if (options.gdb) {
    listeners_.push_back(llvm::JITEventListener::createGDBRegistrationListener());
  }
  if (options.perf) {
    listeners_.push_back(llvm::JITEventListener::createPerfJITEventListener());
    GRADUS_CHECK(listeners_.back() != nullptr, "this LLVM was built without support for perf");
  }
  for (llvm::JITEventListener* listener : listeners_) {
    listener->notifyObjectLoaded(key_of(this), object, loaded);
  }
}

Announcement::~Announcement() {
  const std::lock_guard lock(turn());
  for (llvm::JITEventListener* listener : listeners_) listener->notifyFreeingObject(key_of(this));
}

}  // namespace gradus::codegen
