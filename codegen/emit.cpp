#include "codegen/emit.h"

#include <map>
#include <numeric>
#include <set>

#include "base/overloaded.h"
#include "codegen/emit_contract.h"
#include "codegen/emit_loop.h"
#include "codegen/verify_kernel.h"

namespace gradus::codegen {
namespace {

using llvm::Value;

/// Sets the range of a task axis (and of the block axes that count its ranges) to part `part`.
void enter_part(EmitContext& c, const TaskAxis& task, Value* part) {
  llvm::IRBuilder<>& b = c.b;
  const ir::Cut& cut = task.cut;
  const auto border = [&](Value* number) { return c.border(cut, number); };
  std::set<std::int64_t> lengths;
  std::int64_t multiple = 0;
  for (std::int64_t i = 0; i < cut.count; ++i) {
    lengths.insert(cut(i).size());
    multiple = std::gcd(multiple, cut(i).begin);
  }
  AxisRange& range = c.range(task.axis);
  range.lengths.assign(lengths.begin(), lengths.end());
  range.multiple = multiple;
  range.begin = border(part);
  range.end = range.fixed() ? b.CreateAdd(range.begin, c.i64(range.greatest()))
                            : border(b.CreateAdd(part, c.i64(1)));
  for (std::size_t axis = 0; axis < c.kernel.axes.size(); ++axis) {
    if (c.kernel.axes[axis].block_of != task.axis) continue;
    c.ranges[axis] = {part, b.CreateAdd(part, c.i64(1)), {1}, cut.count == 1 ? 0 : 1};
  }
}

class KernelEmitter {
 public:
  KernelEmitter(EmitContext& context, DebugInfo* debug) : c_(context), debug_(debug) {}

  /// All stages of one task.
  void task() {
    if (!c_.kernel.tile) {
      for (const Stage& stage : c_.kernel.stages) {
        begin(stage);
        share_fetches(std::span(&stage, 1));
        emit(stage);
        end(stage);
      }
      return;
    }
    for (const Stage& stage : c_.kernel.stages) begin(stage);
    share_fetches(c_.kernel.stages);
    c_.tiles(c_.kernel.tile->axis, c_.kernel.tile->size, [&] {
      for (const Stage& stage : c_.kernel.stages) emit(stage);
    });
    for (const Stage& stage : c_.kernel.stages) end(stage);
  }

 private:
  void enter(const Stage& stage) {
    c_.tile_ranges = c_.ranges;
    if (debug_ == nullptr) return;
    c_.b.SetCurrentDebugLocation(std::visit(
        [&](const auto& s) {
          return debug_->place(s.provenance.empty() ? c_.kernel.provenance : s.provenance);
        },
        stage));
  }
  void begin(const Stage& stage) {
    enter(stage);
    std::visit(overloaded{[&](const Loop& loop) { start(loops_, loop); },
                          [&](const Contract& contract) { start(contracts_, contract); }},
               stage);
  }
  /// Among the loops of `stages`, which have begun.
  void share_fetches(std::span<const Stage> stages) {
    std::vector<LoopCourse> courses;
    for (const Stage& stage : stages) {
      const auto* loop = std::get_if<Loop>(&stage);
      if (loop != nullptr) courses.push_back(loops_.at(loop)->course());
    }
    std::map<const Loop*, std::vector<Fetch>> fetches = codegen::share_fetches(c_.kernel, courses);
    for (const LoopCourse& course : courses) {
      loops_.at(course.loop)->fetch(std::move(fetches[course.loop]));
    }
  }
  void emit(const Stage& stage) {
    enter(stage);
    c_.sums.scope([&] {
      std::visit(overloaded{[&](const Loop& loop) { loops_.at(&loop)->emit(); },
                            [&](const Contract& contract) { contracts_.at(&contract)->emit(); }},
                 stage);
    });
  }
  void end(const Stage& stage) {
    enter(stage);
    std::visit(overloaded{[&](const Loop& loop) { loops_.at(&loop)->end_task(); },
                          [&](const Contract& contract) { contracts_.at(&contract)->end_task(); }},
               stage);
  }
  /// The emitters of a task's stages of one kind; only looked up, never walked.
  template <typename Stage, typename Emitter>
  using Emitters = std::map<const Stage*, std::unique_ptr<Emitter>>;
  template <typename Stage, typename Emitter>
  void start(Emitters<Stage, Emitter>& emitters, const Stage& stage) {
    emitters.insert_or_assign(&stage, std::make_unique<Emitter>(c_, stage))
        .first->second->begin_task();
  }

  EmitContext& c_;
  DebugInfo* debug_;
  Emitters<Loop, LoopEmitter> loops_;
  Emitters<Contract, ContractStage> contracts_;
};

}  // namespace

std::int64_t emit_kernel(const Kernel& kernel, const Target& target, const std::string& symbol,
                         llvm::Module& module, DebugInfo* debug) {
  verify(kernel);
  EmitContext c(kernel, target, module, symbol);
  if (debug != nullptr) debug->add(kernel, *c.function);
  const auto outside_stages = [&] {
    if (debug != nullptr) c.b.SetCurrentDebugLocation(debug->place(kernel.provenance));
  };
  outside_stages();
  const std::int64_t tasks = kernel.task_count();
  const auto one_task = [&](Value* number) {
    std::int64_t inner = tasks;
    for (const TaskAxis& task : kernel.tasks) {
      inner /= task.cut.count;
      Value* part = c.i64(0);
      if (task.cut.count > 1) {
        part = inner == 1 ? number : c.b.CreateUDiv(number, c.i64(inner));
        if (inner * task.cut.count != tasks) part = c.b.CreateURem(part, c.i64(task.cut.count));
      }
      enter_part(c, task, part);
    }
    KernelEmitter(c, debug).task();
    outside_stages();
  };
  c.loop(c.function->getArg(2), c.function->getArg(3), 1, std::nullopt, one_task);
  return c.finish();
}

}  // namespace gradus::codegen
