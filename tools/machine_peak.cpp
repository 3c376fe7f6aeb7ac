#include "tools/machine_peak.h"

#include <algorithm>

#include "base/stopwatch.h"
#include "codegen/jit.h"

namespace gradus::tools {
namespace {

using codegen::Affine;
using codegen::BufferRole;
using codegen::Kernel;

constexpr std::int64_t kChains = 12;  // hide the latency of two units
constexpr std::int64_t kRounds = 40;
// The additions before and after the chains take the place of an fma each.
constexpr std::int64_t kSlots = kChains * kRounds + 2 * kChains - 2;

/// target[task, i] = body(source[task, i]): a kernel over `tasks` tasks of `length` elements. In
/// place, target is source.
Kernel stream(std::string name, std::int64_t tasks, std::int64_t length, ir::ScalarProgram program,
              bool in_place = false) {
  Kernel kernel;
  kernel.name = std::move(name);
  kernel.axes = {{"task", tasks, -1}, {"i", length, -1}};
  kernel.tasks = {{0, {tasks, tasks, 1}}};
  const TensorType type{ElementType::f32, {tasks, length}};
  kernel.buffers = {{"source", type, in_place ? BufferRole::in_out : BufferRole::input, {}}};
  if (!in_place) kernel.buffers.push_back({"target", type, BufferRole::output, {}});
  const std::vector<Affine> index{{{{0, 1}}, 0, 1}, {{{1, 1}}, 0, 1}};
  codegen::Loop loop;
  loop.axes = {0, 1};
  loop.body.loads = {{{0, index}, {}}};
  loop.body.program = std::move(program);
  loop.stores = {{{in_place ? 0 : 1, index}, 0}};
  kernel.stages = {std::move(loop)};
  return kernel;
}

ir::ScalarProgram copying() {
  ir::ScalarBuilder b({ElementType::f32});
  return b.finish({b.operand(0)});
}

ir::ScalarProgram halving() {
  ir::ScalarBuilder b({ElementType::f32});
  return b.finish({b.operand(0) * 0.5});
}

ir::ScalarProgram chains() {
  ir::ScalarBuilder b({ElementType::f32});
  const ir::Scalar half = b.constant(ElementType::f32, 0.5);
  std::vector<ir::Scalar> x;
  x.push_back(b.operand(0));
  for (std::int64_t i = 1; i < kChains; ++i) x.push_back(x[0] + static_cast<double>(i));
  for (std::int64_t round = 0; round < kRounds; ++round) {
    for (ir::Scalar& chain : x) chain = fma(chain, half, half);
  }
  for (std::size_t i = 1; i < x.size(); ++i) x[0] = x[0] + x[i];
  return b.finish({x[0]});
}

/// `kernel`, `times` times over.
runtime::Executable executable_of(const Kernel& kernel, const codegen::Target& target,
                                  std::int64_t times) {
  const codegen::MachineCode code = codegen::compile(std::span(&kernel, 1), target, 1);
  runtime::Executable executable;
  runtime::Step step{.name = kernel.name,
                     .provenance = {},
                     .function = code.kernels[0].function,
                     .buffers = {},
                     .tasks = kernel.task_count(),
                     .scratch_bytes = code.kernels[0].scratch_bytes,
                     .operations = 0};
  for (const codegen::Buffer& buffer : kernel.buffers) {
    const std::int64_t bytes = buffer.type.byte_size();
    step.buffers.push_back(
        {runtime::Space::arena, executable.arena_bytes, bytes, buffer.role != BufferRole::input});
    executable.arena_bytes += (bytes + runtime::kBufferAlignment - 1) / runtime::kBufferAlignment *
                              runtime::kBufferAlignment;
  }
  executable.steps.assign(static_cast<std::size_t>(times), step);
  executable.scratch_bytes = code.kernels[0].scratch_bytes;
  executable.code = code.code;
  return executable;
}

constexpr std::int64_t kRegisterElements = 1 << 12;  // a fraction of a millisecond of fma, 32 KiB
constexpr std::int64_t kSampleBytes = 1 << 22;       // that a sample of copying reads and writes

}  // namespace

MachinePeak nominal_core(const codegen::Target& target) {
  constexpr double kHertz = 3e9;
  constexpr double kBytesPerSecond = 10e9;
  const double flops_per_cycle = target.fma ? 4 : 2;  // of each lane
  const auto lanes = static_cast<double>(target.width(ElementType::f32));
  return {flops_per_cycle * lanes * kHertz, kBytesPerSecond};
}

PeakMeter::PeakMeter(const codegen::Target& target, runtime::Executor& executor)
    : target_(target),
      executor_(executor),
      fma_(executable_of(stream("fma", executor.workers(), kRegisterElements, chains()), target,
                         1)) {}

double PeakMeter::seconds(const runtime::Executable& executable) {
  runtime::AlignedBytes state = runtime::allocate(64, "a measurement");
  (void)executor_.run(executable, state, {});  // brings data near and clocks up
  const Stopwatch watch;
  (void)executor_.run(executable, state, {});
  return watch.seconds();
}

double PeakMeter::flops() {
  return 2.0 * static_cast<double>(kSlots * executor_.workers() * kRegisterElements) /
         seconds(fma_);
}

double PeakMeter::copied(std::int64_t footprint, bool in_place) {
  const std::int64_t workers = executor_.workers();
  const std::int64_t elements = footprint / ((in_place ? 4 : 8) * workers);  // of a worker
  const std::int64_t bytes = 2 * 4 * workers * elements;
  const std::int64_t times = std::max<std::int64_t>(kSampleBytes / bytes, 1);
  const auto [place, is_new] = copies_.try_emplace({footprint, in_place});
  if (is_new) {
    place->second =
        executable_of(stream("copy", workers, elements, in_place ? halving() : copying(), in_place),
                      target_, times);
  }
  return static_cast<double>(bytes * times) / seconds(place->second);
}

MachinePeak measure_peak(const codegen::Target& target, runtime::Executor& executor) {
  constexpr std::int64_t kFarBytes = 1 << 26;  // per worker
  constexpr int kSamples = 12;
  PeakMeter meter(target, executor);
  MachinePeak peak;
  for (int sample = 0; sample < kSamples; ++sample) {
    peak.flops = std::max(peak.flops, meter.flops());
    peak.bytes = std::max(peak.bytes, meter.copied(executor.workers() * kFarBytes));
  }
  return peak;
}

}  // namespace gradus::tools
