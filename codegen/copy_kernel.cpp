#include "codegen/copy_kernel.h"

#include "codegen/schedule.h"

namespace gradus::codegen {

Kernel copy_kernel(const std::string& name, const TensorType& type, bool in_loop) {
  Kernel kernel;
  kernel.name = name;
  const TensorType flat{type.element, {type.element_count()}};
  kernel.axes.push_back({"i", flat.shape[0], -1});
  kernel.buffers.push_back({"from", flat, BufferRole::input, {}});
  kernel.buffers.push_back({"to", flat, BufferRole::output, {}});
  const std::vector<Affine> index{{{{0, 1}}, 0, 1}};
  Loop loop;
  loop.axes = {0};
  loop.body.loads.push_back({{0, index}, {}});
  ir::ScalarBuilder builder({type.element});
  loop.body.program = builder.finish({builder.operand(0)});
  loop.stores.push_back({{1, index}, 0});
  ir::Cut cut{flat.shape[0], 1, 1};
  const bool has_rows = type.rank() > 1 && flat.shape[0] > 0;
  const auto rows = in_loop && has_rows ? rows_in_loop(type.shape[0]) : std::nullopt;
  if (rows) cut = {flat.shape[0], rows->count, rows->unit * (flat.shape[0] / type.shape[0])};
  kernel.tasks.push_back({0, cut});
  kernel.stages.push_back(std::move(loop));
  return kernel;
}

bool is_copy(const Kernel& kernel) {
  if (kernel.buffers.size() != 2 || kernel.stages.size() != 1) return false;
  const auto* loop = std::get_if<Loop>(&kernel.stages[0]);
  if (loop == nullptr || loop->stores.size() != 1) return false;
  const Kernel plain = copy_kernel({}, kernel.buffers[0].type);
  const auto& copying = std::get<Loop>(plain.stages[0]);
  const auto alike = [&](std::size_t buffer) {
    return kernel.buffers[buffer].type == plain.buffers[buffer].type &&
           kernel.buffers[buffer].role == plain.buffers[buffer].role;
  };
  return alike(0) && alike(1) && kernel.axes.size() == 1 &&
         kernel.axes[0].extent == plain.axes[0].extent && loop->axes == copying.axes &&
         loop->body.loads == copying.body.loads && loop->body.program == copying.body.program &&
         loop->stores[0].target == copying.stores[0].target && loop->accumulates.empty() &&
         loop->ordered.empty();
}

}  // namespace gradus::codegen
