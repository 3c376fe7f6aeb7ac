#include "codegen/text_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <sstream>

#include "base/overloaded.h"
#include "base/text_lines.h"
#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

template <typename Items, typename Function>
std::string join(const Items& items, std::string_view separator, Function&& spell) {
  std::string text;
  for (const auto& item : items) {
    if (!text.empty()) text += separator;
    text += spell(item);
  }
  return text;
}

std::string_view role_name(BufferRole role) {
  constexpr std::string_view names[] = {"in", "out", "inout", "scratch"};
  return names[static_cast<std::size_t>(role)];
}

class Printer {
 public:
  explicit Printer(const Kernel& kernel) : kernel_(kernel) {}

  std::string print() {
    text_ = "kernel " + quote(kernel_.name) + from(kernel_.provenance) + " {\n";
    if (!kernel_.axes.empty()) {
      line(2,
           "axes " + join(kernel_.axes, ", ", [&](const Axis& axis) { return declaration(axis); }));
    }
    if (!kernel_.tasks.empty()) {
      line(2, "tasks " + join(kernel_.tasks, ", ", [&](const TaskAxis& task) {
                return name(task.axis) + " in " + cut(task.cut);
              }));
    }
    if (kernel_.tile)
      line(2, fmt::format("tile {} by {}", name(kernel_.tile->axis), kernel_.tile->size));
    for (const Buffer& buffer : kernel_.buffers) print(buffer);
    for (const Stage& stage : kernel_.stages) {
      std::visit([&](const auto& s) { print(s); }, stage);
      line(2, "}");
    }
    return text_ + "}\n";
  }

 private:
  void line(int indent, std::string_view content) {
    text_ += fmt::format("{:{}}{}\n", "", indent, content);
  }
  [[nodiscard]] std::string name(AxisId axis) const {
    return axis < 0 ? "-" : kernel_.axes[static_cast<std::size_t>(axis)].name;
  }
  [[nodiscard]] std::string names(const std::vector<AxisId>& axes) const {
    return join(axes, ", ", [&](AxisId axis) { return name(axis); });
  }
  [[nodiscard]] std::string role(const std::vector<AxisId>& axes) const {
    return axes.size() == 1 ? name(axes[0]) : "(" + names(axes) + ")";
  }
  [[nodiscard]] std::string declaration(const Axis& axis) const {
    if (axis.block_of >= 0) return axis.name + " = block of " + name(axis.block_of);
    return fmt::format("{} = {}", axis.name, axis.extent);
  }
  [[nodiscard]] static std::string cut(const ir::Cut& cut) {
    return fmt::format("{}{}", cut.count, cut.unit == 1 ? "" : fmt::format(" unit {}", cut.unit));
  }
  [[nodiscard]] static std::string from(const std::string& provenance) {
    return provenance.empty() ? "" : " from " + quote(provenance);
  }
  void print(const Buffer& buffer) {
    std::string text = fmt::format("{} {} : {}", role_name(buffer.role), buffer.name,
                                   gradus::to_string(buffer.type));
    if (!buffer.local.empty()) text += " local " + names(buffer.local);
    line(2, text);
  }
  void print(const Loop& loop) {
    const std::string ordered = loop.ordered.empty() ? "" : " ordered " + names(loop.ordered);
    line(2, (loop.axes.empty() ? "loop" : "loop " + names(loop.axes)) + ordered +
                from(loop.provenance) + " {");
    print(loop.body, 0);
    print_stores(loop.stores, loop.body);
    for (const Accumulate& a : loop.accumulates) {
      line(4, fmt::format("reduce {} = {} {}{}{}", to_string(a.target, kernel_), to_string(a.kind),
                          result(loop.body, a.value),
                          a.over.empty() ? "" : " over " + names(a.over), a.lanes ? " lanes" : ""));
    }
  }
  [[nodiscard]] std::string admitted(const Contract& c) const {
    if (!c.half_plane) return "";
    const Affine border{{{c.half_plane->high, 1}}, c.half_plane->offset};
    return fmt::format(" where {} <= {}", name(c.half_plane->low), to_string(border, kernel_.axes));
  }
  void print(const Contract& c) {
    const std::string batch = c.batch.empty() ? "" : "[" + names(c.batch) + "] ";
    const std::string lines = c.tile.lines > 1 ? fmt::format("{} x ", c.tile.lines) : "";
    const std::string chunk =
        c.chunk.size > 0
            ? fmt::format(" chunk {} by {}", name(c.k[static_cast<std::size_t>(c.chunk.axis)]),
                          c.chunk.size)
            : "";
    line(2, fmt::format(
                "contract {}{}, {}, {}{} parts {} tile {}{} x {}{}{}{} {{", batch, role(c.rows),
                name(c.n), role(c.k), admitted(c), cut(c.parts), lines, c.tile.rows, c.tile.vectors,
                c.order == TileOrder::rows_outer ? " rows outer" : "", chunk, from(c.provenance)));
    line(4, "lhs " + to_string(c.lhs, kernel_));
    line(4, "rhs " + to_string(c.rhs, kernel_) +
                (c.panel > 0 ? fmt::format(" panel {}", c.panel) : "") +
                (c.copied ? " copied" : ""));
    print(c.epilogue, 1);
    print_stores(c.stores, c.epilogue);
  }
  /// Loads are operands from number `first` on.
  void print(const Body& body, std::size_t first) {
    for (std::size_t i = 0; i < body.loads.size(); ++i) {
      const Load& load = body.loads[i];
      std::string text = fmt::format("load {} = {}", i + first, to_string(load.access, kernel_));
      if (!load.guards.empty()) {
        text += " if " + join(load.guards, " and ", [&](const Guard& guard) {
                  return fmt::format("0 <= {} < {}", to_string(guard.value, kernel_.axes),
                                     guard.extent);
                });
      }
      line(4, text);
    }
    std::istringstream lines(ir::to_string(body.program));
    for (std::string text; std::getline(lines, text);) line(4, text);
    if (!body.fault_nodes.empty()) {
      line(4, "faults " + join(body.fault_nodes, ", ",
                               [](std::uint32_t node) { return std::to_string(node); }));
    }
  }
  void print_stores(const std::vector<Store>& stores, const Body& body) {
    for (const Store& store : stores) {
      line(4, fmt::format("store {} = {}", to_string(store.target, kernel_),
                          result(body, store.value)));
    }
  }
  /// "%7": the instruction that computes result number `value`.
  [[nodiscard]] static std::string result(const Body& body, std::int32_t value) {
    return fmt::format("%{}", body.program.results.at(static_cast<std::size_t>(value)));
  }

  const Kernel& kernel_;
  std::string text_;
};

}  // namespace

std::string to_string(const Kernel& kernel) { return Printer(kernel).print(); }

std::string to_string(const Affine& affine, const std::vector<Axis>& axes) {
  std::string text;
  const auto add = [&](std::int64_t factor, const std::string& what) {
    text += text.empty() ? (factor < 0 ? "-" : "") : (factor < 0 ? " - " : " + ");
    text += what;
  };
  for (const Term& term : affine.terms) {
    const std::int64_t size = std::abs(term.coefficient);
    const std::string& name = axes[static_cast<std::size_t>(term.axis)].name;
    add(term.coefficient, size == 1 ? name : fmt::format("{}*{}", size, name));
  }
  if (affine.offset != 0 || text.empty()) {
    add(affine.offset, std::to_string(std::abs(affine.offset)));
  }
  return affine.divisor == 1 ? text : fmt::format("({})/{}", text, affine.divisor);
}

std::string to_string(const Access& access, const Kernel& kernel) {
  std::size_t dimension = 0;
  const auto spell_index = [&](const Affine& affine) {
    return is_picked(access, dimension++) ? fmt::format("@{}", access.pick->operand)
                                          : to_string(affine, kernel.axes);
  };
  return fmt::format("{}[{}]", kernel.buffers[static_cast<std::size_t>(access.buffer)].name,
                     join(access.index, ", ", spell_index));
}

std::string_view to_string(ir::ReductionKind kind) {
  constexpr std::string_view names[] = {"sum", "max", "min", "arg_max", "arg_min", "any", "all"};
  return names[static_cast<std::size_t>(kind)];
}

}  // namespace gradus::codegen
