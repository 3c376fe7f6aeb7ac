#include "bench/measured_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "bench/sample.h"
#include "codegen/emit_program.h"
#include "codegen/jit.h"
#include "ir/interpret.h"
#include "ir/rewrite.h"

namespace gradus::bench {
namespace {

/// Random values; those of optimizers' slots, which may be under a root, are not negative.
tools::Subject subject_of(const Workload& work) {
  tools::Subject subject = tools::random_subject(ir::copy(work.graph));
  for (const ir::Result& result : work.graph.results()) {
    if (!result.update) continue;
    const runtime::StateEntry& entry = *subject.layout.find(result.name);
    for (std::int64_t i = 0; i < entry.type.element_count(); ++i) {
      float x = 0;
      std::byte* place = subject.state.data() + entry.offset + 4 * i;
      std::memcpy(&x, place, sizeof x);
      x = std::fabs(x);
      std::memcpy(place, &x, sizeof x);
    }
  }
  return subject;
}

int count_vector_spills(const codegen::Plan& plan, const codegen::Target& target) {
  std::vector<codegen::Kernel> kernels;
  for (const codegen::ScheduledKernel& scheduled : plan.kernels) {
    kernels.push_back(scheduled.kernel);
  }
  const std::string text =
      codegen::generate_code(kernels, target, codegen::CodeForm::assembly).code;
  int count = 0;
  for (std::string_view what : {"16-byte Spill", "32-byte Spill", "64-byte Spill"}) {
    for (std::size_t place = text.find(what); place != std::string::npos;
         place = text.find(what, place + 1)) {
      ++count;
    }
  }
  return count;
}

std::int64_t count_operations(const codegen::Plan& plan) {
  std::int64_t count = 0;
  for (const codegen::ScheduledKernel& scheduled : plan.kernels) {
    for (const codegen::Stage& stage : scheduled.kernel.stages) {
      const auto* loop = std::get_if<codegen::Loop>(&stage);
      if (loop == nullptr) continue;
      std::int64_t points = 1;
      for (codegen::AxisId axis : loop->axes) {
        const codegen::Axis& described = scheduled.kernel.axes[static_cast<std::size_t>(axis)];
        if (described.block_of < 0) points *= described.extent;
      }
      const codegen::FlatProgram program = codegen::flatten(loop->body.program, {});
      const std::int64_t own =
          std::ranges::count_if(program.code, [](const ir::ScalarInstruction& instruction) {
            return instruction.op != ir::ScalarOp::constant &&
                   instruction.op != ir::ScalarOp::operand;
          });
      count += points * (own + std::ssize(loop->accumulates));
    }
  }
  return count;
}

std::string difference(const std::string& name, const Box& box, const Tensor& expected,
                       const Tensor& found) {
  if (expected == found) return {};
  const auto x = expected.as<float>();
  const auto y = found.as<float>();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::memcmp(&x[i], &y[i], sizeof x[i]) == 0 || (x[i] != x[i] && y[i] != y[i])) continue;
    return fmt::format("element {} of {} from {} on is {} interpreted and {} compiled", i, name,
                       to_string(box.start), x[i], y[i]);
  }
  return {};
}

}  // namespace

MeasuredProblem::MeasuredProblem(Workload work, const codegen::CompileOptions& options,
                                 runtime::Executor& executor, std::int64_t times)
    : work_(std::move(work)), times_(times), executor_(executor), subject_(subject_of(work_)) {
  codegen::Plan plan = codegen::plan_program(subject_.graph, options);
  executable_ = codegen::compile(plan, subject_.layout, options);
  operations_ = count_operations(plan);
  spills_ = count_vector_spills(plan, codegen::make_target(options.set));
  const std::vector<runtime::Step> once = executable_.steps;
  for (std::int64_t time = 1; time < times; ++time) {
    executable_.steps.insert(executable_.steps.end(), once.begin(), once.end());
  }
  for (const Tensor& input : subject_.inputs) inputs_.emplace_back(input.bytes);
}

void MeasuredProblem::run() {
  const runtime::RunResult result = executor_.run(executable_, subject_.state, inputs_);
  GRADUS_CHECK(result.fault == 0, "a kernel faulted: " + work_.graph.name());
}

std::string MeasuredProblem::check() {
  GRADUS_CHECK(times_ == 1, "updates are checked after one run");
  const std::map<std::string, Tensor> before = tools::inputs_by_name(subject_);
  run();
  const std::map<std::string, Tensor> after = tools::inputs_by_name(subject_);
  std::map<std::string, Tensor> outputs;
  for (std::size_t i = 0; i < executable_.outputs.size(); ++i) {
    outputs.emplace(executable_.outputs[i].name, executor_.output(executable_, i));
  }
  const auto results = work_.graph.results();
  for (double where : {0.0, 0.57, 1.0}) {
    std::vector<Box> boxes;
    for (const ir::Result& result : results) {
      boxes.push_back(box_of(work_.graph.type(result.value).shape, where));
    }
    const ir::Graph sample = restrict_results(work_.graph, boxes);
    const std::map<std::string, Tensor> expected = ir::interpret(sample, before).outputs;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const std::string& name = results[i].name;
      const Tensor& whole = results[i].update ? after.at(name) : outputs.at(name);
      std::string wrong = difference(name, boxes[i], expected.at(sample.results()[i].name),
                                     elements_in(whole, boxes[i]));
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

}  // namespace gradus::bench
