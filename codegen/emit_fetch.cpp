#include "codegen/emit_fetch.h"

#include <algorithm>

#include "codegen/emit_program.h"

namespace gradus::codegen {
namespace {

/// Memory that tiles stream through, element by element along their axis.
struct Stream {
  Fetch fetch;
  const Loop* loop = nullptr;  // that reads or writes it
};

bool moves_along(const Access& access, AxisId axis) {
  return std::ranges::any_of(access.index, [&](const Affine& index) {
    return std::ranges::any_of(index.terms, [&](const Term& term) { return term.axis == axis; });
  });
}

class Streams {
 public:
  Streams(const Kernel& kernel, const std::function<bool(const Loop&)>& can_fetch)
      : kernel_(kernel) {
    for (const Stage& stage : kernel.stages) {
      const auto* loop = std::get_if<Loop>(&stage);
      if (loop == nullptr) continue;
      loops_.push_back(loop);
      if (can_fetch(*loop)) work_[loop] = flatten(loop->body.program, {}).code.size();
    }
  }

  std::map<const Loop*, std::vector<Fetch>> share() {
    // Writes first: fewer loops come before them.
    for (const Loop* loop : loops_) {
      for (const Store& store : loop->stores) {
        add({{store.target, Reference::Purpose::write, false}, loop});
      }
    }
    for (const Loop* loop : loops_) {
      for (const Load& load : loop->body.loads) {
        if (!load.guards.empty()) continue;
        add({{load.access, Reference::Purpose::read, true}, loop});
      }
    }
    return std::move(shares_);
  }

 private:
  void add(const Stream& stream) {
    const bool writes = stream.fetch.purpose == Reference::Purpose::write;
    const Access& access = stream.fetch.access;
    const BufferRole role = kernel_.buffers[static_cast<std::size_t>(access.buffer)].role;
    if (role != (writes ? BufferRole::output : BufferRole::input)) return;
    if (!moves_along(access, kernel_.tile->axis)) return;
    if (std::ranges::find(known_, access) != known_.end()) return;
    known_.push_back(access);
    const Loop* chosen = nullptr;
    for (const Loop* loop : loops_) {
      if (work_.contains(loop) && loop->axes == stream.loop->axes &&
          (chosen == nullptr || time(loop) > time(chosen))) {
        chosen = loop;
      }
      if (writes && loop == stream.loop) break;
    }
    // A loop looks ahead for its own stores anyway.
    if (chosen == nullptr) return;
    ++fetches_[chosen];
    if (!writes || chosen != stream.loop) shares_[chosen].push_back(stream.fetch);
  }

  /// Instructions per fetch if a loop gets one more.
  double time(const Loop* loop) {
    return static_cast<double>(work_.at(loop)) / static_cast<double>(fetches_[loop] + 1);
  }

  const Kernel& kernel_;
  std::vector<const Loop*> loops_;
  std::map<const Loop*, std::size_t> work_;   // instructions of a point; only looked up
  std::map<const Loop*, std::size_t> fetches_;
  std::vector<Access> known_;
  std::map<const Loop*, std::vector<Fetch>> shares_;
};

}  // namespace

std::map<const Loop*, std::vector<Fetch>> tile_fetches(
    const Kernel& kernel, const std::function<bool(const Loop&)>& can_fetch) {
  if (!kernel.tile) return {};
  return Streams(kernel, can_fetch).share();
}

FetchEmitter::FetchEmitter(EmitContext& context, const std::vector<Fetch>& fetches,
                           VectorAxis vector, AxisId row_axis, int rows) {
  for (const Fetch& fetch : fetches) {
    for (int row = 0; row < rows; ++row) {
      Access access = fetch.access;
      for (Affine& index : access.index) {
        for (const Term& term : index.terms) {
          if (rows > 1 && term.axis == row_axis) index.offset += row * term.coefficient;
        }
      }
      Reference here(context, access, vector);
      std::int64_t bytes = 0;
      if (fetch.next_tile) {
        const Tile& tile = *context.kernel.tile;
        bytes = tile.size * here.stride(tile.axis) * byte_size(here.element());
      }
      if (!here.uniform()) lines_.push_back({std::move(here), bytes, fetch.purpose});
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
