#pragma once

// A model file brought to the point where it can run: what all commands share.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "codegen/stored_program.h"
#include "frontend/model.h"
#include "runtime/data/batches.h"
#include "runtime/data/source.h"
#include "runtime/metrics.h"
#include "runtime/programs.h"

namespace gradus::tools {

/// The text of a file. Throws UserError E4001.
[[nodiscard]] std::string read_text(const std::string& path);

[[nodiscard]] runtime::StateLayout layout_of(const frontend::Model& model);
/// The data of the model file, checked against the inputs.
[[nodiscard]] runtime::DataSplits load_data_of(const frontend::Model& model);
[[nodiscard]] std::vector<runtime::Metric> metrics_of(const frontend::Model& model);
[[nodiscard]] std::vector<std::string> losses_of(const frontend::Model& model);
/// The losses, then the metrics.
[[nodiscard]] std::vector<runtime::Metric> losses_and_metrics_of(const frontend::Model& model);
/// The state of generation: what it reads of training's, and what it carries.
[[nodiscard]] runtime::StateLayout layout_of(const frontend::Model& model,
                                             const frontend::DecodeProgram& program);

/// A program as the frontend builds it, and the state that it runs on.
struct BuiltProgram {
  ir::Graph graph;
  runtime::StateLayout layout;
};
/// Throws UserError E0214 where the model has no such program.
[[nodiscard]] BuiltProgram build_program(const frontend::Model& model, runtime::Program program,
                                         std::int64_t batch);
[[nodiscard]] inline ir::Graph graph_of(const frontend::Model& model, runtime::Program program,
                                        std::int64_t batch) {
  return build_program(model, program, batch).graph;
}

/// What compiling a program took, stage by stage in order.
struct CompileTime {
  runtime::Program program;
  std::int64_t batch = 0;
  double seconds = 0;
  std::vector<codegen::StageSeconds> stages;
  std::size_t cached_modules = 0;  // of machine code
  std::size_t compiled_modules = 0;
};

/// Compiles programs when they are first asked for and keeps them.
class ProgramCache {
 public:
  using Key = std::pair<runtime::Program, std::int64_t>;  // for this many examples

  ProgramCache(const frontend::Model& model, codegen::CompileOptions options,
               codegen::MemoryLimit limit = {});

  /// Throws UserError E5002 when the program does not fit the limit.
  [[nodiscard]] const runtime::Executable& get(runtime::Program program, std::int64_t batch);
  /// Compiles programs that will be asked for, at the same time. Throws as `get`.
  void prepare(const std::vector<Key>& keys);
  /// What a program that has been compiled takes.
  [[nodiscard]] const codegen::MemoryUse& memory(runtime::Program program,
                                                 std::int64_t batch) const {
    return known_.at({program, batch}).program.memory;
  }
  /// For the runtime; valid while the cache lives.
  [[nodiscard]] runtime::Programs programs();
  /// Of all programs compiled so far.
  [[nodiscard]] const std::vector<CompileTime>& times() const { return times_; }
  /// By the clock.
  [[nodiscard]] double compile_seconds() const { return seconds_; }

 private:
  struct Compiled {
    codegen::CompiledProgram program;
    CompileTime time;
  };
  [[nodiscard]] Compiled compile(const Key& key) const;

  const frontend::Model& model_;
  codegen::CompileOptions options_;
  codegen::MemoryLimit limit_;
  runtime::StateLayout layout_;
  std::map<Key, Compiled> known_;
  std::vector<CompileTime> times_;
  double seconds_ = 0;
};

}  // namespace gradus::tools
