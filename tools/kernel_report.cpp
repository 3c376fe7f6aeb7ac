#include "tools/kernel_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/overloaded.h"
#include "codegen/jit.h"

namespace gradus::tools {
namespace {

using Json = nlohmann::ordered_json;
using codegen::Kernel;

std::string axes_text(const Kernel& kernel, const std::vector<codegen::AxisId>& axes) {
  std::string text;
  for (codegen::AxisId axis : axes) {
    text += (text.empty() ? "" : ", ") + kernel.axes[static_cast<std::size_t>(axis)].name;
  }
  return text;
}

/// Of a register tile: accumulators, a row of rhs and an element of lhs.
std::int64_t registers_of(const codegen::RegisterTile& tile) {
  return std::int64_t{tile.lines} * tile.rows * tile.vectors + tile.vectors + 1;
}

std::string tile_text(const codegen::RegisterTile& tile) {
  return (tile.lines > 1 ? fmt::format("{} x ", tile.lines) : "") +
         fmt::format("{} x {}", tile.rows, tile.vectors);
}

/// The best few candidates for a contraction, and the chosen one.
std::vector<codegen::Candidate> shown_candidates(const codegen::ScheduledKernel& scheduled) {
  constexpr std::size_t kShown = 4;
  std::vector<codegen::Candidate> shown;
  for (const std::size_t i : codegen::shortlist(scheduled.considered, kShown)) {
    shown.push_back(scheduled.considered[i]);
  }
  const codegen::Candidate& chosen = scheduled.considered.at(scheduled.chosen);
  if (std::ranges::none_of(shown, [&](const auto& c) { return c.choice == chosen.choice; })) {
    shown.push_back(chosen);
  }
  return shown;
}

Json stage_json(const Kernel& kernel, const codegen::Stage& stage) {
  Json json;
  std::visit(overloaded{[&](const codegen::Loop& loop) {
                          json = {{"stage", "loop"}, {"axes", axes_text(kernel, loop.axes)}};
                        },
                        [&](const codegen::Contract& contract) {
                          json = {{"stage", "contract"},
                                  {"axes", axes_text(kernel, contract.result_axes())},
                                  {"over", axes_text(kernel, contract.k)},
                                  {"register_tile", tile_text(contract.tile)},
                                  {"vector_registers", registers_of(contract.tile)}};
                        }},
             stage);
  const std::string& from =
      std::visit([](const auto& s) -> const std::string& { return s.provenance; }, stage);
  json["from"] = from.empty() ? kernel.provenance : from;
  return json;
}

std::string tasks_text(const Kernel& kernel) {
  std::string text =
      fmt::format("{} task{}", kernel.task_count(), kernel.task_count() == 1 ? "" : "s");
  if (kernel.tile) {
    text +=
        fmt::format(", tile {} by {}", axes_text(kernel, {kernel.tile->axis}), kernel.tile->size);
  }
  return text;
}

void add_chain(const codegen::Plan& plan, std::size_t number, KernelReport& report) {
  for (const runtime::Chain& chain : plan.chains) {
    if (number < chain.first || number >= chain.first + chain.count) continue;
    report.units = chain.units;
    for (std::size_t i = chain.first; i < chain.first + chain.count; ++i) {
      report.chain.push_back(plan.kernels[i].kernel.name);
    }
  }
}

}  // namespace

KernelWork work_of(const runtime::Step& step) {
  KernelWork work{static_cast<double>(step.operations), 0, step.tasks};
  for (const runtime::BufferReference& buffer : step.buffers) {
    work.bytes += static_cast<double>(buffer.bytes);
  }
  return work;
}

double predicted_seconds(const KernelWork& work, const MachinePeak& peak, std::int64_t workers) {
  const double busy = static_cast<double>(std::clamp<std::int64_t>(work.tasks, 1, workers)) /
                      static_cast<double>(workers);
  return std::max(work.flops / (busy * peak.flops), work.bytes / (busy * peak.bytes));
}

std::vector<KernelReport> report_kernels(const codegen::Plan& plan, const codegen::Target& target,
                                         const MachinePeak& peak, const std::string& only) {
  std::vector<Kernel> kernels;
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < plan.kernels.size(); ++i) {
    if (!only.empty() && plan.kernels[i].kernel.name != only) continue;
    kernels.push_back(plan.kernels[i].kernel);
    numbers.push_back(i);
  }
  const codegen::GeneratedCode code = generate_code(kernels, target, codegen::CodeForm::llvm_ir);
  std::vector<KernelReport> reports;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const codegen::ScheduledKernel& scheduled = plan.kernels[numbers[i]];
    KernelReport& report = reports.emplace_back();
    report.kernel = &scheduled.kernel;
    report.symbol = code.symbols[i];
    report.flops = scheduled.operations;
    report.scratch_bytes = code.scratch_bytes[i];
    for (const codegen::Buffer& buffer : kernels[i].buffers) {
      using enum codegen::BufferRole;
      const std::int64_t bytes = buffer.type.byte_size();
      if (buffer.role == input || buffer.role == in_out) report.bytes_read += bytes;
      if (buffer.role == output || buffer.role == in_out) report.bytes_written += bytes;
    }
    const KernelWork work{static_cast<double>(report.flops),
                          static_cast<double>(report.bytes_read + report.bytes_written), 1};
    report.predicted_seconds = predicted_seconds(work, peak, 1);
    if (!scheduled.considered.empty()) {
      report.considered = shown_candidates(scheduled);
      report.chosen = scheduled.considered[scheduled.chosen].choice;
    }
    add_chain(plan, numbers[i], report);
    for (const runtime::Loop& loop : plan.loops) {
      if (numbers[i] >= loop.first && numbers[i] < loop.first + loop.count) {
        report.iterations = loop.length;
      }
    }
  }
  return reports;
}

std::string to_comments(const KernelReport& report, const codegen::Target& target) {
  const Kernel& kernel = *report.kernel;
  std::string text = "# " + tasks_text(kernel);
  for (const codegen::Stage& stage : kernel.stages) {
    if (const auto* contract = std::get_if<codegen::Contract>(&stage)) {
      text +=
          fmt::format("; register tile {}: {} of {} vector registers", tile_text(contract->tile),
                      registers_of(contract->tile), target.vector_registers());
    }
  }
  text += fmt::format(
      "\n# reads {} bytes, writes {}, scratch {} per worker; {} flops; predicted {:.2f} us\n",
      report.bytes_read, report.bytes_written, report.scratch_bytes, report.flops,
      1e6 * report.predicted_seconds);
  if (report.iterations > 1) text += fmt::format("# {} times\n", report.iterations);
  if (!report.chain.empty()) {
    text +=
        fmt::format("# {} units of the chain {}\n", report.units, fmt::join(report.chain, ", "));
  }
  for (const codegen::Candidate& candidate : report.considered) {
    text += fmt::format("# {} {}: {:.0f} cycles per task\n",
                        candidate.choice == report.chosen ? "chosen" : "or",
                        to_string(candidate.choice), candidate.cycles);
  }
  return text;
}

Json to_json(const KernelReport& report, const codegen::Target& target) {
  const Kernel& kernel = *report.kernel;
  Json stages = Json::array();
  for (const codegen::Stage& stage : kernel.stages) stages.push_back(stage_json(kernel, stage));
  Json tile;
  if (kernel.tile) {
    tile = {{"axis", axes_text(kernel, {kernel.tile->axis})}, {"size", kernel.tile->size}};
  }
  Json considered = Json::array();
  for (const codegen::Candidate& candidate : report.considered) {
    considered.push_back({{"choice", to_string(candidate.choice)},
                          {"cycles", candidate.cycles},
                          {"chosen", candidate.choice == report.chosen}});
  }
  return {{"name", kernel.name},
          {"from", kernel.provenance},
          {"symbol", report.symbol},
          {"tasks", kernel.task_count()},
          {"chain", report.chain},
          {"units", report.units},
          {"iterations", report.iterations},
          {"tile", tile},
          {"stages", stages},
          {"considered", considered},
          {"vector_registers", target.vector_registers()},
          {"scratch_bytes", report.scratch_bytes},
          {"bytes_read", report.bytes_read},
          {"bytes_written", report.bytes_written},
          {"flops", report.flops},
          {"predicted_seconds", report.predicted_seconds}};
}

}  // namespace gradus::tools
