#include "tools/subject.h"

#include <algorithm>
#include <cstring>

#include "base/philox.h"

namespace gradus::tools {

void fill_randomly(const TensorType& type, const RandomStream& random, std::span<std::byte> bytes) {
  dispatch(type.element, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = 0; i < type.element_count(); ++i) {
      const auto word =
          philox4x32({static_cast<std::uint32_t>(i), random.stream, 0, 0}, {1, random.seed})[0];
      T value{};
      if constexpr (std::is_floating_point_v<T>) {
        value = static_cast<T>(word / 0x1p31 - 1);
      } else {
        value = static_cast<T>(word >> 31);
      }
      std::memcpy(bytes.data() + i * byte_size(type.element), &value, sizeof value);
    }
  });
}

Subject random_subject(ir::Graph graph, std::uint32_t seed) {
  Subject subject{std::move(graph), {}, {}, {}, {}};
  for (ir::NodeId id : subject.graph.inputs()) {
    const ir::Node& node = subject.graph.node(id);
    if (node.attributes.get<std::string>("kind") == to_string(ir::InputKind::state)) {
      subject.layout.add(node.attributes.get<std::string>("name"), node.types[0],
                         runtime::StateKind::parameter);
    } else {
      Tensor& input = subject.inputs.emplace_back(node.types[0]);
      fill_randomly(input.type, {id, seed}, input.bytes);
    }
  }
  constexpr std::int64_t kLeastBytes = 64;
  subject.state =
      runtime::allocate(std::max(subject.layout.bytes, kLeastBytes), "the graph's state");
  constexpr std::uint32_t kStateStreams = 1u << 31;
  for (std::uint32_t i = 0; const runtime::StateEntry& entry : subject.layout.entries) {
    fill_randomly(entry.type, {kStateStreams + i++, seed},
                  std::span(subject.state)
                      .subspan(static_cast<std::size_t>(entry.offset),
                               static_cast<std::size_t>(entry.type.byte_size())));
  }
  subject.what = subject.graph.name();
  return subject;
}

std::map<std::string, Tensor> inputs_by_name(const Subject& subject) {
  std::map<std::string, Tensor> inputs;
  std::size_t number = 0;
  for (ir::NodeId id : subject.graph.inputs()) {
    const auto& name = subject.graph.node(id).attributes.get<std::string>("name");
    if (const runtime::StateEntry* entry = subject.layout.find(name)) {
      Tensor& value = inputs.emplace(name, entry->type).first->second;
      std::memcpy(value.bytes.data(), subject.state.data() + entry->offset, value.bytes.size());
    } else {
      inputs.emplace(name, subject.inputs[number++]);
    }
  }
  return inputs;
}

}  // namespace gradus::tools
