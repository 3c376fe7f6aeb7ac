// Contractions on one thread: share of the fused multiply-add peak, which is measured between the
// samples of the same run.
//
//   bench_contraction [native|x86-64-v3|x86-64-v4] [part of a problem's name]
//
// Prints per problem the tile, the best and the median rate in GFLOP/s, the median as share of the
// median peak, and the vector spills in the code (there must be none).

#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

#include "base/float_environment.h"
#include "base/tensor.h"
#include "codegen/jit.h"

namespace gradus::codegen {
namespace {

using Clock = std::chrono::steady_clock;

struct Problem {
  std::string name;
  std::int64_t m, n, k;
  bool lhs_transposed = false;  // lhs is [k, m]
  bool rhs_transposed = false;  // rhs is [n, k]; the timed kernel first packs it into panels
  bool panels = false;          // rhs is in panels of the tile's width
};

std::vector<Problem> problems() {
  std::vector<Problem> result;
  for (std::int64_t size : {64, 128, 192, 256, 384, 512}) {
    const std::string cube = std::to_string(size);
    result.push_back({cube + " NN", size, size, size});
    result.push_back({cube + " NN panels", size, size, size, false, false, true});
    result.push_back({cube + " TN", size, size, size, true});
    result.push_back({cube + " NT", size, size, size, false, true});
  }
  const std::int64_t batch = 128;
  const std::int64_t widths[] = {784, 512, 256, 10};
  for (std::size_t layer = 0; layer < 3; ++layer) {
    const std::int64_t in = widths[layer], out = widths[layer + 1];
    const std::string suffix = fmt::format(" {}-{}", in, out);
    result.push_back({"forward" + suffix, batch, out, in});
    result.push_back({"forward" + suffix + " panels", batch, out, in, false, false, true});
    result.push_back({"input gradient" + suffix, batch, in, out, false, true});
    result.push_back({"weight gradient" + suffix, in, out, batch, true});
  }
  return result;
}

Affine at(AxisId axis) { return {{{axis, 1}}, 0, 1}; }

/// Copies rhs [n, k] into panels; columns past n are 0. Adds its axes to the kernel.
Loop packing(Kernel& kernel, std::int64_t panel, const Body& copy) {
  const std::int64_t n = kernel.buffers[1].type.shape[0];
  kernel.axes.push_back({"panel", (n + panel - 1) / panel, -1});
  kernel.axes.push_back({"column", panel, -1});
  const Affine row{{{3, panel}, {4, 1}}, 0, 1};
  Loop loop;
  loop.axes = {3, 2, 4};
  loop.body = copy;
  loop.body.loads = {{{1, {row, at(2)}}, {}}};
  if (n % panel != 0) loop.body.loads[0].guards = {{row, n}};
  loop.stores = {{{3, {at(3), at(2), at(4)}}, 0}};
  return loop;
}

Kernel kernel_of(const Problem& p, const Target& target) {
  const ElementType f32 = ElementType::f32;
  Kernel kernel;
  kernel.name = p.name;
  kernel.axes = {{"m", p.m, -1}, {"n", p.n, -1}, {"k", p.k, -1}};
  kernel.buffers = {
      {"x", {f32, p.lhs_transposed ? Shape{p.k, p.m} : Shape{p.m, p.k}}, BufferRole::input, {}},
      {"w", {f32, p.rhs_transposed ? Shape{p.n, p.k} : Shape{p.k, p.n}}, BufferRole::input, {}},
      {"y", {f32, {p.m, p.n}}, BufferRole::output, {}}};
  Body copy;
  copy.program.operand_types = {f32};
  copy.program.code = {{.op = ir::ScalarOp::operand, .type = f32}};
  copy.program.results = {0};
  Contract contract;
  contract.rows = {0};
  contract.n = 1;
  contract.k = {2};
  contract.parts = {p.k, 1, 1};
  contract.lhs = {0, p.lhs_transposed ? std::vector{at(2), at(0)} : std::vector{at(0), at(2)}};
  contract.rhs = {1, {at(2), at(1)}};
  contract.tile = choose_register_tile({p.m, p.n}, f32, target);
  contract.epilogue = copy;
  contract.stores = {{{2, {at(0), at(1)}}, 0}};
  if (p.panels || p.rhs_transposed) {
    contract.panel = contract.tile.vectors * target.width(f32);
    const TensorType panels{f32,
                            {(p.n + contract.panel - 1) / contract.panel, p.k, contract.panel}};
    contract.rhs.index.clear();
    if (p.panels) {
      kernel.buffers[1].type = panels;
    } else {
      contract.rhs.buffer = 3;
      kernel.buffers.push_back({"panels", panels, BufferRole::scratch, {}});
      kernel.stages.emplace_back(packing(kernel, contract.panel, copy));
    }
  }
  kernel.stages.emplace_back(contract);
  return kernel;
}

int vector_spills(const Kernel& kernel, const Target& target) {
  const std::string text = generate_code(std::span(&kernel, 1), target, CodeForm::assembly).code;
  int count = 0;
  for (std::string_view size : {"16-byte Spill", "32-byte Spill", "64-byte Spill"}) {
    for (std::size_t place = text.find(size); place != std::string::npos;
         place = text.find(size, place + 1)) {
      ++count;
    }
  }
  return count;
}

constexpr int kChains = 12;  // enough to hide the latency of two units
constexpr std::int64_t kSteps = 100'000;

__attribute__((target("avx512f"))) float chains_512(float seed) {
  __m512 x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm512_set1_ps(seed + static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.5f);
  for (std::int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm512_fmadd_ps(x[i], factor, factor);
  }
  __m512 sum = x[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, x[i]);
  return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"))) float chains_256(float seed) {
  __m256 x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm256_set1_ps(seed + static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.5f);
  for (std::int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm256_fmadd_ps(x[i], factor, factor);
  }
  __m256 sum = x[0];
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_ps(sum, x[i]);
  return _mm256_cvtss_f32(sum);
}

/// GFLOP/s of independent chains of fma in registers.
double measure_peak(const Target& target, float& sink) {
  const auto start = Clock::now();
  sink += target.avx512 ? chains_512(sink) : chains_256(sink);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const double operations = 2.0 * kSteps * kChains * (target.avx512 ? 16 : 8);
  return operations / seconds * 1e-9;
}

struct Rate {
  double best = 0, median = 0, peak = 0;  // GFLOP/s
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

Rate measure(const Problem& p, const Kernel& kernel, const Target& target) {
  const MachineCode code = compile(std::span(&kernel, 1), target, 1);
  std::vector<Tensor> tensors;
  std::vector<std::byte*> pointers;
  for (const Buffer& buffer : kernel.buffers) {
    if (buffer.role == BufferRole::scratch) continue;
    tensors.emplace_back(buffer.type);
    for (std::size_t i = 0; float& x : tensors.back().as<float>()) {
      x = static_cast<float>(i++ % 17) * 0.25f - 2.0f;
    }
    pointers.push_back(tensors.back().bytes.data());
  }
  std::vector<std::byte, AlignedAllocator<std::byte>> scratch(
      static_cast<std::size_t>(code.kernels[0].scratch_bytes));
  const double operations = 2.0 * static_cast<double>(p.m * p.n * p.k);
  const int calls = std::max(1, static_cast<int>(2e8 / operations));  // a few milliseconds
  const FloatEnvironment environment;
  std::vector<double> rates, peaks;
  float sink = 1;
  constexpr int kSamples = 15;
  for (int sample = -2; sample < kSamples; ++sample) {  // the first ones warm up
    peaks.push_back(measure_peak(target, sink));
    runtime::FaultWord fault = 0;
    const auto start = Clock::now();
    for (int call = 0; call < calls; ++call) {
      code.kernels[0].function(pointers.data(), scratch.data(), 0, 1, &fault);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (sample >= 0) rates.push_back(operations * calls / seconds * 1e-9);
  }
  // The chains' result must be used, or the compiler drops them.
  return {std::ranges::max(rates), median(rates), median(peaks) + 0 * static_cast<double>(sink)};
}

int run(std::string_view set_name, std::string_view part) {
  const std::optional<InstructionSet> set = parse_instruction_set(set_name);
  if (!set || *set == InstructionSet::x86_64 || !host_supports(*set)) {
    fmt::print(stderr, "no fused multiply-add for '{}' on this machine\n", set_name);
    return 2;
  }
  const Target target = make_target(*set);
  fmt::print("{:26} {:>13} {:>5} {:>9} {:>9} {:>7} {:>7} {:>6}\n", "problem", "m x n x k", "tile",
             "best", "median", "of peak", "peak", "spills");
  for (const Problem& p : problems()) {
    if (p.name.find(part) == std::string::npos) continue;
    const Kernel kernel = kernel_of(p, target);
    const RegisterTile tile = std::get<Contract>(kernel.stages.back()).tile;
    const Rate rate = measure(p, kernel, target);
    fmt::print("{:26} {:>13} {:>5} {:9.1f} {:9.1f} {:6.1f}% {:7.1f} {:6}\n", p.name,
               fmt::format("{}x{}x{}", p.m, p.n, p.k),
               fmt::format("{}x{}", tile.rows, tile.vectors), rate.best, rate.median,
               100 * rate.median / rate.peak, rate.peak, vector_spills(kernel, target));
  }
  return 0;
}

}  // namespace
}  // namespace gradus::codegen

int main(int count, char** arguments) {
  return gradus::codegen::run(count > 1 ? arguments[1] : "native", count > 2 ? arguments[2] : "");
}
