#include "codegen/target.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/TargetParser/Host.h>

#include <algorithm>
#include <array>
#include <vector>

namespace gradus::codegen {
namespace {

constexpr std::string_view kNames[] = {"native", "x86-64", "x86-64-v3", "x86-64-v4", "aarch64"};

// What distinguishes the levels of the x86-64 psABI, as far as kernels use it.
constexpr std::array kLevel3 = {"avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe"};
constexpr std::array kLevel4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"};

// Processors with AVX-512 that have one unit for fma of 512 bits, or two of 256.
constexpr std::array<std::string_view, 5> kOneWideFma = {"cannonlake", "icelake-client",
                                                         "rocketlake", "tigerlake", "znver4"};

using Features = llvm::StringMap<bool>;

template <typename Names>
bool has_all(const Features& features, const Names& names) {
  return std::ranges::all_of(names, [&](const char* name) { return features.lookup(name); });
}

Target native_target() {
  const Features features = llvm::sys::getHostCPUFeatures();
  Target target{
      .set = InstructionSet::native, .cpu = llvm::sys::getHostCPUName().str(), .features = ""};
  std::vector<std::string> listed;
  for (const auto& feature : features) {
    listed.push_back((feature.second ? "+" : "-") + feature.first().str());
  }
  std::ranges::sort(listed);  // the map's order is not deterministic
  for (const std::string& feature : listed) {
    target.features += (target.features.empty() ? "" : ",") + feature;
  }
  target.avx512 = has_all(features, kLevel3) && has_all(features, kLevel4);
  target.vector_bits = target.avx512 ? 512 : has_all(features, kLevel3) ? 256 : 128;
  target.fma = features.lookup("fma");
  if (target.avx512 && std::ranges::find(kOneWideFma, target.cpu) != kOneWideFma.end()) {
    target.vectors_per_cycle = 1;
  }
  return target;
}

}  // namespace

std::string_view to_string(InstructionSet set) { return kNames[static_cast<std::size_t>(set)]; }

std::optional<InstructionSet> parse_instruction_set(std::string_view name) {
  for (InstructionSet set : kInstructionSets) {
    if (to_string(set) == name) return set;
  }
  return std::nullopt;
}

Target make_target(InstructionSet set) {
  switch (set) {
    case InstructionSet::native:
      return native_target();
    case InstructionSet::x86_64:
      break;
    case InstructionSet::x86_64_v3:
      return {.set = set, .cpu = "x86-64-v3", .features = "", .vector_bits = 256, .fma = true};
    case InstructionSet::x86_64_v4:
      return {.set = set,
              .cpu = "x86-64-v4",
              .features = "",
              .vector_bits = 512,
              .fma = true,
              .avx512 = true};
    case InstructionSet::aarch64:
      return {.set = set, .cpu = "generic", .features = "+neon", .fma = true};
  }
  return {.set = InstructionSet::x86_64, .cpu = "x86-64", .features = ""};
}

bool host_supports(InstructionSet set) {
  if (set == InstructionSet::aarch64) return false;
  if (set == InstructionSet::native || set == InstructionSet::x86_64) return true;
  const Features features = llvm::sys::getHostCPUFeatures();
  return has_all(features, kLevel3) &&
         (set == InstructionSet::x86_64_v3 || has_all(features, kLevel4));
}

InstructionSet greatest_supported() {
  for (InstructionSet set : {InstructionSet::x86_64_v4, InstructionSet::x86_64_v3}) {
    if (host_supports(set)) return set;
  }
  return InstructionSet::x86_64;
}

}  // namespace gradus::codegen
