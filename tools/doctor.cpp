#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "codegen/target.h"
#include "tools/cache.h"
#include "tools/commands.h"
#include "tools/machine_peak.h"

namespace gradus::tools {
namespace {

struct DoctorOptions {
  int threads = 0;  // 0: one per core
  bool json = false;
};

int doctor(const DoctorOptions& options) {
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const codegen::Target native = codegen::make_target(codegen::InstructionSet::native);
  nlohmann::ordered_json sets = nlohmann::ordered_json::array();
  std::string names;
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    if (!codegen::host_supports(set)) continue;
    sets.push_back(to_string(set));
    names += (names.empty() ? "" : ", ") + std::string(to_string(set));
  }
  runtime::Executor executor(threads);
  const MachinePeak peak = measure_peak(native, executor);
  const std::string folder = cache_folder();
  if (options.json) {
    print_json({{"processor", native.cpu},
                {"vector_bits", native.vector_bits},
                {"instruction_sets", sets},
                {"threads", threads},
                {"peak_flops", peak.flops},
                {"peak_copy_bytes", peak.bytes},
                {"cache", folder}});
    return 0;
  }
  std::cout << fmt::format(
      "processor         {} with vectors of {} bits\n"
      "instruction sets  {}\n"
      "threads           {}\n"
      "fma               {:.0f} GFLOP/s in f32, measured\n"
      "memory            {:.1f} GB/s copied, measured\n"
      "compiled code     {}\n",
      native.cpu, native.vector_bits, names, threads, 1e-9 * peak.flops, 1e-9 * peak.bytes,
      folder.empty() ? "is not kept" : "is kept in " + folder);
  return 0;
}

}  // namespace

void add_doctor(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("doctor", "What this machine is and can do");
  command->footer("Example: gradus doctor --threads 1");
  auto options = std::make_shared<DoctorOptions>();
  command->add_option("--threads", options->threads, "Worker threads (default: one per core)")
      ->envname("GRADUS_THREADS")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, kJsonHelp);
  command->callback([options, &status] { status = doctor(*options); });
}

}  // namespace gradus::tools
