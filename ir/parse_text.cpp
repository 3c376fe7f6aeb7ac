// Reads the text form that ir/text.h describes, line by line.

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/diagnostic.h"
#include "base/text_lines.h"
#include "ir/op.h"
#include "ir/text.h"

namespace gradus::ir {
namespace {

constexpr const char* kMalformed = "E0301";
constexpr const char* kBrokenLaw = "E0302";

// --- Attributes ---------------------------------------------------------------------------------

template <typename T>
T bits_of_nan(TextLine& line) {
  if (!line.accept("(")) return std::numeric_limits<T>::quiet_NaN();
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const std::string_view digits = line.peek();
  Bits bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc{} || end != digits.data() + digits.size()) line.fail("expected bits");
  (void)line.take();
  line.expect(")");
  return std::bit_cast<T>(bits);
}

/// A number of type T, with its sign.
template <typename T>
T number(TextLine& line) {
  const std::uint32_t start = line.column();
  std::string text;
  if (line.accept("-")) text = "-";
  if constexpr (std::is_floating_point_v<T>) {
    if (line.accept("nan")) return bits_of_nan<T>(line);
    if (line.accept("inf")) {
      return text.empty() ? std::numeric_limits<T>::infinity()
                          : -std::numeric_limits<T>::infinity();
    }
  }
  if (!line.at_number()) line.fail("expected a number");
  text += line.take();
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    line.fail_at(start, kMalformed, text + " is no value of this type");
  }
  return value;
}

bool boolean(TextLine& line) {
  if (line.accept("true")) return true;
  if (line.accept("false")) return false;
  line.fail("expected true or false");
}

/// [item, item, ...], which may be empty.
template <typename Function>
void bracketed(TextLine& line, Function&& item) {
  line.expect("[");
  if (line.accept("]")) return;
  line.list(item);
  line.expect("]");
}

Integers integers(TextLine& line) {
  Integers list;
  bracketed(line, [&] { list.push_back(number<std::int64_t>(line)); });
  return list;
}

ElementType element_type(TextLine& line) {
  const std::optional<ElementType> type = parse_element_type(line.peek());
  if (!type) line.fail("expected an element type");
  (void)line.take();
  return *type;
}

TensorPointer tensor(TextLine& line) {
  const std::uint32_t start = line.column();
  const TensorType type = line.type();
  return dispatch(type.element, [&](auto zero) -> TensorPointer {
    using T = decltype(zero);
    using Stored = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
    std::vector<Stored> values;
    bracketed(line, [&] {
      if constexpr (std::is_same_v<T, bool>) {
        values.push_back(boolean(line) ? 1 : 0);
      } else {
        values.push_back(number<T>(line));
      }
    });
    if (static_cast<std::int64_t>(values.size()) != type.element_count()) {
      line.fail_at(start, kMalformed,
                   to_string(type) + " has " + std::to_string(type.element_count()) +
                       " elements, found " + std::to_string(values.size()));
    }
    auto result = std::make_shared<Tensor>(type);
    if (!values.empty()) {
      std::memcpy(result->bytes.data(), values.data(), values.size() * sizeof(Stored));
    }
    return result;
  });
}

/// A graph between braces; afterwards `line` is the rest of its last line.
GraphPointer nested_graph(TextLine& line, TextLines& lines);

Attribute attribute(TextLine& line, TextLines& lines, AttributeKind kind) {
  switch (kind) {
    case AttributeKind::boolean:
      return boolean(line);
    case AttributeKind::integer:
      return number<std::int64_t>(line);
    case AttributeKind::number:
      return number<double>(line);
    case AttributeKind::text:
      return line.quoted();
    case AttributeKind::integers:
      return integers(line);
    case AttributeKind::element_type:
      return element_type(line);
    case AttributeKind::tensor:
      return tensor(line);
    case AttributeKind::graph:
      break;
  }
  return nested_graph(line, lines);
}

/// name = value, name = value, ...
Attributes attributes(TextLine& line, TextLines& lines, const OpRecord& op) {
  Attributes result;
  line.list([&] {
    const std::string_view name = line.peek();
    const auto spec = std::ranges::find(op.attributes, name, &AttributeSpec::name);
    if (spec == op.attributes.end()) line.fail(std::string(op.name) + " has no such attribute");
    if (result.find(name)) line.fail("the attribute is there already");
    (void)line.take();
    line.expect("=");
    result.set(std::string(name), attribute(line, lines, spec->kind));
  });
  return result;
}

// --- Provenance ---------------------------------------------------------------------------------

constexpr std::int64_t kGreatestPosition = std::numeric_limits<std::uint32_t>::max();

std::uint32_t position(TextLine& line) {
  return static_cast<std::uint32_t>(line.integer(kGreatestPosition));
}

Role role(TextLine& line) {
  for (Role role : {Role::forward, Role::backward, Role::update, Role::metric}) {
    if (line.accept(to_string(role))) return role;
  }
  line.fail("expected forward, backward, update or metric");
}

/// `file` is that of a place which names none; null: each names its own.
SourceLocation place(TextLine& line, const std::string* file = nullptr) {
  SourceLocation where;
  const bool is_near = file != nullptr && !line.at_string();
  where.file = is_near ? *file : line.quoted();
  if (is_near || line.accept(":")) {
    where.line = position(line);
    line.expect(":");
    where.column = position(line);
  }
  if (line.accept("+")) where.length = position(line);
  return where;
}

Provenance provenance(TextLine& line) {
  Provenance result;
  line.list([&] {
    Origin origin;
    origin.where = place(line);
    if (line.accept("used")) {
      line.list([&] { origin.uses.push_back(place(line, &origin.where.file)); });
    }
    if (line.at_string()) origin.layer = line.quoted();
    const Role own = role(line);
    result.merge({std::make_shared<const Origin>(std::move(origin)), own});
  });
  return result;
}

// --- The graph ----------------------------------------------------------------------------------

class Parser {
 public:
  explicit Parser(TextLines& lines) : lines_(lines), graph_("") {}

  Graph parse() {
    TextLine header = lines_.next("the name of the graph");
    name(header);
    header.expect_end();
    while (!lines_.at_end()) {
      TextLine line = lines_.next("a node or a result");
      entry(line);
    }
    return finish();
  }

  /// The graph that begins in `line`, up to its brace; `line` is what follows then.
  Graph parse_nested(TextLine& line) {
    name(line);
    line.expect("{");
    line.expect_end();
    for (line = lines_.next("the brace after a graph"); !line.accept("}");
         line = lines_.next("the brace after a graph")) {
      entry(line);
    }
    return finish();
  }

 private:
  void name(TextLine& line) {
    line.expect("graph");
    graph_ = Graph(line.quoted());
  }

  void entry(TextLine& line) {
    if (line.accept("%")) {
      node(line);
    } else if (line.at_string()) {
      result(line);
    } else {
      line.fail("expected a node or a result");
    }
    line.expect_end();
  }

  Graph finish() {
    graph_.set_provenance({});
    return std::move(graph_);
  }

  /// Runs `build`; what it breaks is reported at `column`.
  template <typename Function>
  auto lawful(const TextLine& line, std::uint32_t column, Function&& build) {
    try {
      return build();
    } catch (const TypeError& error) {
      line.fail_at(column, kBrokenLaw, error.what());
    }
  }

  void node(TextLine& line) {
    const std::uint32_t number_column = line.column();
    const std::int64_t number = line.integer();
    if (nodes_.contains(number)) {
      line.fail_at(number_column, kMalformed, "there is a node %" + std::to_string(number));
    }
    line.expect("=");
    if (!line.at_word()) line.fail("expected an op or state, batch or scalar");
    for (InputKind kind : {InputKind::state, InputKind::batch, InputKind::scalar}) {
      if (line.accept(to_string(kind))) {
        nodes_[number] = input(line, kind);
        return;
      }
    }
    nodes_[number] = operation(line);
  }

  NodeId input(TextLine& line, InputKind kind) {
    const std::uint32_t start = line.column();
    std::string name = line.quoted();
    if (graph_.find_input(name)) line.fail_at(start, kBrokenLaw, "there is an input of this name");
    line.expect(":");
    TensorType type = line.type();
    read_provenance(line);
    return graph_.add_input(std::move(name), kind, std::move(type)).node;
  }

  NodeId operation(TextLine& line) {
    const std::uint32_t start = line.column();
    const OpRecord* op = find_op(line.peek());
    if (op == nullptr) line.fail("there is no such op");
    if (std::holds_alternative<InputComputation>(op->compute)) {
      line.fail("an input is written as state, batch or scalar");
    }
    (void)line.take();
    std::vector<Value> operands;
    if (line.peek() == "%") line.list([&] { operands.push_back(reference(line)); });
    Attributes given;
    if (line.accept("{")) {
      given = attributes(line, lines_, *op);
      line.expect("}");
    }
    std::vector<TensorType> types;
    const bool typed = line.accept(":");
    const std::uint32_t type_column = line.column();
    if (typed) line.list([&] { types.push_back(line.type()); });
    read_provenance(line);
    const NodeId id =
        lawful(line, start, [&] { return graph_.add(*op, operands, std::move(given)); });
    const ResultTypes& found = graph_.node(id).types;
    if (typed && !std::ranges::equal(types, found)) {
      std::string text;
      for (const TensorType& type : found) text += (text.empty() ? "" : ", ") + to_string(type);
      line.fail_at(type_column, kBrokenLaw, "the result is " + text);
    }
    return id;
  }

  void read_provenance(TextLine& line) {
    graph_.set_provenance(line.accept("@") ? provenance(line) : Provenance());
  }

  Value reference(TextLine& line) {
    line.expect("%");
    const std::uint32_t start = line.column();
    const auto found = nodes_.find(line.integer());
    if (found == nodes_.end()) line.fail_at(start, kMalformed, "there is no such node above");
    Value value{found->second, 0};
    if (line.accept("/")) {
      const std::uint32_t result_column = line.column();
      value.result = static_cast<std::uint32_t>(line.integer(kGreatestPosition));
      if (value.result >= graph_.node(value.node).types.size()) {
        line.fail_at(result_column, kMalformed, "the node has fewer results");
      }
    }
    return value;
  }

  void result(TextLine& line) {
    const std::uint32_t start = line.column();
    std::string name = line.quoted();
    const bool update = line.accept("<");
    line.expect(update ? "-" : "=");
    const Value value = reference(line);
    if (!results_.emplace(name, update).second) {
      line.fail_at(start, kBrokenLaw, "there is a result of this name");
    }
    lawful(line, start, [&] {
      update ? graph_.add_update(std::move(name), value)
             : graph_.add_result(std::move(name), value);
    });
  }

  TextLines& lines_;
  Graph graph_;
  std::unordered_map<std::int64_t, NodeId> nodes_;
  std::set<std::pair<std::string, bool>> results_;
};

GraphPointer nested_graph(TextLine& line, TextLines& lines) {
  return std::make_shared<const Graph>(Parser(lines).parse_nested(line));
}

}  // namespace

Graph parse_graph(std::string_view text, const std::string& file) {
  TextLines lines(text, file, kMalformed);
  return Parser(lines).parse();
}

Attributes parse_attributes(const OpRecord& op, std::string_view text) {
  const std::string file;
  TextLines lines(text, file, kMalformed);
  if (lines.at_end()) return {};
  TextLine line = lines.next("attributes");
  Attributes result = attributes(line, lines, op);
  line.expect_end();
  return result;
}

}  // namespace gradus::ir
