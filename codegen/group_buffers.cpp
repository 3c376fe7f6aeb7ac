#include "codegen/group_buffers.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/each_access.h"
#include "ir/op.h"

namespace gradus::codegen {

using ir::NodeId;

BufferId GroupBuffers::parameter(Parameter memory, const TensorType& type, bool written) {
  if (const auto state = plan_.in_place.find(memory.value); state != plan_.in_place.end()) {
    memory.value = state->second;
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i] == memory && kernel_.buffers[i].type == type) {
      mark_use(static_cast<BufferId>(i), written);
      return static_cast<BufferId>(i);
    }
  }
  const auto id = static_cast<BufferId>(kernel_.buffers.size());
  kernel_.buffers.push_back({unique_name(buffer_name(memory)),
                             type,
                             written ? BufferRole::output : BufferRole::input,
                             {}});
  parameters_.push_back(memory);
  return id;
}

void GroupBuffers::mark_use(BufferId id, bool written) {
  BufferRole& role = kernel_.buffers[static_cast<std::size_t>(id)].role;
  const BufferRole now = written ? BufferRole::output : BufferRole::input;
  if (role != now) role = BufferRole::in_out;
}

/// One memory may be a parameter in several shapes.
std::string GroupBuffers::unique_name(const std::string& name) const {
  const auto taken = [&](const std::string& wanted) {
    return std::ranges::any_of(kernel_.buffers,
                               [&](const Buffer& buffer) { return buffer.name == wanted; });
  };
  std::string result = name;
  for (int i = 2; taken(result); ++i) {
    result = name.back() == '"' ? fmt::format("{}_{}\"", name.substr(0, name.size() - 1), i)
                                : fmt::format("{}_{}", name, i);
  }
  return result;
}

std::string GroupBuffers::buffer_name(const Parameter& memory) const {
  const ir::Node& node = graph_.node(memory.value);
  const std::string_view prefix = memory.panel > 0 ? "panels" : "v";
  if (std::holds_alternative<ir::InputComputation>(node.op->compute) && memory.panel == 0) {
    return fmt::format("\"{}\"", node.attributes.get<std::string>("name"));
  }
  return fmt::format("{}{}", prefix, memory.value);
}

void GroupBuffers::drop_newest() {
  parameters_.pop_back();
  kernel_.buffers.pop_back();
}

namespace {

/// Matrices that lie behind each other at a multiple of this many bytes share the sets of a first
/// cache: a loop that goes through several of them at once would evict its own lines.
constexpr std::int64_t kAliasingStride = 2048;

/// Gives the matrices of a batch, all dimensions from the first local one, another distance where
/// theirs would alias: one position more in the innermost dimension but the last where that helps.
void space_matrices(Buffer& buffer) {
  const auto first = std::ranges::find_if(buffer.local, [](AxisId axis) { return axis >= 0; });
  if (first == buffer.local.begin() || first == buffer.local.end()) return;
  const auto begin = static_cast<std::size_t>(first - buffer.local.begin());
  Shape& shape = buffer.type.shape;
  const auto aliases = [&] {
    std::int64_t bytes = byte_size(buffer.type.element);
    for (std::size_t d = begin; d < shape.size(); ++d) bytes *= shape[d];
    return bytes % kAliasingStride == 0;
  };
  for (std::size_t d = shape.size() - 1; d-- > begin && aliases();) {
    ++shape[d];
    if (aliases()) --shape[d];
  }
}

}  // namespace

BufferId GroupBuffers::scratch(NodeId id) {
  const auto [at, added] =
      scratch_ids_.emplace(id, -1 - static_cast<BufferId>(scratch_ids_.size()));
  if (added) {
    Buffer buffer{fmt::format("s{}", id), graph_.node(id).types[0], BufferRole::scratch, {}};
    const std::vector<int>& slots = loops_.iteration(id).result_slot;
    for (std::size_t a = 0; a < slots.size(); ++a) {
      const AxisId axis =
          slots[a] < 0 ? -1 : loops_.axes_of(id)[static_cast<std::size_t>(slots[a])];
      const bool local = axis >= 0 && loops_.is_local(axis);
      buffer.local.push_back(local ? axis : -1);
      if (local) buffer.type.shape[a] = loops_.local_extent(axis);
    }
    space_matrices(buffer);
    pending_scratch_.push_back(std::move(buffer));
  }
  return at->second;
}

void GroupBuffers::finish() {
  const auto first = static_cast<BufferId>(kernel_.buffers.size());
  for (Buffer& buffer : pending_scratch_) kernel_.buffers.push_back(std::move(buffer));
  for (Stage& stage : kernel_.stages) {
    each_access(stage, [&](Access& access) {
      if (access.buffer < 0) access.buffer = first - 1 - access.buffer;
    });
  }
}

}  // namespace gradus::codegen
