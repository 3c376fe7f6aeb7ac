#include "codegen/copy_kernel.h"

namespace gradus::codegen {

Kernel copy_kernel(const std::string& name, const TensorType& type) {
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
  kernel.tasks.push_back({0, {flat.shape[0], 1, 1}});
  kernel.stages.push_back(std::move(loop));
  return kernel;
}

}  // namespace gradus::codegen
