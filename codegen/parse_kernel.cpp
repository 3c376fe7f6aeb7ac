// Reads the text form that text_kernel.cpp prints. TextLine by line: the first word of a line says
// what it is.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/diagnostic.h"
#include "base/text_lines.h"
#include "codegen/text_kernel.h"
#include "codegen/verify_kernel.h"

namespace gradus::codegen {
namespace {

constexpr std::int64_t kGreatestTile = 64;             // rows or vectors of a register tile
constexpr std::int64_t kGreatestNode = (1 << 24) - 1;  // what a fault word holds

struct ParsedKernel {
  Kernel kernel;
  std::uint32_t line = 0;
  std::vector<std::uint32_t> stage_lines;
};

class Parser {
 public:
  explicit Parser(TextLines& lines) : lines_(lines) {}

  ParsedKernel parse() {
    TextLine line = lines_.next("a kernel");
    result_.line = line.number();
    line.expect("kernel");
    kernel_.name = line.quoted();
    kernel_.provenance = from(line);
    line.expect("{");
    line.expect_end();
    while (true) {
      line = lines_.next("the '}' of the kernel");
      if (line.accept("}")) break;
      statement(line);
      line.expect_end();
    }
    line.expect_end();
    for (Axis& axis : kernel_.axes) {
      for (const TaskAxis& task : kernel_.tasks) {
        if (task.axis == axis.block_of) axis.extent = task.cut.count;
      }
    }
    return std::move(result_);
  }

 private:
  void statement(TextLine& line) {
    constexpr std::string_view roles[] = {"in", "out", "inout", "scratch"};
    for (std::size_t role = 0; role < std::size(roles); ++role) {
      if (line.accept(roles[role])) return buffer(line, static_cast<BufferRole>(role));
    }
    if (line.accept("axes")) return axes(line);
    if (line.accept("tasks")) return tasks(line);
    if (line.accept("tile")) return tile(line);
    result_.stage_lines.push_back(line.number());
    if (line.accept("loop")) return loop(line);
    if (line.accept("contract")) return contract(line);
    line.fail("expected axes, tasks, tile, a buffer, loop, contract or '}'");
  }

  static std::string from(TextLine& line) { return line.accept("from") ? line.quoted() : ""; }

  void axes(TextLine& line) {
    std::vector<std::pair<std::size_t, std::string>> blocks;
    line.list([&] {
      Axis axis{line.name(), 1, -1};
      line.expect("=");
      if (line.accept("block")) {
        line.expect("of");
        blocks.emplace_back(kernel_.axes.size(), line.name());
      } else {
        axis.extent = line.integer();
      }
      kernel_.axes.push_back(std::move(axis));
    });
    for (const auto& [block, name] : blocks) {
      const AxisId of = find(kernel_.axes, name);
      if (of < 0) line.fail("no axis '" + name + "'");
      kernel_.axes[block].block_of = of;
    }
  }
  void tasks(TextLine& line) {
    line.list([&] {
      TaskAxis task{axis(line), {}};
      line.expect("in");
      task.cut = cut(line, task.axis);
      kernel_.tasks.push_back(task);
    });
  }
  void tile(TextLine& line) {
    Tile tile{axis(line), 1};
    line.expect("by");
    tile.size = line.integer();
    kernel_.tile = tile;
  }
  void buffer(TextLine& line, BufferRole role) {
    Buffer buffer{line.name(), {}, role, {}};
    line.expect(":");
    buffer.type = line.type();
    if (line.accept("local")) {
      line.list([&] { buffer.local.push_back(line.accept("-") ? -1 : axis(line)); });
    }
    kernel_.buffers.push_back(std::move(buffer));
  }

  void loop(TextLine& line) {
    Loop loop;
    if (line.peek() != "{" && line.peek() != "from") loop.axes = axis_list(line);
    if (line.accept("ordered")) loop.ordered = axis_list(line);
    loop.provenance = from(line);
    line.expect("{");
    line.expect_end();
    read_body(loop.body, 0, [&](TextLine& inner) {
      if (inner.accept("store")) {
        loop.stores.push_back(store(inner, loop.body));
      } else if (inner.accept("reduce")) {
        loop.accumulates.push_back(accumulate(inner, loop.body));
      } else {
        inner.fail("expected load, operands, faults, store, reduce or '}'");
      }
    });
    kernel_.stages.emplace_back(std::move(loop));
  }
  HalfPlane half_plane(TextLine& line) {
    HalfPlane result;
    result.low = axis(line);
    line.expect("<");
    line.expect("=");
    const Affine border = affine(line);
    if (border.terms.size() != 1 || border.terms[0].coefficient != 1 || border.divisor != 1) {
      line.fail("expected an axis and an offset before this");
    }
    result.high = border.terms[0].axis;
    result.offset = border.offset;
    return result;
  }
  /// Rows and vectors, or lines, rows and vectors.
  static RegisterTile register_tile(TextLine& line) {
    const auto count = [&] { return static_cast<std::int32_t>(line.integer(kGreatestTile)); };
    RegisterTile tile;
    tile.rows = count();
    line.expect("x");
    tile.vectors = count();
    if (line.accept("x")) {
      tile.lines = std::exchange(tile.rows, std::exchange(tile.vectors, count()));
    }
    return tile;
  }
  Chunk chunk(TextLine& line, const std::vector<AxisId>& k) {
    const auto at = std::ranges::find(k, axis(line));
    if (at == k.end()) line.fail("expected an axis of k");
    line.expect("by");
    return {static_cast<std::int32_t>(at - k.begin()), line.integer()};
  }
  void contract(TextLine& line) {
    Contract c;
    if (line.accept("[")) {
      c.batch = axis_list(line);
      line.expect("]");
    }
    c.rows = role(line);
    line.expect(",");
    c.n = axis(line);
    line.expect(",");
    c.k = role(line);
    if (line.accept("where")) c.half_plane = half_plane(line);
    line.expect("parts");
    c.parts = cut(line, c.k.front());
    line.expect("tile");
    c.tile = register_tile(line);
    if (line.accept("rows")) {
      line.expect("outer");
      c.order = TileOrder::rows_outer;
    }
    if (line.accept("chunk")) c.chunk = chunk(line, c.k);
    c.provenance = from(line);
    line.expect("{");
    line.expect_end();
    read_body(c.epilogue, 1, [&](TextLine& inner) {
      if (inner.accept("lhs")) {
        c.lhs = access(inner);
      } else if (inner.accept("rhs")) {
        c.rhs = access(inner);
        if (inner.accept("panel")) c.panel = inner.integer();
        c.copied = inner.accept("copied");
      } else if (inner.accept("store")) {
        c.stores.push_back(store(inner, c.epilogue));
      } else {
        inner.fail("expected lhs, rhs, load, operands, faults, store or '}'");
      }
    });
    kernel_.stages.emplace_back(std::move(c));
  }

  /// Reads the lines of a stage up to its '}'; `other` reads those that are not the body's own.
  template <typename Function>
  void read_body(Body& body, std::size_t first_load, Function&& other) {
    while (true) {
      TextLine line = lines_.next("the '}' of the stage");
      if (line.accept("}")) return line.expect_end();
      if (line.peek() == "operands") {
        program(line, body);
        continue;
      }
      if (line.accept("load")) {
        if (line.peek() != std::to_string(body.loads.size() + first_load)) {
          line.fail("loads are numbered in order from " + std::to_string(first_load));
        }
        (void)line.integer();
        body.loads.push_back(load(line));
      } else if (line.accept("faults")) {
        line.list([&] {
          body.fault_nodes.push_back(static_cast<std::uint32_t>(line.integer(kGreatestNode)));
        });
      } else {
        other(line);
      }
      line.expect_end();
    }
  }
  /// The lines of a scalar program, from "operands" to "return".
  void program(TextLine line, Body& body) {
    const std::uint32_t first = line.number();
    std::string text(line.content());
    while (line.peek() != "return") {
      line = lines_.next("the return of the program");
      text.append(line.number() - first -
                      static_cast<std::uint32_t>(std::count(text.begin(), text.end(), '\n')),
                  '\n');
      text += line.content();
    }
    try {
      body.program = ir::parse_scalar_program(text);
    } catch (const UserError& error) {
      Diagnostic finding = error.diagnostics().front();
      finding.where.file = lines_.file();
      finding.where.line += first - 1;
      throw UserError({std::move(finding)});
    }
  }
  Load load(TextLine& line) {
    line.expect("=");
    Load load{access(line), {}};
    if (!line.accept("if")) return load;
    do {
      if (!line.accept("0")) line.fail("a guard begins with '0 <='");
      line.expect("<");
      line.expect("=");
      Guard guard{affine(line), 0};
      line.expect("<");
      guard.extent = line.integer();
      load.guards.push_back(std::move(guard));
    } while (line.accept("and"));
    return load;
  }
  Store store(TextLine& line, const Body& body) {
    Store store{access(line), 0};
    line.expect("=");
    store.value = result(line, body);
    return store;
  }
  Accumulate accumulate(TextLine& line, const Body& body) {
    Accumulate a;
    a.target = access(line);
    line.expect("=");
    a.kind = reduction(line);
    a.value = result(line, body);
    if (line.accept("over")) a.over = axis_list(line);
    a.lanes = line.accept("lanes");
    return a;
  }
  static ir::ReductionKind reduction(TextLine& line) {
    for (int kind = 0; kind <= static_cast<int>(ir::ReductionKind::all); ++kind) {
      if (line.accept(to_string(static_cast<ir::ReductionKind>(kind)))) {
        return static_cast<ir::ReductionKind>(kind);
      }
    }
    line.fail("expected a kind of reduction");
  }
  /// "%7" as the number of the result that instruction 7 computes.
  static std::int32_t result(TextLine& line, const Body& body) {
    line.expect("%");
    const std::vector<std::int32_t>& results = body.program.results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (line.accept(std::to_string(results[i]))) return static_cast<std::int32_t>(i);
    }
    line.fail("expected an instruction that the program above returns");
  }

  Access access(TextLine& line) {
    const std::string name = line.peek().empty() ? "" : std::string(line.peek());
    Access access{find(kernel_.buffers, name), {}};
    if (access.buffer < 0) line.fail("expected the name of a buffer");
    (void)line.name();
    line.expect("[");
    if (line.accept("]")) return access;
    line.list([&] {
      if (!line.accept("@")) {
        access.index.push_back(affine(line));
        return;
      }
      if (access.pick) line.fail("one index is picked");
      access.pick = Pick{static_cast<std::int32_t>(access.index.size()),
                         static_cast<std::int32_t>(line.integer(kGreatestNode))};
      access.index.emplace_back();
    });
    line.expect("]");
    return access;
  }
  Affine affine(TextLine& line) {
    Affine affine;
    const bool divided = line.accept("(");
    bool negative = line.accept("-");
    while (true) {
      term(line, affine, negative ? -1 : 1);
      negative = line.peek() == "-";
      if (!line.accept("-") && !line.accept("+")) break;
    }
    std::sort(affine.terms.begin(), affine.terms.end(),
              [](const Term& a, const Term& b) { return a.axis < b.axis; });
    if (divided) {
      line.expect(")");
      line.expect("/");
      affine.divisor = line.integer();
      if (affine.divisor < 1) line.fail("expected a positive divisor before this");
    }
    return affine;
  }
  void term(TextLine& line, Affine& affine, std::int64_t sign) {
    std::int64_t factor = sign;
    if (line.at_number()) {
      factor *= line.integer();
      if (!line.accept("*")) {
        if (std::abs(affine.offset) > TextLine::kGreatestInteger) line.fail("too great an offset");
        affine.offset += factor;
        return;
      }
    }
    const AxisId id = axis(line);
    for (const Term& known : affine.terms) {
      if (known.axis == id) line.fail("expected each axis once before this");
    }
    if (factor != 0) affine.terms.push_back({id, factor});
  }

  ir::Cut cut(TextLine& line, AxisId axis) {
    ir::Cut cut{kernel_.axes[static_cast<std::size_t>(axis)].extent, line.integer(), 1};
    if (line.accept("unit")) cut.unit = line.integer();
    return cut;
  }
  AxisId axis(TextLine& line) {
    const AxisId id = find(kernel_.axes, line.peek());
    if (id < 0) line.fail("expected the name of an axis");
    (void)line.name();
    return id;
  }
  /// One axis, or several in parentheses.
  std::vector<AxisId> role(TextLine& line) {
    if (!line.accept("(")) return {axis(line)};
    std::vector<AxisId> ids = axis_list(line);
    line.expect(")");
    return ids;
  }
  std::vector<AxisId> axis_list(TextLine& line) {
    std::vector<AxisId> ids;
    line.list([&] { ids.push_back(axis(line)); });
    return ids;
  }
  template <typename Item>
  static std::int32_t find(const std::vector<Item>& items, std::string_view name) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].name == name) return static_cast<std::int32_t>(i);
    }
    return -1;
  }

  TextLines& lines_;
  ParsedKernel result_;
  Kernel& kernel_ = result_.kernel;
};

std::vector<ParsedKernel> parse_all(std::string_view text, const std::string& file) {
  TextLines lines(text, file, "E2102");
  std::vector<ParsedKernel> kernels;
  while (!lines.at_end()) kernels.push_back(Parser(lines).parse());
  return kernels;
}

}  // namespace

std::vector<Kernel> parse_kernels(std::string_view text, const std::string& file) {
  std::vector<Kernel> kernels;
  for (ParsedKernel& parsed : parse_all(text, file)) kernels.push_back(std::move(parsed.kernel));
  return kernels;
}

Kernel parse_kernel(std::string_view text, const std::string& file) {
  std::vector<Kernel> kernels = parse_kernels(text, file);
  if (kernels.size() != 1) {
    throw UserError("E2102", "expected one kernel, found " + std::to_string(kernels.size()),
                    {file, 0, 1, 1});
  }
  return std::move(kernels.front());
}

std::vector<Kernel> read_kernels(std::string_view text, const std::string& file) {
  std::vector<Kernel> kernels;
  for (ParsedKernel& parsed : parse_all(text, file)) {
    if (const std::optional<KernelViolation> violation = find_violation(parsed.kernel)) {
      const std::uint32_t line =
          violation->stage < 0 ? parsed.line
                               : parsed.stage_lines[static_cast<std::size_t>(violation->stage)];
      throw UserError("E2103", violation->message, {file, line, 1, 1});
    }
    kernels.push_back(std::move(parsed.kernel));
  }
  return kernels;
}

}  // namespace gradus::codegen
