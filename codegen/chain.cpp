// A chain grows greedily from the first kernel that is in none. Those behind it are looked at in
// order: one joins if its units are apart from those of all members; one that touches nothing of
// theirs could run before the chain, and has to if a later one joins, unless that brings it in; any
// other waits until the chain is over, and so does whatever touches what a waiting kernel touches.

#include "codegen/chain.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "codegen/arena.h"
#include "codegen/kernel_index.h"
#include "codegen/kernel_scratch.h"

namespace gradus::codegen {
namespace {

/// A chain with fewer units would leave workers without work.
constexpr std::int64_t kLeastUnits = 8;
/// What a unit touches should stay in a second-level cache together with what all units read; else
/// what all of them read again must be less than what each need not fetch again.
constexpr std::int64_t kCacheBytes = 1536 * 1024;
/// How far behind the first kernel others are looked for.
constexpr std::size_t kWindow = 24;
/// So many kernels may have to wait for the end of the chain.
constexpr std::size_t kMostWaiting = 8;

/// The bytes of one memory that a kernel touches, as [low, high] at position 0 of its first task
/// axis; both move with that axis by `task` and with the number of its range by `block`.
struct Footprint {
  std::int64_t low = 0;
  std::int64_t high = 0;  // the last byte
  std::int64_t task = 0;
  std::int64_t block = 0;
  bool local = false;  // else it does not move: any task may touch any byte
  bool written = false;
  std::int64_t bytes = 0;  // of the whole memory

  [[nodiscard]] bool moves() const { return local && (task > 0 || block > 0); }
  [[nodiscard]] IndexBounds of(const ir::Cut& cut, std::int64_t unit, std::int64_t units) const {
    if (!moves()) return {0, bytes - 1};
    const std::int64_t per_unit = cut.count / units;
    const std::int64_t first = unit * per_unit;
    const std::int64_t last = first + per_unit - 1;
    return {low + task * cut(first).begin + block * first,
            high + task * (cut(last).end - 1) + block * last};
  }
  /// What both touch together.
  void add(const Footprint& other) {
    written |= other.written;
    local &= other.local && task == other.task && block == other.block;
    low = std::min(low, other.low);
    high = std::max(high, other.high);
    bytes = std::max(bytes, other.bytes);
  }
};

/// What a kernel touches, by memory.
struct Touches {
  std::map<std::size_t, Footprint> memory;
  ir::Cut cut;  // of the first task axis
  std::int64_t scratch = 0;
};

/// Collects the footprints of one kernel's parameters.
class Walk {
 public:
  explicit Walk(const Kernel& kernel)
      : kernel_(kernel), axes_(whole_axes(kernel.axes)), footprints_(kernel.buffers.size()) {
    if (kernel.tasks.empty()) return;
    first_ = kernel.tasks.front().axis;
    // The moving parts are accounted for apart.
    for (std::size_t axis = 0; axis < kernel.axes.size(); ++axis) {
      if (moving(static_cast<AxisId>(axis))) axes_[axis] = {0, 0};
    }
  }

  std::vector<std::optional<Footprint>> run() {
    for (const Stage& stage : kernel_.stages) {
      std::visit([&](const auto& s) { visit(s); }, stage);
    }
    return std::move(footprints_);
  }

 private:
  void visit(const Loop& loop) {
    for (const Load& load : loop.body.loads) add(load.access, false);
    for (const Store& store : loop.stores) add(store.target, true);
    for (const Accumulate& accumulate : loop.accumulates) add(accumulate.target, true);
  }
  void visit(const Contract& contract) {
    add(contract.lhs, false);
    add(contract.rhs, false);
    for (const Load& load : contract.epilogue.loads) add(load.access, false);
    for (const Store& store : contract.stores) add(store.target, true);
  }

  [[nodiscard]] bool moving(AxisId axis) const {
    return axis == first_ || kernel_.axes[static_cast<std::size_t>(axis)].block_of == first_;
  }

  void add(const Access& access, bool written) {
    const Buffer& buffer = kernel_.buffers[static_cast<std::size_t>(access.buffer)];
    if (buffer.role == BufferRole::scratch) return;
    Footprint next = footprint(access, buffer);
    next.written = written;
    std::optional<Footprint>& known = footprints_[static_cast<std::size_t>(access.buffer)];
    if (known) {
      known->add(next);
    } else {
      known = next;
    }
  }

  [[nodiscard]] Footprint footprint(const Access& access, const Buffer& buffer) const {
    const Shape& shape = buffer.type.shape;
    Footprint result;
    result.bytes = buffer.type.byte_size();
    result.local = true;
    std::int64_t stride = static_cast<std::int64_t>(byte_size(buffer.type.element));
    result.high = stride - 1;
    for (std::size_t d = shape.size(); d-- > 0; stride *= shape[d]) {
      IndexBounds bounds{0, shape[d] - 1};  // where the access leaves out dimensions of panels
      if (d < access.index.size() && !is_picked(access, d)) {
        const Affine& index = access.index[d];
        const IndexBounds own = bounds_of(index, axes_);
        bool moves = false;
        for (const Term& term : index.terms) {
          if (!moving(term.axis)) continue;
          moves = true;
          (term.axis == first_ ? result.task : result.block) += term.coefficient * stride;
          result.local &= term.coefficient > 0 && index.divisor == 1;
        }
        // Guards keep every index inside of its dimension.
        bounds = moves ? own
                       : IndexBounds{std::max(own.least, bounds.least),
                                     std::min(own.greatest, bounds.greatest)};
      }
      result.low += bounds.least * stride;
      result.high += bounds.greatest * stride;
    }
    return result;
  }

  const Kernel& kernel_;
  std::vector<IndexBounds> axes_;
  std::vector<std::optional<Footprint>> footprints_;
  AxisId first_ = -1;
};

bool one_writes(const Footprint& a, const Footprint& b) { return a.written || b.written; }

/// Calls visit(a's footprint, b's footprint) for every memory of both; stops at the first false.
template <typename Visit>
bool for_shared(const Touches& a, const Touches& b, Visit&& visit) {
  const Touches& fewer = a.memory.size() <= b.memory.size() ? a : b;
  const Touches& more = &fewer == &a ? b : a;
  for (const auto& [memory, one] : fewer.memory) {
    const auto other = more.memory.find(memory);
    if (other == more.memory.end()) continue;
    const bool go_on = &fewer == &a ? visit(one, other->second) : visit(other->second, one);
    if (!go_on) return false;
  }
  return true;
}

bool in_conflict(const Touches& a, const Touches& b) {
  return !for_shared(a, b,
                     [](const Footprint& x, const Footprint& y) { return !one_writes(x, y); });
}

/// Whether no unit of `a` touches what another unit of `b` touches where one of them writes. Both
/// ends of what a unit touches ascend with its number: neighbours decide.
bool apart(const Touches& a, const Touches& b, std::int64_t units) {
  return for_shared(a, b, [&](const Footprint& x, const Footprint& y) {
    if (!one_writes(x, y)) return true;
    if (!x.moves() || !y.moves()) return false;
    for (std::int64_t unit = 0; unit + 1 < units; ++unit) {
      if (x.of(a.cut, unit, units).greatest >= y.of(b.cut, unit + 1, units).least) return false;
      if (y.of(b.cut, unit, units).greatest >= x.of(a.cut, unit + 1, units).least) return false;
    }
    return true;
  });
}

/// What each kernel touches; memory has numbers.
std::vector<Touches> touches_of(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                const std::vector<ScheduledKernel>& kernels) {
  std::vector<Touches> result;
  std::map<Parameter, std::size_t> numbers;
  for (const ScheduledKernel& scheduled : kernels) {
    Touches& touches = result.emplace_back();
    if (!scheduled.kernel.tasks.empty()) touches.cut = scheduled.kernel.tasks.front().cut;
    touches.scratch = expected_scratch(scheduled.kernel);
    const std::vector<std::optional<Footprint>> footprints = Walk(scheduled.kernel).run();
    for (std::size_t i = 0; i < scheduled.parameters.size(); ++i) {
      if (!footprints[i]) continue;
      const Parameter memory = memory_key(graph, fusion, scheduled.parameters[i]);
      const std::size_t number = numbers.try_emplace(memory, numbers.size()).first->second;
      // Two parameters may be one memory in two shapes.
      const auto [known, added] = touches.memory.try_emplace(number, *footprints[i]);
      if (!added) known->second.add(*footprints[i]);
    }
  }
  return result;
}

class ChainFinder {
 public:
  ChainFinder(const ir::Graph& graph, const passes::FusionPlan& fusion,
              std::vector<ScheduledKernel>& kernels)
      : kernels_(kernels),
        touches_(touches_of(graph, fusion, kernels)),
        done_(kernels.size(), false) {}

  std::vector<runtime::Chain> run() {
    std::vector<runtime::Chain> chains;
    std::vector<std::size_t> order;
    const auto take = [&](std::size_t kernel) {
      order.push_back(kernel);
      done_[kernel] = true;
    };
    for (std::size_t first = 0; first < kernels_.size(); ++first) {
      if (done_[first]) continue;
      find(first);
      std::ranges::for_each(before_, take);
      if (chain_.size() > 1) chains.push_back({order.size(), chain_.size(), units_});
      std::ranges::for_each(chain_, take);
    }
    std::vector<ScheduledKernel> sorted;
    for (std::size_t kernel : order) sorted.push_back(std::move(kernels_[kernel]));
    kernels_ = std::move(sorted);
    return chains;
  }

 private:
  /// The chain that begins with kernel `first`, and the kernels that have to run before it.
  void find(std::size_t first) {
    chain_ = {first};
    before_.clear();
    units_ = touches_[first].cut.count;
    std::vector<std::size_t> waiting;
    std::vector<std::size_t> free;  // could run before the chain
    const std::size_t end = std::min(kernels_.size(), first + kWindow);
    for (std::size_t next = first + 1; next < end && waiting.size() < kMostWaiting; ++next) {
      if (done_[next]) continue;
      if (chain_.size() == runtime::kLongestChain) break;
      const auto conflicts = [&](std::size_t other) {
        return in_conflict(touches_[other], touches_[next]);
      };
      if (std::ranges::any_of(waiting, conflicts)) {
        waiting.push_back(next);
      } else if (const std::int64_t units = units_with(next); units > 0) {
        chain_.push_back(next);
        units_ = units;
        join_last(std::exchange(free, {}));
      } else if (std::ranges::none_of(chain_, conflicts)) {
        free.push_back(next);
      } else {
        waiting.push_back(next);
      }
    }
  }

  /// Of kernels that stand before the last one of the chain and touch nothing of the others' those
  /// join that now should: what they write is read there. The rest must run before the chain.
  void join_last(std::vector<std::size_t> free) {
    const auto place = static_cast<std::ptrdiff_t>(chain_.size()) - 1;
    std::vector<std::size_t> stay;
    for (; !free.empty(); free.pop_back()) {
      const std::size_t kernel = free.back();
      const bool is_read = std::ranges::any_of(
          stay, [&](std::size_t other) { return in_conflict(touches_[kernel], touches_[other]); });
      const bool full = chain_.size() == runtime::kLongestChain;
      const std::int64_t units = is_read || full ? 0 : units_with(kernel);
      if (units > 0) {
        chain_.insert(chain_.begin() + place, kernel);
        units_ = units;
      } else {
        stay.push_back(kernel);
      }
    }
    before_.insert(before_.end(), stay.rbegin(), stay.rend());
  }

  /// The units of the chain with kernel `next` at its end; 0 where it cannot or should not join.
  [[nodiscard]] std::int64_t units_with(std::size_t next) const {
    const Touches& joining = touches_[next];
    const std::int64_t units = std::gcd(units_, joining.cut.count);
    if (units < kLeastUnits) return 0;
    std::int64_t kept = 0;  // bytes that it finds in the cache
    for (std::size_t member : chain_) {
      if (!apart(touches_[member], joining, units)) return 0;
      for_shared(touches_[member], joining, [&](const Footprint& x, const Footprint& y) {
        if (x.moves() && y.moves()) kept = std::max(kept, std::min(x.bytes, y.bytes) / units);
        return true;
      });
    }
    if (kept == 0) return 0;
    // What is read as a whole by every unit of one kernel or another.
    std::map<std::size_t, std::int64_t> whole;
    std::map<std::size_t, std::int64_t> parts;
    std::int64_t scratch = 0;
    const auto count = [&](const Touches& touches) {
      for (const auto& [memory, footprint] : touches.memory) {
        if (footprint.moves()) {
          parts[memory] = footprint.bytes / units;
        } else {
          whole[memory] = footprint.bytes;
        }
      }
      scratch = std::max(scratch, touches.scratch);
    };
    for (std::size_t member : chain_) count(touches_[member]);
    count(joining);
    std::int64_t again = 0;
    for (const auto& [memory, bytes] : whole) again += bytes;
    std::int64_t touched = again + scratch;
    for (const auto& [memory, bytes] : parts) touched += bytes;
    return touched <= kCacheBytes || again <= kept ? units : 0;
  }

  std::vector<ScheduledKernel>& kernels_;
  std::vector<Touches> touches_;
  std::vector<bool> done_;
  std::vector<std::size_t> chain_;
  std::vector<std::size_t> before_;
  std::int64_t units_ = 1;
};

/// Whether every memory that is written moves alike in all kernels, and so far from iteration to
/// iteration that what one touches of it no other one does, or not at all.
bool move_alike(const ir::Graph& graph, const passes::FusionPlan& fusion,
                const std::vector<ScheduledKernel>& kernels) {
  struct Memory {
    Slide slide;
    bool written = false;
    bool fine = true;
  };
  std::map<Parameter, Memory> memories;
  for (const ScheduledKernel& scheduled : kernels) {
    for (std::size_t i = 0; i < scheduled.parameters.size(); ++i) {
      const Buffer& buffer = scheduled.kernel.buffers[i];
      const Slide& slide = scheduled.slides[i];
      Memory& memory =
          memories.try_emplace(memory_key(graph, fusion, scheduled.parameters[i]), Memory{slide})
              .first->second;
      memory.written |= buffer.role != BufferRole::input;
      memory.fine &= slide == memory.slide &&
                     (slide.stride == 0 || std::abs(slide.stride) >= buffer.type.byte_size());
    }
  }
  return std::ranges::all_of(
      memories, [](const auto& entry) { return entry.second.fine || !entry.second.written; });
}

}  // namespace

std::optional<runtime::Chain> chain_of_iterations(const ir::Graph& graph,
                                                  const passes::FusionPlan& fusion,
                                                  const std::vector<ScheduledKernel>& kernels,
                                                  const std::vector<runtime::Chain>& chains) {
  if (!move_alike(graph, fusion, kernels)) return std::nullopt;
  const std::vector<Touches> touches = touches_of(graph, fusion, kernels);
  runtime::Chain chain{0, kernels.size(), touches.front().cut.count, true};
  if (kernels.size() == 1) {
    if (chain.units < std::min(kLeastUnits, kernels.front().kernel.task_count())) {
      return std::nullopt;
    }
  } else if (chains.size() == 1 && chains.front().count == kernels.size()) {
    chain.units = chains.front().units;
  } else {
    return std::nullopt;
  }
  for (const Touches& a : touches) {
    for (const Touches& b : touches) {
      if (!apart(a, b, chain.units)) return std::nullopt;
    }
  }
  return chain;
}

std::vector<runtime::Chain> chain_kernels(const ir::Graph& graph, const passes::FusionPlan& fusion,
                                          std::vector<ScheduledKernel>& kernels) {
  return ChainFinder(graph, fusion, kernels).run();
}

}  // namespace gradus::codegen
