// Four questions, in this order: is the kernel well formed; does each stage alone keep its laws
// (verify_stage.cpp); is scratch written before it is read; do tasks and tiles keep apart.

#include "codegen/verify_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/check.h"
#include "codegen/kernel_index.h"
#include "codegen/text_kernel.h"
#include "codegen/verify_stage.h"

namespace gradus::codegen {
namespace {

constexpr std::int64_t kGreatestTasks = std::int64_t{1} << 24;
constexpr std::size_t kGreatestAxes = 64;
constexpr std::int64_t kGreatestHulls = 4096;  // more ranges than this are not compared

bool is_name(const std::string& text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  if (text.empty()) return false;
  if (text.front() == '"') {
    return text.size() > 1 && text.find('"', 1) == text.size() - 1 &&
           text.find_first_of("\\\n") == std::string::npos;
  }
  return letter(text.front()) && std::all_of(text.begin(), text.end(), [&](char c) {
           return letter(c) || (c >= '0' && c <= '9') || c == '.';
         });
}

template <typename Items>
void check_names(const Items& items, std::string_view what, std::string_view several) {
  std::set<std::string> names;
  for (const auto& item : items) {
    if (!is_name(item.name)) broken(fmt::format("'{}' is no {} name", item.name, what));
    if (!names.insert(item.name).second) broken(fmt::format("two {} named {}", several, item.name));
  }
}

// --- The kernel as a whole ----------------------------------------------------------------------

void check_axes(const Kernel& kernel) {
  if (kernel.axes.size() > kGreatestAxes) broken("more than 64 axes");
  check_names(kernel.axes, "axis", "axes");
  for (const Axis& axis : kernel.axes) {
    if (axis.extent < 0 || axis.extent > kGreatestExtent) {
      broken(fmt::format("axis {} has extent {}", axis.name, axis.extent));
    }
    if (axis.block_of < 0) continue;
    const TaskAxis* task = find_task(kernel, axis.block_of);
    if (task == nullptr) broken(fmt::format("block axis {} belongs to no task axis", axis.name));
    if (task->cut.count != axis.extent) {
      broken(fmt::format("block axis {} has extent {}, its task axis {} ranges", axis.name,
                         axis.extent, task->cut.count));
    }
  }
}

void check_levels(const Kernel& kernel) {
  std::set<AxisId> seen;
  std::int64_t tasks = 1;
  for (const TaskAxis& task : kernel.tasks) {
    check_ordinary_axis(kernel, task.axis, "task axis");
    const Axis& axis = axis_of(kernel, task.axis);
    if (!seen.insert(task.axis).second) broken(fmt::format("task axis {} stands twice", axis.name));
    check_cut(task.cut, axis);
    tasks *= task.cut.count;
    if (tasks > kGreatestTasks) broken("too many tasks");
  }
  if (!kernel.tile) return;
  check_ordinary_axis(kernel, kernel.tile->axis, "tile axis");
  if (kernel.tile->size < 1) broken(fmt::format("tiles of {} positions", kernel.tile->size));
}

/// Greatest length of the current range of a task or tile axis.
std::int64_t greatest_range(const Kernel& kernel, AxisId axis) {
  std::vector<std::int64_t> lengths;
  if (const TaskAxis* task = find_task(kernel, axis)) {
    for (std::int64_t part = 0; part < task->cut.count; ++part) {
      lengths.push_back(task->cut(part).size());
    }
  } else {
    lengths.push_back(axis_of(kernel, axis).extent);
  }
  std::int64_t greatest = 0;
  for (std::int64_t length : lengths) {
    if (is_tile_axis(kernel, axis) && length > 0) {
      const std::int64_t tiles = (length - 1) / kernel.tile->size + 1;
      length = (length - 1) / tiles + 1;
    }
    greatest = std::max(greatest, length);
  }
  return greatest;
}

void check_local(const Kernel& kernel, const Buffer& buffer) {
  if (buffer.local.empty()) return;
  if (buffer.role != BufferRole::scratch) {
    broken(fmt::format("buffer {} is no scratch and has local dimensions", buffer.name));
  }
  if (buffer.local.size() != buffer.type.shape.size()) {
    broken(fmt::format("buffer {} says of {} dimensions whether they are local and has {}",
                       buffer.name, buffer.local.size(), buffer.type.shape.size()));
  }
  for (std::size_t d = 0; d < buffer.local.size(); ++d) {
    const AxisId axis = buffer.local[d];
    if (axis == -1) continue;
    check_ordinary_axis(kernel, axis, "axis of a local dimension");
    if (!is_cut(kernel, axis)) {
      broken(fmt::format("buffer {} is local at {}, which is neither task nor tile axis",
                         buffer.name, axis_of(kernel, axis).name));
    }
    if (const std::int64_t needed = greatest_range(kernel, axis); buffer.type.shape[d] < needed) {
      broken(fmt::format("buffer {} holds {} positions of {}, whose ranges have up to {}",
                         buffer.name, buffer.type.shape[d], axis_of(kernel, axis).name, needed));
    }
  }
}

void check_buffers(const Kernel& kernel) {
  check_names(kernel.buffers, "buffer", "buffers");
  bool scratch = false;
  for (const Buffer& buffer : kernel.buffers) {
    scratch |= buffer.role == BufferRole::scratch;
    if (scratch && buffer.role != BufferRole::scratch) {
      broken(fmt::format("parameter {} comes after scratch", buffer.name));
    }
    for (std::int64_t extent : buffer.type.shape) {
      if (extent < 0) broken(fmt::format("buffer {} has a negative extent", buffer.name));
    }
    check_local(kernel, buffer);
  }
}

// --- Scratch ------------------------------------------------------------------------------------

bool single_use(const Access& access, std::size_t dimension, AxisId axis) {
  for (std::size_t d = 0; d < access.index.size(); ++d) {
    if (d == dimension) continue;
    for (const Term& term : access.index[d].terms) {
      if (term.axis == axis) return false;
    }
  }
  return true;
}

/// Whether `write`, made for every point of its stage, leaves nothing unwritten that `read` reads.
bool covers(const Kernel& kernel, const Access& write, const StageRead& read,
            std::span<const IndexBounds> axes) {
  if (write.index == read.access.index) return true;
  for (std::size_t d = 0; d < write.index.size(); ++d) {
    const Affine& w = write.index[d];
    for (const Term& term : w.terms) {
      if (!single_use(write, d, term.axis)) return false;
    }
    if (w == read.access.index[d]) continue;
    const bool dense =
        w.divisor == 1 &&
        (w.terms.empty() ||
         (w.terms.size() == 1 && std::abs(w.terms[0].coefficient) == 1 &&
          !is_cut(kernel, w.terms[0].axis) && axis_of(kernel, w.terms[0].axis).block_of < 0));
    if (!dense || !bounds_of(w, axes).contains(read.bounds[d])) return false;
  }
  return true;
}

/// Whether the writes of one stage cover what `read` reads: one write does, or, in a dimension that
/// a write has a constant index in, writes do for each position.
bool cover(const Kernel& kernel, const std::vector<const Access*>& writes, const StageRead& read,
           const std::vector<IndexBounds>& axes, std::size_t dimension = 0) {
  const auto covers_read = [&](const Access* write) { return covers(kernel, *write, read, axes); };
  if (std::ranges::any_of(writes, covers_read)) return true;
  for (std::size_t d = dimension; d < read.bounds.size(); ++d) {
    const bool constant = std::ranges::any_of(
        writes, [&](const Access* write) { return write->index[d].terms.empty(); });
    if (!constant) continue;
    if (read.bounds[d].greatest - read.bounds[d].least >= std::ssize(writes)) return false;
    for (std::int64_t at = read.bounds[d].least; at <= read.bounds[d].greatest; ++at) {
      StageRead part = read;
      part.bounds[d] = {at, at};
      if (!cover(kernel, writes, part, axes, d + 1)) return false;
    }
    return true;
  }
  return false;
}

void check_scratch(const Kernel& kernel, const std::vector<StageAccesses>& stages) {
  const std::vector<IndexBounds> axes = whole_axes(kernel.axes);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const StageRead& read : stages[s].reads) {
      if (buffer_of(kernel, read.access).role != BufferRole::scratch || read.never()) continue;
      bool written = false;
      for (std::size_t before = 0; before < s && !written; ++before) {
        std::vector<const Access*> writes;
        for (const StageWrite& write : stages[before].writes) {
          if (write.access.buffer == read.access.buffer && !write.at_end_of_task) {
            writes.push_back(&write.access);
          }
        }
        written = cover(kernel, writes, read, axes);
      }
      if (!written) {
        broken(fmt::format("reads scratch {} before an earlier stage has written it",
                           spell(kernel, read.access)),
               static_cast<int>(s));
      }
    }
  }
}

// --- Tasks and tiles ----------------------------------------------------------------------------

/// All accesses of a kernel to one parameter.
struct Uses {
  std::vector<const StageWrite*> writes;
  std::vector<const StageRead*> reads;
  int stage = -1;  // the first that writes
};

Uses uses_of(const std::vector<StageAccesses>& stages, BufferId buffer) {
  Uses uses;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const StageWrite& write : stages[s].writes) {
      if (write.access.buffer != buffer) continue;
      if (uses.stage < 0) uses.stage = static_cast<int>(s);
      uses.writes.push_back(&write);
    }
    for (const StageRead& read : stages[s].reads) {
      if (read.access.buffer == buffer) uses.reads.push_back(&read);
    }
  }
  return uses;
}

/// Whether any two points in different ranges of `axis` touch different elements: every access has
/// the same injective index, or in some dimension the hulls of the ranges keep apart.
bool keeps_apart(const Kernel& kernel, const Uses& uses, AxisId axis, const ir::Cut& cut) {
  const Access& first = uses.writes.front()->access;
  const auto same = [&](const auto* use) { return use->access == first; };
  if (std::all_of(uses.writes.begin(), uses.writes.end(), same) &&
      std::all_of(uses.reads.begin(), uses.reads.end(),
                  [&](const StageRead* use) { return same(use) && !use->panel; })) {
    const std::vector<bool> determined = determined_axes(first, kernel.axes);
    for (std::size_t a = 0; a < kernel.axes.size(); ++a) {
      const bool stands_for_it = static_cast<AxisId>(a) == axis || kernel.axes[a].block_of == axis;
      if (stands_for_it && determined[a] && kernel.axes[a].extent > 1) return true;
    }
  }
  if (cut.count > kGreatestHulls) return false;
  std::vector<std::vector<IndexBounds>> hulls;  // by range, by dimension
  for (std::int64_t part = 0; part < cut.count; ++part) {
    const ir::Range range = cut(part);
    if (range.size() == 0) continue;
    std::vector<IndexBounds> axes = whole_axes(kernel.axes);
    for (std::size_t a = 0; a < axes.size(); ++a) {
      if (static_cast<AxisId>(a) == axis) axes[a] = {range.begin, range.end - 1};
      if (kernel.axes[a].block_of == axis) axes[a] = {part, part};
    }
    std::vector<IndexBounds> hull(buffer_of(kernel, first).type.shape.size());
    const auto join = [&](const std::vector<IndexBounds>& bounds) {
      for (std::size_t d = 0; d < hull.size(); ++d) {
        if (d >= bounds.size()) {  // the inner dimensions of panels
          hull[d] = {0, kGreatestExtent};
        } else if (!bounds[d].empty()) {
          hull[d] = hull[d].empty() ? bounds[d]
                                    : IndexBounds{std::min(hull[d].least, bounds[d].least),
                                                  std::max(hull[d].greatest, bounds[d].greatest)};
        }
      }
    };
    for (const StageWrite* write : uses.writes) join(bounds_of(write->access, {}, axes));
    for (const StageRead* read : uses.reads) join(bounds_of(read->access, read->guards, axes));
    if (!hull.empty() && !hull.front().empty()) hulls.push_back(std::move(hull));
  }
  for (std::size_t d = 0; d < first.index.size(); ++d) {
    std::sort(hulls.begin(), hulls.end(),
              [&](const auto& a, const auto& b) { return a[d].least < b[d].least; });
    const auto meet = [&](const auto& a, const auto& b) { return !a[d].disjoint(b[d]); };
    if (std::adjacent_find(hulls.begin(), hulls.end(), meet) == hulls.end()) return true;
  }
  return false;
}

void check_races(const Kernel& kernel, const std::vector<StageAccesses>& stages) {
  for (std::size_t b = 0; b < kernel.buffers.size(); ++b) {
    const Buffer& buffer = kernel.buffers[b];
    const Uses uses = uses_of(stages, static_cast<BufferId>(b));
    if (buffer.role == BufferRole::scratch || uses.writes.empty()) continue;
    for (const TaskAxis& task : kernel.tasks) {
      if (task.cut.count > 1 && !keeps_apart(kernel, uses, task.axis, task.cut)) {
        broken(fmt::format("different tasks of axis {} meet in the elements of {}",
                           axis_of(kernel, task.axis).name, buffer.name),
               uses.stage);
      }
    }
    if (!kernel.tile || uses.reads.empty()) continue;
    const Axis& axis = axis_of(kernel, kernel.tile->axis);
    if (axis.extent > 1 &&
        !keeps_apart(kernel, uses, kernel.tile->axis, {axis.extent, axis.extent, 1})) {
      broken(fmt::format("different tiles of axis {} meet in the elements of {}", axis.name,
                         buffer.name),
             uses.stage);
    }
  }
}

std::string stage_name(const Kernel& kernel, int stage) {
  if (stage < 0) return "";
  const auto number = static_cast<std::size_t>(stage);
  const bool loop = std::holds_alternative<Loop>(kernel.stages[number]);
  return fmt::format(", stage {} ({})", stage, loop ? "loop" : "contract");
}

}  // namespace

std::optional<KernelViolation> find_violation(const Kernel& kernel) {
  int stage = -1;
  try {
    check_axes(kernel);
    check_levels(kernel);
    check_buffers(kernel);
    std::vector<StageAccesses> stages;
    for (const Stage& each : kernel.stages) {
      ++stage;
      stages.push_back(check_stage(kernel, each));
    }
    stage = -1;
    check_scratch(kernel, stages);
    check_races(kernel, stages);
  } catch (const BrokenLaw& law) {
    if (law.stage >= 0) stage = law.stage;
    return KernelViolation{stage, fmt::format("kernel \"{}\"{}: {}", kernel.name,
                                              stage_name(kernel, stage), law.what)};
  }
  return std::nullopt;
}

void verify(const Kernel& kernel) {
  if (const std::optional<KernelViolation> violation = find_violation(kernel)) {
    throw InternalError(violation->message);
  }
}

}  // namespace gradus::codegen
