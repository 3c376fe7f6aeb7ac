#include "codegen/fold_copies.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/overloaded.h"
#include "codegen/arena.h"
#include "codegen/copy_kernel.h"
#include "codegen/each_access.h"
#include "codegen/loop_kernels.h"
#include "codegen/verify_kernel.h"

// A copy is taken over by the kernel that made what is copied, looking back from the copy, or by
// one behind it that reads all of it. Between the two nobody may touch what the copy fills: it
// would see the new elements too early or the old ones too late. What a fold makes of a kernel is
// kept if it keeps the kernel's laws, which say, among others, that nothing is read where another
// point, tile or task has overwritten it.

namespace gradus::codegen {
namespace {

/// A slice of memory, and how it moves.
struct Slice {
  Parameter memory;
  Slide slide;
};

std::vector<Store>& stores_of(Stage& stage) {
  return std::visit([](auto& of) -> std::vector<Store>& { return of.stores; }, stage);
}
const std::vector<Load>& loads_of(const Stage& stage) {
  return std::visit(
      overloaded{[](const Loop& loop) -> const auto& { return loop.body.loads; },
                 [](const Contract& product) -> const auto& { return product.epilogue.loads; }},
      stage);
}

/// Which of the stages store into a buffer; none where one does otherwise than element by element.
std::optional<std::vector<std::size_t>> storing_stages(Kernel& kernel, BufferId buffer) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < kernel.stages.size(); ++i) {
    Stage& stage = kernel.stages[i];
    if (const auto* loop = std::get_if<Loop>(&stage)) {
      const bool sums = std::ranges::any_of(
          loop->accumulates, [&](const Accumulate& sink) { return sink.target.buffer == buffer; });
      if (sums || !loop->ordered.empty()) return std::nullopt;
    }
    const bool stores = std::ranges::any_of(
        stores_of(stage), [&](const Store& store) { return store.target.buffer == buffer; });
    if (stores) result.push_back(i);
  }
  return result;
}

/// Whether the kernel reads `buffer` in stage number `at` only, at the elements of `target`.
bool reads_only_at(Kernel& kernel, BufferId buffer, std::size_t at, const Access& target) {
  bool holds = true;
  for (std::size_t i = 0; i < kernel.stages.size(); ++i) {
    std::size_t accesses = 0;
    each_access(kernel.stages[i],
                [&](const Access& access) { accesses += access.buffer == buffer ? 1 : 0; });
    const auto alike = std::ranges::count_if(loads_of(kernel.stages[i]), [&](const Load& load) {
      return load.access.buffer == buffer && load.access.index == target.index && !load.access.pick;
    });
    holds = holds && accesses == (i == at ? static_cast<std::size_t>(alike) : 0);
  }
  return holds;
}

/// Whether the loop reads each element of the load's buffer at one of its points, of one task.
bool reads_all_once(const Kernel& kernel, const Loop& loop, const Load& load) {
  const Buffer& buffer = kernel.buffers[static_cast<std::size_t>(load.access.buffer)];
  std::set<AxisId> axes;
  for (std::size_t d = 0; d < load.access.index.size(); ++d) {
    const Affine& index = load.access.index[d];
    if (index.terms.size() != 1 || index.terms[0].coefficient != 1 || index.offset != 0 ||
        index.divisor != 1) {
      return false;
    }
    const AxisId axis = index.terms[0].axis;
    if (kernel.axes[static_cast<std::size_t>(axis)].extent != buffer.type.shape[d]) return false;
    if (!axes.insert(axis).second) return false;
  }
  const auto known = [&](AxisId axis) { return axes.contains(axis); };
  const bool tasks =
      std::ranges::all_of(kernel.tasks, [&](const TaskAxis& task) { return known(task.axis); });
  return load.guards.empty() && !load.access.pick && loop.ordered.empty() && tasks &&
         axes.size() == loop.axes.size() && std::ranges::all_of(loop.axes, known) &&
         (!kernel.tile || known(kernel.tile->axis));
}

class CopyFolder {
 public:
  CopyFolder(const ir::Graph& graph, const passes::FusionPlan& fusion,
             std::vector<ScheduledKernel>& kernels)
      : graph_(graph), fusion_(fusion), kernels_(kernels) {}

  void run() {
    for (std::size_t i = 0; i < kernels_.size();) {
      if (is_copy(kernels_[i].kernel) && (maker_takes(i) || reader_takes(i))) {
        kernels_.erase(kernels_.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }

 private:
  [[nodiscard]] Slice slice(const ScheduledKernel& kernel, std::size_t parameter) const {
    return {memory_key(graph_, fusion_, kernel.parameters[parameter]), kernel.slides[parameter]};
  }
  /// The parameters of a kernel that lie in `memory`.
  [[nodiscard]] std::vector<BufferId> buffers_in(const ScheduledKernel& kernel,
                                                 const Parameter& memory) const {
    std::vector<BufferId> result;
    for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
      if (slice(kernel, i).memory == memory) result.push_back(static_cast<BufferId>(i));
    }
    return result;
  }
  [[nodiscard]] bool touches(const ScheduledKernel& kernel, const Parameter& memory) const {
    return !buffers_in(kernel, memory).empty();
  }
  [[nodiscard]] bool writes(const ScheduledKernel& kernel, const Parameter& memory) const {
    return std::ranges::any_of(buffers_in(kernel, memory), [&](BufferId buffer) {
      return kernel.kernel.buffers[static_cast<std::size_t>(buffer)].role != BufferRole::input;
    });
  }
  /// The one parameter in the memory of `wanted`, if it is that slice.
  [[nodiscard]] std::optional<BufferId> parameter(const ScheduledKernel& kernel,
                                                  const Slice& wanted) const {
    const std::vector<BufferId> found = buffers_in(kernel, wanted.memory);
    if (found.size() != 1) return std::nullopt;
    const Slide& slide = kernel.slides[static_cast<std::size_t>(found[0])];
    return slide == wanted.slide ? std::optional(found[0]) : std::nullopt;
  }

  /// Changes a kernel, if `change` says that it did and the laws hold afterwards.
  template <typename Change>
  static bool change_lawfully(ScheduledKernel& kernel, const Change& change) {
    ScheduledKernel changed = kernel;
    if (!change(changed) || find_violation(changed.kernel)) return false;
    kernel = std::move(changed);
    return true;
  }

  bool maker_takes(std::size_t copy) {
    const Slice from = slice(kernels_[copy], 0);
    const Slice to = slice(kernels_[copy], 1);
    for (std::size_t i = copy; i-- > 0;) {
      if (writes(kernels_[i], from.memory)) {
        return change_lawfully(kernels_[i], [&](ScheduledKernel& maker) {
          if (!store_too(maker, from, kernels_[copy])) return false;
          if (only_copied(i, from.memory, copy)) drop_output(maker, from.memory);
          return true;
        });
      }
      if (touches(kernels_[i], to.memory)) return false;
    }
    return false;
  }

  bool store_too(ScheduledKernel& maker, const Slice& from, const ScheduledKernel& copy) {
    const std::optional<BufferId> source = parameter(maker, from);
    if (!source) return false;
    const auto stages = storing_stages(maker.kernel, *source);
    if (!stages || stages->empty()) return false;
    const Slice to = slice(copy, 1);
    std::optional<BufferId> target;
    if (touches(maker, to.memory)) {  // the old value, which its own element's point may read
      target = parameter(maker, to);
      if (!target || stages->size() > 1 ||
          !may_update(maker.kernel, *source, *target, stages->front())) {
        return false;
      }
      maker.kernel.buffers[static_cast<std::size_t>(*target)].role = BufferRole::in_out;
    } else {
      target = add_output(maker, *source, copy);
    }
    for (std::size_t stage : *stages) {
      std::vector<Store>& stores = stores_of(maker.kernel.stages[stage]);
      const std::size_t before = stores.size();
      for (std::size_t i = 0; i < before; ++i) {
        if (stores[i].target.buffer != *source) continue;
        Store twice = stores[i];
        twice.target.buffer = *target;
        stores.push_back(std::move(twice));
      }
    }
    return true;
  }
  /// Whether only the maker and the copy know of the memory.
  [[nodiscard]] bool only_copied(std::size_t maker, const Parameter& memory,
                                 std::size_t copy) const {
    if (memory.panel != kLoopValue) return false;
    for (std::size_t i = 0; i < kernels_.size(); ++i) {
      if (i != copy && i != maker && touches(kernels_[i], memory)) return false;
    }
    return true;
  }
  /// The kernel does not store what it does not read itself.
  void drop_output(ScheduledKernel& maker, const Parameter& memory) {
    const BufferId unread = buffers_in(maker, memory).front();
    Kernel& kernel = maker.kernel;
    if (kernel.buffers[static_cast<std::size_t>(unread)].role != BufferRole::output) return;
    for (Stage& stage : kernel.stages) {
      std::erase_if(stores_of(stage),
                    [&](const Store& store) { return store.target.buffer == unread; });
      each_access(stage, [&](Access& access) { access.buffer -= access.buffer > unread ? 1 : 0; });
    }
    kernel.buffers.erase(kernel.buffers.begin() + unread);
    maker.parameters.erase(maker.parameters.begin() + unread);
    maker.slides.erase(maker.slides.begin() + unread);
  }
  /// Whether the stage that stores the new value may store it over the old one as well.
  static bool may_update(Kernel& kernel, BufferId source, BufferId target, std::size_t stage) {
    const Buffer& new_value = kernel.buffers[static_cast<std::size_t>(source)];
    const Buffer& old_value = kernel.buffers[static_cast<std::size_t>(target)];
    if (new_value.type != old_value.type || old_value.role != BufferRole::input) return false;
    const std::vector<Store>& stores = stores_of(kernel.stages[stage]);
    return std::ranges::all_of(stores, [&](const Store& store) {
      return store.target.buffer != source || reads_only_at(kernel, target, stage, store.target);
    });
  }

  bool reader_takes(std::size_t copy) {
    const Slice from = slice(kernels_[copy], 0);
    const Slice to = slice(kernels_[copy], 1);
    for (std::size_t i = copy + 1; i < kernels_.size(); ++i) {
      if (touches(kernels_[i], to.memory)) return false;
      const bool taken = change_lawfully(kernels_[i], [&](ScheduledKernel& reader) {
        return store_read(reader, from, kernels_[copy]);
      });
      if (taken) return true;
      if (writes(kernels_[i], from.memory)) return false;
    }
    return false;
  }

  bool store_read(ScheduledKernel& reader, const Slice& from, const ScheduledKernel& copy) {
    const std::optional<BufferId> source = parameter(reader, from);
    if (!source) return false;
    const auto storing = storing_stages(reader.kernel, *source);
    if (!storing) return false;
    for (std::size_t s = 0; s < reader.kernel.stages.size(); ++s) {
      const auto* loop = std::get_if<Loop>(&reader.kernel.stages[s]);
      for (std::size_t i = 0; loop != nullptr && i < loop->body.loads.size(); ++i) {
        const Load& load = loop->body.loads[i];
        if (load.access.buffer != *source || !reads_all_once(reader.kernel, *loop, load)) continue;
        Access target = load.access;
        target.buffer = add_output(reader, *source, copy);
        auto& stage = std::get<Loop>(reader.kernel.stages[s]);
        stage.stores.push_back({std::move(target), operand_result(stage.body.program, i)});
        return true;
      }
      if (std::ranges::find(*storing, s) != storing->end()) return false;
    }
    return false;
  }

  /// The number of the result that is operand number `operand`, which the program reads.
  static std::int32_t operand_result(ir::ScalarProgram& program, std::size_t operand) {
    const auto at = std::ranges::find_if(program.code, [&](const ir::ScalarInstruction& each) {
      return each.op == ir::ScalarOp::operand && each.immediate == operand;
    });
    const auto number = static_cast<std::int32_t>(at - program.code.begin());
    if (at == program.code.end()) {
      program.code.push_back(
          {ir::ScalarOp::operand, program.operand_types[operand], {-1, -1, -1}, operand});
    }
    program.results.push_back(number);
    return static_cast<std::int32_t>(program.results.size()) - 1;
  }

  /// "copy0", or the first number that the kernel has not.
  static std::string new_name(const Kernel& kernel) {
    for (int number = 0;; ++number) {
      std::string name = fmt::format("copy{}", number);
      if (std::ranges::find(kernel.buffers, name, &Buffer::name) == kernel.buffers.end()) {
        return name;
      }
    }
  }

  /// A parameter like `like` for what `copy` fills, behind the others.
  static BufferId add_output(ScheduledKernel& scheduled, BufferId like,
                             const ScheduledKernel& copy) {
    Kernel& kernel = scheduled.kernel;
    const auto added = static_cast<BufferId>(scheduled.parameters.size());
    for (Stage& stage : kernel.stages) {
      each_access(stage, [&](Access& access) {
        if (access.buffer >= added) ++access.buffer;
      });
    }
    Buffer buffer = kernel.buffers[static_cast<std::size_t>(like)];
    buffer.name = new_name(kernel);
    buffer.role = BufferRole::output;
    kernel.buffers.insert(kernel.buffers.begin() + added, std::move(buffer));
    scheduled.parameters.push_back(copy.parameters[1]);
    scheduled.slides.push_back(copy.slides[1]);
    return added;
  }

  const ir::Graph& graph_;
  const passes::FusionPlan& fusion_;
  std::vector<ScheduledKernel>& kernels_;
};

}  // namespace

void fold_copies(const ir::Graph& graph, const passes::FusionPlan& fusion,
                 std::vector<ScheduledKernel>& kernels) {
  CopyFolder(graph, fusion, kernels).run();
}

}  // namespace gradus::codegen
