#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/diagnostic.h"
#include "tools/cache.h"
#include "tools/commands.h"
#include "tools/memory_report.h"

namespace gradus::tools {

void print_json(const nlohmann::ordered_json& object) {
  nlohmann::ordered_json all{{"version", kJsonVersion}};
  all.update(object);
  std::cout << all << std::endl;
}

std::vector<std::string> instruction_set_names() {
  std::vector<std::string> names;
  for (codegen::InstructionSet set : codegen::kInstructionSets) names.emplace_back(to_string(set));
  return names;
}

void add_isa(CLI::App& command, std::string& isa) {
  command.add_option("--isa", isa, "Instruction set")
      ->check(CLI::IsMember(instruction_set_names()));
}

codegen::InstructionSet runnable_set(const std::string& isa) {
  const codegen::InstructionSet set = *codegen::parse_instruction_set(isa);
  if (codegen::host_supports(set)) return set;
  throw UserError("E2001", "this machine cannot run code for " + isa);
}

codegen::DebugOptions debug_lines() {
  std::error_code error;  // the folder may be gone: then relative paths stay as they are
  return {.lines = true,
          .gdb = false,
          .perf = false,
          .directory = std::filesystem::current_path(error).string()};
}

void ModelOptions::add_file_to(CLI::App& command) {
  command.add_option("model", file, "Model file (JSON)")->required();
  command.add_option("--set", overrides, "Overrides a value of the file: key.path=value")
      ->take_all();
  command.add_flag("--json", json, kJsonHelp);
}

void ModelOptions::add_to(CLI::App& command, bool runs) {
  add_file_to(command);
  if (runs) {
    add_isa(command, isa);
    command
        .add_option("--debug", debug,
                    "Shows kernels, with their lines of the model, to gdb, perf (jitdump) or both")
        ->envname("GRADUS_DEBUG")
        ->delimiter(',')
        ->check(CLI::IsMember({"gdb", "perf"}));
  }
  command.add_option("--threads", threads, "Worker threads (default: one per core)")
      ->envname("GRADUS_THREADS")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--no-fuse", no_fuse, "One kernel per op");
  command.add_flag("--no-cache", no_cache, "Compile anew what earlier runs have compiled");
  command.add_option("--memory", memory,
                     "Most memory that weights, slots, activations, scratch and batches may take, "
                     "such as 512M: what does not fit is computed again, or refused");
}

void ModelOptions::add_tune_to(CLI::App& command) {
  command.add_flag("--tune", tune,
                   "Times several schedules of each contraction and takes the fastest, which later "
                   "runs with --tune remember: other speed, same bits");
}

codegen::CodeStore* ModelOptions::store() const {
  if (!no_cache && !store_) store_ = open_code_store();
  return store_.get();
}

codegen::Tuner* ModelOptions::tuner() const {
  if (tune && !tuner_) {
    const auto timer = [threads = workers()](auto schedules, const codegen::Target& target) {
      return codegen::measure_schedules(schedules, target, threads);
    };
    tuner_ = std::make_shared<codegen::MeasuringTuner>(store(), timer);
  }
  return tuner_.get();
}

nlohmann::ordered_json ModelOptions::tuned() const {
  if (!tuner_) return nullptr;
  return {{"measured", tuner_->measured()}, {"remembered", tuner_->remembered()}};
}

codegen::MemoryLimit ModelOptions::memory_limit() const {
  return {memory.empty() ? 0 : parse_size(memory, "--memory"), workers()};
}

frontend::Model ModelOptions::model() const { return {file, read_text(file), overrides}; }

int ModelOptions::workers() const {
  if (threads > 0) return threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

codegen::CompileOptions ModelOptions::compile_options() const {
  const auto told = [&](std::string_view tool) {
    return std::ranges::find(debug, tool) != debug.end();
  };
  codegen::DebugOptions shown;
  if (!debug.empty()) shown = debug_lines();
  shown.gdb = told("gdb");
  shown.perf = told("perf");
  return {runnable_set(isa), !no_fuse, workers(), store(), std::move(shown), tuner()};
}

}  // namespace gradus::tools
