#pragma once

// The buffers of a fusion group's kernel: parameters as they are asked for, then scratch.

#include <map>
#include <string>
#include <vector>

#include "codegen/group_loops.h"
#include "codegen/schedule.h"

namespace gradus::codegen {

class GroupBuffers {
 public:
  /// Adds buffers to `kernel`; everything given outlives this.
  GroupBuffers(const ir::Graph& graph, const passes::FusionPlan& plan, const GroupLoops& loops,
               Kernel& kernel)
      : graph_(graph), plan_(plan), loops_(loops), kernel_(kernel) {}

  /// The parameter that holds `memory` under `type` (a view may have another shape).
  BufferId parameter(Parameter memory, const TensorType& type, bool written);
  /// What the parameters so far hold.
  [[nodiscard]] const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Takes back the newest parameter.
  void drop_newest();

  /// The scratch buffer of root `id`; scratch ids are negative until `finish`.
  BufferId scratch(ir::NodeId id);

  /// Puts scratch behind the parameters; accesses of the kernel's stages get their final ids.
  void finish();

 private:
  void mark_use(BufferId id, bool written);
  [[nodiscard]] std::string unique_name(const std::string& name) const;
  [[nodiscard]] std::string buffer_name(const Parameter& memory) const;

  const ir::Graph& graph_;
  const passes::FusionPlan& plan_;
  const GroupLoops& loops_;
  Kernel& kernel_;
  std::vector<Parameter> parameters_;
  std::map<ir::NodeId, BufferId> scratch_ids_;
  std::vector<Buffer> pending_scratch_;
};

}  // namespace gradus::codegen
