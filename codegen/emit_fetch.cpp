#include "codegen/emit_fetch.h"

namespace gradus::codegen {

FetchEmitter::FetchEmitter(EmitContext& context, const std::vector<Fetch>& fetches,
                           VectorAxis vector, AxisId row_axis, int rows) {
  for (const Fetch& fetch : fetches) {
    for (int row = 0; row < rows; ++row) {
      Access access = fetch.access;
      for (Affine& index : access.index) {
        for (const Term& term : index.terms) {
          if (term.axis == row_axis) index.offset += row * term.coefficient;
        }
      }
      if (row > 0 && access == fetch.access) break;
      Reference here(context, access, vector);
      if (!here.dense()) continue;
      std::int64_t bytes = 0;
      if (fetch.axis >= 0) {
        bytes = fetch.positions * here.stride(fetch.axis) * byte_size(here.element());
        if (bytes == 0) continue;
      }
      lines_.push_back({std::move(here), bytes, fetch.purpose});
    }
  }
}

void FetchEmitter::advance(AxisSet known) {
  for (Line& line : lines_) {
    if (!line.here.has_base() && (line.here.base_axes() & ~known) == 0) line.here.emit_base();
  }
}

void FetchEmitter::fetch() {
  for (Line& line : lines_) line.here.fetch(line.bytes, line.purpose);
}

}  // namespace gradus::codegen
