#include "tools/machine_peak.h"

#include <algorithm>
#include <chrono>

#include "codegen/jit.h"

namespace gradus::tools {
namespace {

using codegen::Affine;
using codegen::BufferRole;
using codegen::Kernel;

constexpr std::int64_t kChains = 12;  // hide the latency of two units
constexpr std::int64_t kRounds = 40;

/// target[task, i] = body(source[task, i]): a kernel over `tasks` tasks of `length` elements.
Kernel stream(std::string name, std::int64_t tasks, std::int64_t length,
              ir::ScalarProgram program) {
  Kernel kernel;
  kernel.name = std::move(name);
  kernel.axes = {{"task", tasks, -1}, {"i", length, -1}};
  kernel.tasks = {{0, {tasks, tasks, 1}}};
  const TensorType type{ElementType::f32, {tasks, length}};
  kernel.buffers = {{"source", type, BufferRole::input, {}},
                    {"target", type, BufferRole::output, {}}};
  const std::vector<Affine> index{{{{0, 1}}, 0, 1}, {{{1, 1}}, 0, 1}};
  codegen::Loop loop;
  loop.axes = {0, 1};
  loop.body.loads = {{{0, index}, {}}};
  loop.body.program = std::move(program);
  loop.stores = {{{1, index}, 0}};
  kernel.stages = {std::move(loop)};
  return kernel;
}

ir::ScalarProgram copying() {
  ir::ScalarBuilder b({ElementType::f32});
  return b.finish({b.operand(0)});
}

ir::ScalarProgram chains() {
  ir::ScalarBuilder b({ElementType::f32});
  const ir::Scalar half = b.constant(ElementType::f32, 0.5);
  std::vector<ir::Scalar> x;
  for (std::int64_t i = 0; i < kChains; ++i) x.push_back(b.operand(0) + static_cast<double>(i));
  for (std::int64_t round = 0; round < kRounds; ++round) {
    for (ir::Scalar& chain : x) chain = fma(chain, half, half);
  }
  for (std::size_t i = 1; i < x.size(); ++i) x[0] = x[0] + x[i];
  return b.finish({x[0]});
}

/// Seconds of the fastest of several runs.
double seconds_of(const Kernel& kernel, const codegen::Target& target,
                  runtime::Executor& executor) {
  const codegen::MachineCode code = codegen::compile(std::span(&kernel, 1), target, 1);
  const std::int64_t bytes = kernel.buffers[0].type.byte_size();
  runtime::Executable executable;
  executable.steps.push_back({.name = kernel.name,
                              .provenance = {},
                              .function = code.kernels[0].function,
                              .buffers = {{runtime::Space::arena, 0, bytes, false},
                                          {runtime::Space::arena, bytes, bytes, true}},
                              .tasks = kernel.task_count(),
                              .scratch_bytes = code.kernels[0].scratch_bytes,
                              .operations = 0});
  executable.arena_bytes = 2 * bytes;
  executable.scratch_bytes = code.kernels[0].scratch_bytes;
  executable.code = code.code;
  runtime::AlignedBytes state = runtime::allocate(64, "a measurement");
  double best = 1e30;
  for (int run = 0; run < 12; ++run) {
    const auto start = std::chrono::steady_clock::now();
    (void)executor.run(executable, state, {});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

}  // namespace

MachinePeak nominal_core(const codegen::Target& target) {
  constexpr double kHertz = 3e9;
  constexpr double kBytesPerSecond = 10e9;
  const double flops_per_cycle = target.fma ? 4 : 2;  // of each lane
  const auto lanes = static_cast<double>(target.width(ElementType::f32));
  return {flops_per_cycle * lanes * kHertz, kBytesPerSecond};
}

MachinePeak measure_peak(const codegen::Target& target, runtime::Executor& executor) {
  const std::int64_t workers = executor.workers();
  MachinePeak peak;
  constexpr std::int64_t kRegisterElements = 1 << 14;  // milliseconds of fma, 64 KiB of memory
  const double operations =
      2.0 * static_cast<double>(kChains * kRounds * workers * kRegisterElements);
  peak.flops = operations /
               seconds_of(stream("fma", workers, kRegisterElements, chains()), target, executor);
  constexpr std::int64_t kCopiedElements = 1 << 23;  // two arrays of 32 MiB per worker
  const double bytes = 2.0 * 4.0 * static_cast<double>(workers * kCopiedElements);
  peak.bytes =
      bytes / seconds_of(stream("copy", workers, kCopiedElements, copying()), target, executor);
  return peak;
}

}  // namespace gradus::tools
