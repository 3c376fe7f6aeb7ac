#include "codegen/fetch.h"

#include <algorithm>

#include "codegen/caches.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

// How far ahead, in points.
constexpr std::int64_t kReadAhead = 1024;
constexpr std::int64_t kWriteAhead = 512;
constexpr std::int64_t kAllWritesAhead = 2048;  // of all stores of a loop together: within L1
constexpr std::int64_t kRowsAhead = 8;          // in columns
/// Instructions from which a loop fetches what it reads.
constexpr std::size_t kLongBody = 40;
/// Bytes of a row that a processor sees coming by itself.
constexpr std::int64_t kLongRow = 4096;

bool moves_along(const Access& access, AxisId axis) {
  return std::ranges::any_of(access.index, [&](const Affine& index) {
    return std::ranges::any_of(index.terms, [&](const Term& term) { return term.axis == axis; });
  });
}

class Sharing {
 public:
  Sharing(const Kernel& kernel, std::span<const LoopCourse> loops)
      : kernel_(kernel), loops_(loops) {}

  std::map<const Loop*, std::vector<Fetch>> run() {
    // Writes first: fewer loops come before them.
    for (const LoopCourse& course : loops_) {
      for (const Store& store : course.loop->stores) write(course, store.target);
    }
    for (const LoopCourse& course : loops_) {
      for (const Load& load : course.loop->body.loads) read(course, load);
    }
    return std::move(fetches_);
  }

 private:
  /// Whether memory that is larger than a first cache has the role.
  [[nodiscard]] bool has_role(const Access& access, BufferRole role) const {
    return buffer(access).role == role && is_far(kernel_, access);
  }
  [[nodiscard]] const Buffer& buffer(const Access& access) const {
    return kernel_.buffers[static_cast<std::size_t>(access.buffer)];
  }
  [[nodiscard]] bool streams(const Access& access) const {
    return kernel_.tile && moves_along(access, kernel_.tile->axis);
  }

  void write(const LoopCourse& course, const Access& target) {
    if (!has_role(target, BufferRole::output) || target.pick) return;
    // In time: a loop that stores waits for what it has only just fetched.
    const LoopCourse* chosen = streams(target) ? idlest(course, /*before=*/true) : nullptr;
    if (chosen != nullptr) {
      add(*chosen, {target, Purpose::write, -1, 0});
    } else {
      const auto stores = static_cast<std::int64_t>(course.loop->stores.size());
      const std::int64_t along_rows =
          std::min(kWriteAhead, kAllWritesAhead / stores / ir::kLanes * ir::kLanes);
      add_ahead(course, target, Purpose::write, course.columns ? kRowsAhead : along_rows);
    }
  }

  void read(const LoopCourse& course, const Load& load) {
    if (!has_role(load.access, BufferRole::input) || !load.guards.empty() || load.access.pick) {
      return;
    }
    if (streams(load.access)) {
      if (std::ranges::find(known_, load.access) != known_.end()) return;
      known_.push_back(load.access);
      if (const LoopCourse* chosen = idlest(course, /*before=*/false)) {
        add(*chosen, {load.access, Purpose::read, kernel_.tile->axis, kernel_.tile->size});
      }
    } else if (!kernel_.tile && is_read_once(course, load.access) &&
               (course.work >= kLongBody || in_pieces(course, load.access))) {
      add_ahead(course, load.access, Purpose::read, course.columns ? kRowsAhead : kReadAhead);
    }
  }

  /// Whether the loop reads short rows that do not follow each other in memory.
  [[nodiscard]] bool in_pieces(const LoopCourse& course, const Access& access) const {
    const TensorType& type = buffer(access).type;
    if (course.columns) return true;
    if (course.axes.size() < 2 || course.row * byte_size(type.element) >= kLongRow) return false;
    const AxisId rows = course.axes[course.axes.size() - 2];
    const std::int64_t stride = element_stride(access.index, type.shape, rows);
    return stride != 0 && stride != course.row;
  }

  /// What a loop comes to so many points later: further on in its row or, where rows are short,
  /// some rows later.
  void add_ahead(const LoopCourse& course, const Access& access, Purpose purpose,
                 std::int64_t points) {
    const std::vector<AxisId>& axes = course.axes;
    if (axes.empty()) return;
    if (course.row >= 2 * points || axes.size() == 1) {
      add(course, {access, purpose, axes.back(), points});
    } else {
      const std::int64_t rows = (points + course.row - 1) / course.row;
      add(course, {access, purpose, axes[axes.size() - 2], rows});
    }
  }

  /// Whether no other load of the loop reads elements that `access` reads.
  [[nodiscard]] bool is_read_once(const LoopCourse& course, const Access& access) const {
    const std::vector<IndexBounds> axes = whole_axes(kernel_.axes);
    const auto apart = [&](const Access& other) {
      for (std::size_t d = 0; d < access.index.size(); ++d) {
        if (bounds_of(access.index[d], axes).disjoint(bounds_of(other.index[d], axes))) return true;
      }
      return false;
    };
    return std::ranges::all_of(course.loop->body.loads, [&](const Load& load) {
      return load.access.buffer != access.buffer || &load.access == &access || apart(load.access);
    });
  }

  /// Of the loops over the same points, only those before the given one if `before`, the one with
  /// the most instructions for one fetch more; null if there is none.
  const LoopCourse* idlest(const LoopCourse& course, bool before) {
    const LoopCourse* chosen = nullptr;
    for (const LoopCourse& other : loops_) {
      if (before && &other == &course) break;
      if (!other.columns && other.loop->axes == course.loop->axes &&
          (chosen == nullptr || instructions_per_fetch(other) > instructions_per_fetch(*chosen))) {
        chosen = &other;
      }
    }
    return chosen;
  }
  double instructions_per_fetch(const LoopCourse& course) {
    return static_cast<double>(course.work) / static_cast<double>(fetches_[course.loop].size() + 1);
  }

  void add(const LoopCourse& course, Fetch fetch) {
    fetches_[course.loop].push_back(std::move(fetch));
  }

  const Kernel& kernel_;
  std::span<const LoopCourse> loops_;
  std::vector<Access> known_;
  std::map<const Loop*, std::vector<Fetch>> fetches_;  // only looked up
};

}  // namespace

bool is_far(const Kernel& kernel, const Access& access) {
  const auto number = static_cast<std::size_t>(access.buffer);
  if (number >= kernel.buffers.size()) return false;
  const Buffer& buffer = kernel.buffers[number];
  return buffer.role != BufferRole::scratch && buffer.type.byte_size() > kFirstCache;
}

std::vector<Fetch> epilogue_fetches(const Kernel& kernel, const Contract& contract) {
  std::vector<Fetch> result;
  const auto add = [&](const Access& access, Purpose purpose) {
    const bool streams = is_far(kernel, access) && moves_along(access, contract.m()) &&
                         moves_along(access, contract.n);
    const bool known = std::ranges::find(result, access, &Fetch::access) != result.end();
    if (streams && !known && !access.pick) result.push_back({access, purpose});
  };
  for (const Store& store : contract.stores) add(store.target, Purpose::write);
  for (const Load& load : contract.epilogue.loads) {
    if (load.guards.empty()) add(load.access, Purpose::read);
  }
  return result;
}

std::map<const Loop*, std::vector<Fetch>> share_fetches(const Kernel& kernel,
                                                        std::span<const LoopCourse> loops) {
  return Sharing(kernel, loops).run();
}

}  // namespace gradus::codegen
