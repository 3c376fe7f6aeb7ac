#pragma once

// Emits what fetch.h decides. Private to the emitter.

#include <vector>

#include "codegen/emit_memory.h"
#include "codegen/fetch.h"

namespace gradus::codegen {

/// `fetches` at the current point of a loop.
class FetchEmitter {
 public:
  /// A point is a single one, or with `rows` > 1 so many along `row_axis`.
  FetchEmitter(EmitContext& context, const std::vector<Fetch>& fetches, VectorAxis vector,
               AxisId row_axis = -1, int rows = 1);
  /// Emits the addresses that depend only on axes of `known`.
  void advance(AxisSet known);
  void fetch();

 private:
  struct Line {
    Reference here;
    std::int64_t bytes = 0;  // from here
    Purpose purpose = Purpose::read;
  };
  std::vector<Line> lines_;
};

}  // namespace gradus::codegen
