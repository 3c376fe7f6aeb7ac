#include "codegen/emit_identity.h"

#include <type_traits>

#include "base/overloaded.h"

namespace gradus::codegen {
namespace {

class Writer {
 public:
  std::string bytes;
  bool words = true;  // constants of 32 bits too

  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T value) {
    const auto wide = static_cast<std::int64_t>(value);
    bytes.append(reinterpret_cast<const char*>(&wide), sizeof(wide));
  }
  template <typename T>
  void operator()(const std::vector<T>& values) {
    (*this)(values.size());
    for (const T& value : values) (*this)(value);
  }
  template <typename... T>
    requires(sizeof...(T) > 1)
  void operator()(const T&... values) {
    ((*this)(values), ...);
  }
  void operator()(const Axis& axis) { (*this)(axis.extent, axis.block_of); }
  void operator()(const ir::Cut& cut) { (*this)(cut.extent, cut.count, cut.unit); }
  void operator()(const TaskAxis& task) { (*this)(task.axis, task.cut); }
  void operator()(const Buffer& buffer) {
    (*this)(buffer.type.element, buffer.type.shape, buffer.role, buffer.local);
  }
  void operator()(const Term& term) { (*this)(term.axis, term.coefficient); }
  void operator()(const Affine& index) { (*this)(index.terms, index.offset, index.divisor); }
  void operator()(const Access& access) {
    (*this)(access.buffer, access.index);
    (*this)(access.pick ? access.pick->dimension : -1, access.pick ? access.pick->operand : -1);
  }
  void operator()(const Guard& guard) { (*this)(guard.value, guard.extent); }
  void operator()(const Load& load) { (*this)(load.access, load.guards); }
  void operator()(const ir::ScalarInstruction& i) {
    (*this)(i.op, i.type, i.arguments[0], i.arguments[1], i.arguments[2]);
    if (words || i.op != ir::ScalarOp::constant || i.type != ElementType::u32) (*this)(i.immediate);
  }
  void operator()(const Body& body) {
    (*this)(body.loads, body.program.operand_types, body.program.code);
    (*this)(body.program.results, body.fault_nodes);
  }
  void operator()(const Store& store) { (*this)(store.target, store.value); }
  void operator()(const Accumulate& a) { (*this)(a.kind, a.target, a.value, a.over, a.lanes); }
  void operator()(const Loop& loop) {
    (*this)(loop.axes, loop.body, loop.stores, loop.accumulates, loop.ordered);
  }
  void operator()(const Contract& c) {
    (*this)(c.batch, c.rows, c.n, c.k, c.parts, c.lhs, c.rhs, c.panel, c.copied);
    (*this)(c.tile.rows, c.tile.vectors, c.tile.lines, c.chunk.axis, c.chunk.size, c.order,
            c.epilogue, c.stores);
    (*this)(c.half_plane.has_value());
    if (c.half_plane) (*this)(c.half_plane->low, c.half_plane->high, c.half_plane->offset);
  }
  void operator()(const Stage& stage) {
    (*this)(stage.index());
    std::visit(*this, stage);
  }
};

std::string bytes_of(const Kernel& kernel, Writer write) {
  write(kernel.axes, kernel.tasks, kernel.buffers, kernel.stages);
  if (kernel.tile) write(kernel.tile->axis, kernel.tile->size);
  return std::move(write.bytes);
}

}  // namespace

std::string kernel_identity(const Kernel& kernel) { return bytes_of(kernel, {}); }

std::string kernel_family(const Kernel& kernel) {
  Writer write;
  write.words = false;
  return bytes_of(kernel, std::move(write));
}

std::int64_t compile_cost(const Kernel& kernel) {
  std::int64_t cost = 20;
  for (const Stage& stage : kernel.stages) {
    cost += std::visit(overloaded{[](const Loop& loop) {
                                    return 20 +
                                           static_cast<std::int64_t>(loop.body.program.code.size());
                                  },
                                  [](const Contract& contract) {
                                    return 100 + 4 * std::int64_t{contract.tile.lines} *
                                                     contract.tile.rows * contract.tile.vectors;
                                  }},
                       stage);
  }
  return cost;
}

}  // namespace gradus::codegen
