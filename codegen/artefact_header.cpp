#include "codegen/artefact_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>

namespace gradus::codegen {
namespace {

constexpr std::string_view kWords =
    " alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t "
    "char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr "
    "constinit continue decltype default delete do double dynamic_cast else enum explicit export "
    "extern false float for friend goto if inline int long mutable namespace new noexcept not "
    "not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "restrict return short signed sizeof static static_assert static_cast struct switch template "
    "this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned "
    "using virtual void volatile wchar_t while xor xor_eq int8_t uint8_t int16_t uint16_t int32_t "
    "uint32_t int64_t uint64_t size_t linux unix ";

// docs/decisions/0004-ahead-of-time-artefacts.md
constexpr std::string_view kTininess = R"(

   One exception: AArch64 makes a result zero whose exact value is less than the smallest normal
   number but would be rounded to it; x86-64 rounds it.)";

std::string_view c_type(ElementType type) {
  constexpr std::string_view names[] = {"float",    "double",  "int32_t", "int64_t",
                                        "uint32_t", "uint8_t", "uint8_t"};
  return names[static_cast<std::size_t>(type)];
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

/// `text` as it may stand in a C comment.
std::string in_comment(std::string text) {
  for (const std::string_view border : {"*/", "/*"}) {
    for (auto at = text.find(border); at != text.npos; at = text.find(border, at)) {
      text.insert(at + 1, " ");
    }
  }
  std::ranges::replace_if(text, [](unsigned char c) { return std::iscntrl(c) != 0; }, ' ');
  return text;
}

/// `text` in lines of a comment.
std::string wrapped(std::string text) {
  constexpr std::size_t kColumns = 97;
  for (std::size_t begin = 0; text.size() - begin > kColumns;) {
    const std::size_t at = text.rfind(' ', begin + kColumns);
    if (at == text.npos || at <= begin) break;
    text.replace(at, 1, "\n   ");
    begin = at + 1;
  }
  return text;
}

/// `text` as a C string constant.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\' || c == '?') {
      result += {'\\', c};
    } else if (byte < 0x20 || byte >= 0x7f) {
      result += fmt::format("\\{:03o}", byte);
    } else {
      result += c;
    }
  }
  return result + '"';
}

/// The type with the batch axis as a word.
std::string described(const TensorType& type, const ArtefactFunction& function) {
  std::string text = to_string(type);
  const std::string batch =
      function.batches.empty() ? "" : '[' + std::to_string(function.batches[0]);
  const auto at = batch.empty() ? text.npos : text.find(batch);
  if (at == text.npos || std::isdigit(static_cast<unsigned char>(text[at + batch.size()])) != 0) {
    return text;
  }
  return text.replace(at, batch.size(), "[examples");
}

class HeaderText {
 public:
  explicit HeaderText(const ArtefactModel& model)
      : model_(model), name_(model.name), big_(upper(model.name)) {}

  std::string text;

  void begin(std::span<const InstructionSet> sets) {
    std::string isas;
    for (InstructionSet set : sets) {
      isas += (isas.empty() ? "" : ", ") + std::string(to_string(set));
    }
    add(R"(#ifndef GRADUS_{big}_H
#define GRADUS_{big}_H

/* The model "{title}", compiled by Gradus for {0}.

   Link with -lm -lpthread. Use:

     static {name}_state state;
     {name}_context* context;
     int32_t status = {name}_open(&context, 1);

   and, while the status is 0, the functions below; {name}_close(context) at the end. A context
   serves one call at a time; several contexts may work at the same time on states of their own.
   The results are equal, to the last bit, whatever the instruction set and the number of threads,
   and equal to those of `gradus train`, `predict` and `generate`.{1} */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define {big}_ALIGNED alignas(64)
#define {big}_ASSERT(condition) static_assert(condition, #condition)
extern "C" {{
#else
#define {big}_ALIGNED _Alignas(64)
#define {big}_ASSERT(condition) _Static_assert(condition, #condition)
#endif

/* What the functions return. After {big}_DIVISION, {big}_INDEX and {big}_NOT_FINITE a
   state that the function writes is invalid; after the others it is as it was. */
enum {{
  {big}_OK = 0,
  {big}_NO_MEMORY = 1,
  {big}_NO_THREADS = 2,   /* threads could not be started, or their number is not in 1 to 1024 */
  {big}_NO_PROCESSOR = 3, /* this processor has none of the instruction sets */
  {big}_MISALIGNED = 4,   /* the state is not 64-byte aligned */
  {big}_BATCH = 5,        /* not compiled for this number of examples */
  {big}_DIVISION = 6,     /* an integer division by zero */
  {big}_INDEX = 7,        /* an index out of range, such as a label */
  {big}_NOT_FINITE = 8    /* the loss or the gradient norm is infinite or not a number */
}};
)",
        isas, sets[0] == InstructionSet::aarch64 ? kTininess : "");
  }

  void batches(std::span<const ArtefactFunction> functions) {
    for (const ArtefactFunction& function : functions) {
      if (function.batches.empty()) continue;
      add("\n/* The numbers of examples in a batch that {0} takes. */\n",
          name_ + "_" + function.name);
      const std::string big = big_ + "_" + upper(function.name);
      text += fmt::format("#define {}_BATCH {}\n", big, function.batches[0]);
      text += fmt::format("#define {}_BATCHES {{ {} }}\n", big, fmt::join(function.batches, ", "));
    }
  }

  void state() {
    add("\n/* All that the model keeps: 64-byte aligned, {0} bytes, tensors row-major. It may be "
        "copied and\n   saved as it is. */\ntypedef struct {name}_state {{\n",
        std::to_string(model_.layout.bytes));
    Identifiers members;
    std::string asserts, entries;
    std::size_t rank = 1;
    for (const runtime::StateEntry& entry : model_.layout.entries) {
      rank = std::max(rank, entry.type.shape.size());
    }
    for (const runtime::StateEntry& entry : model_.layout.entries) {
      const std::string member = members.add(entry.name);
      const std::string what = fmt::format("{} {}, {}", in_comment(quoted(entry.name)),
                                           to_string(entry.type), to_string(entry.kind));
      entries += fmt::format(
          "  {{{}, \"{}\", \"{}\", {}, {{{}}}, {}, {}}},\n", quoted(entry.name),
          to_string(entry.kind), to_string(entry.type.element), entry.type.rank(),
          entry.type.shape.empty() ? "0" : fmt::format("{}", fmt::join(entry.type.shape, ", ")),
          entry.offset, entry.type.byte_size());
      if (entry.type.element_count() == 0) {
        text += fmt::format("  /* {}: no elements */\n", what);
        continue;
      }
      std::string extents;
      for (const std::int64_t extent : entry.type.shape) extents += fmt::format("[{}]", extent);
      text += fmt::format("  {}_ALIGNED {} {}{}; /* {} */\n", big_, c_type(entry.type.element),
                          member, extents, what);
      asserts += fmt::format("{0}_ASSERT(offsetof({1}_state, {2}) == {3});\n", big_, name_, member,
                             entry.offset);
    }
    if (model_.layout.bytes == 0) text += fmt::format("  {}_ALIGNED char nothing;\n", big_);
    add(R"(}} {name}_state;

#define {big}_STATE_BYTES {0}
#define {big}_STATE_ENTRIES {1}

/* The tensors of the state in order. */
typedef struct {name}_entry {{
  const char* name;
  const char* kind;    /* "parameter", "slot" (of the optimizer), "statistic", "carried" (from
                          call to call: set it to 0 where an epoch begins, or sequences that
                          are generated) or "counter" */
  const char* element; /* "f32", "f64", "i32", "i64", "u32", "u8" or "bool" */
  int32_t rank;
  int64_t shape[{2}];
  int64_t offset; /* bytes from the start of the state */
  int64_t bytes;
}} {name}_entry;
)",
        std::to_string(model_.layout.bytes), std::to_string(model_.layout.entries.size()),
        std::to_string(rank));
    if (!entries.empty()) {
      add("\nstatic const {name}_entry {name}_entries[{big}_STATE_ENTRIES] = {{\n");
      text += entries + "};\n";
    }
    if (model_.layout.bytes != 0) {
      asserts += fmt::format("{0}_ASSERT(sizeof({1}_state) == {0}_STATE_BYTES);\n", big_, name_);
    }
    text += "\n" + asserts;
  }

  void common() {
    add(R"(
/* Working memory and threads. */
typedef struct {name}_context {name}_context;

/* Chooses the code for this processor, allocates working memory and starts threads - 1 threads;
   *context is NULL unless the function returns {big}_OK. */
int32_t {name}_open({name}_context** context, int32_t threads);
/* Ends the threads and frees the memory; NULL is allowed. */
void {name}_close({name}_context* context);
/* The instruction set that was chosen. */
const char* {name}_isa(const {name}_context* context);
/* After {big}_DIVISION and {big}_INDEX: the lines of the model that failed; else "". */
const char* {name}_place(const {name}_context* context);
/* A status in words. */
const char* {name}_describe(int32_t status);
)");
    if (!model_.shuffles) return;
    add(R"(
/* The order in which `gradus train` visits the examples in an epoch, counted from 0, when it shuffles:
   writes the numbers 0 to examples - 1 to `order`. */
void {name}_shuffle(int64_t seed, int64_t epoch, uint32_t examples, uint32_t* order);
)");
  }

  void declare(const ArtefactFunction& function) {
    text += fmt::format("\n/* {}\n", wrapped(in_comment(function.summary)));
    std::vector<std::string> parameters = {
        name_ + "_context* context",
        fmt::format("{}{}_state* state", function.updates_state ? "" : "const ", name_)};
    if (!function.batches.empty()) {
      text += fmt::format("   examples: {}\n", fmt::join(function.batches, " or "));
      parameters.emplace_back("int64_t examples");
    }
    for (const ArtefactArgument& input : function.inputs) {
      text += fmt::format("   {}: {}, read\n", input.identifier, described(input.type, function));
      const std::string_view type = c_type(input.type.element);
      parameters.push_back(input.by_value ? fmt::format("{} {}", type, input.identifier)
                                          : fmt::format("const {}* {}", type, input.identifier));
    }
    for (const ArtefactArgument& output : function.outputs) {
      text += fmt::format("   {}: {}, written unless it is NULL\n", output.identifier,
                          described(output.type, function));
      parameters.push_back(fmt::format("{}* {}", c_type(output.type.element), output.identifier));
    }
    text += "*/\n";
    add_call(fmt::format("int32_t {}_{}(", name_, function.name), parameters);
  }

  void end() {
    add(R"(
#ifdef __cplusplus
}}
#endif

#undef {big}_ASSERT

#endif /* GRADUS_{big}_H */
)");
  }

 private:
  /// A declaration in lines of up to 100 columns.
  void add_call(std::string line, std::span<const std::string> parameters) {
    constexpr std::size_t kColumns = 98;  // and what follows a parameter
    const std::size_t indent = line.size();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (i > 0 && line.size() + parameters[i].size() > kColumns - 1) {
        text += line + "\n";
        line = std::string(indent, ' ');
      } else if (i > 0) {
        line += ' ';
      }
      line += parameters[i] + (i + 1 < parameters.size() ? "," : ");");
    }
    text += line + "\n";
  }

  template <typename... Arguments>
  void add(std::string_view form, const Arguments&... arguments) {
    fmt::vformat_to(std::back_inserter(text), form,
                    fmt::make_format_args(arguments..., fmt::arg("name", name_),
                                          fmt::arg("big", big_), fmt::arg("title", title_)));
  }

  const ArtefactModel& model_;
  std::string name_, big_, title_ = in_comment(model_.title);
};

}  // namespace

std::string Identifiers::add(std::string_view name) {
  std::string identifier;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    identifier += byte < 0x80 && std::isalnum(byte) != 0 ? c : '_';
  }
  if (identifier.empty() || std::isdigit(static_cast<unsigned char>(identifier[0])) != 0) {
    identifier.insert(0, "x");
  }
  if (kWords.find(' ' + identifier + ' ') != kWords.npos) identifier += '_';
  std::string unique = identifier;
  for (int number = 2; !taken_.insert(unique).second; ++number) {
    unique = identifier + '_' + std::to_string(number);
  }
  return unique;
}

std::vector<ArtefactFunction> artefact_functions(const ArtefactModel& model) {
  std::vector<ArtefactFunction> functions;
  for (const ArtefactProgram& program : model.programs) {
    const auto known = std::ranges::find(functions, program.function, &ArtefactFunction::name);
    if (known != functions.end()) {
      known->batches.push_back(program.examples);
      continue;
    }
    ArtefactFunction function{program.function, program.summary, {}, false, {}, {}};
    if (program.examples > 0) function.batches.push_back(program.examples);
    Identifiers names;
    for (const char* own : {"context", "state", "examples"}) (void)names.add(own);
    for (ir::NodeId id : program.graph.inputs()) {
      const ir::Node& node = program.graph.node(id);
      if (node.attributes.get<std::string>("kind") == to_string(ir::InputKind::state)) continue;
      const auto& name = node.attributes.get<std::string>("name");
      const TensorType& type = node.types[0];
      function.inputs.push_back({name, names.add(name), type, type.shape.empty()});
    }
    for (const ir::Result& result : program.graph.results()) {
      if (result.update) {
        function.updates_state = true;
      } else {
        function.outputs.push_back(
            {result.name, names.add(result.name), program.graph.type(result.value), false});
      }
    }
    functions.push_back(std::move(function));
  }
  return functions;
}

std::string artefact_header(const ArtefactModel& model, std::span<const ArtefactFunction> functions,
                            std::span<const InstructionSet> sets) {
  HeaderText header(model);
  header.begin(sets);
  header.batches(functions);
  header.state();
  header.common();
  for (const ArtefactFunction& function : functions) header.declare(function);
  header.end();
  return std::move(header.text);
}

}  // namespace gradus::codegen
