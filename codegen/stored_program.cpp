#include "codegen/stored_program.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>
#include <type_traits>

#include "base/stopwatch.h"
#include "codegen/code_cache.h"
#include "codegen/jit.h"
#include "ir/text.h"

namespace gradus::codegen {
namespace {

struct Entry {
  runtime::Executable executable;    // without functions
  std::vector<std::string> symbols;  // of the steps' functions
  std::vector<std::string> modules;  // keys of what has them
  MemoryUse memory;
};

// The fields of what an entry holds, for writing and for reading.

template <typename Archive>
void fields(Archive& archive, TensorType& type) {
  archive(type.element, type.shape);
}
template <typename Archive>
void fields(Archive& archive, runtime::BufferReference& buffer) {
  archive(buffer.space, buffer.offset, buffer.bytes, buffer.written, buffer.begin, buffer.stride);
}
template <typename Archive>
void fields(Archive& archive, runtime::Step& step) {
  archive(step.name, step.provenance, step.buffers, step.tasks, step.scratch_bytes,
          step.operations);
}
template <typename Archive>
void fields(Archive& archive, runtime::Chain& chain) {
  archive(chain.first, chain.count, chain.units, chain.whole_loop);
}
template <typename Archive>
void fields(Archive& archive, runtime::Loop& loop) {
  archive(loop.first, loop.count, loop.length);
}
template <typename Archive>
void fields(Archive& archive, runtime::ExecutableInput& input) {
  archive(input.name, input.type);
}
template <typename Archive>
void fields(Archive& archive, runtime::ExecutableOutput& output) {
  archive(output.name, output.type, output.buffer);
}
template <typename Archive>
void fields(Archive& archive, runtime::Executable& executable) {
  archive(executable.name, executable.steps, executable.chains, executable.loops, executable.inputs,
          executable.outputs, executable.arena_bytes, executable.scratch_bytes,
          executable.constants);
}
template <typename Archive>
void fields(Archive& archive, MemoryUse& use) {
  archive(use.weights, use.slots, use.activations, use.scratch, use.data, use.alive);
}
template <typename Archive>
void fields(Archive& archive, runtime::StateEntry& entry) {
  archive(entry.name, entry.type, entry.kind, entry.offset);
}
template <typename Archive>
void fields(Archive& archive, Entry& entry) {
  archive(entry.executable, entry.symbols, entry.modules, entry.memory);
}

template <typename T>
constexpr bool kIsPlain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Writer {
 public:
  std::string bytes;

  template <typename... T>
  void operator()(T&... values) {
    (write(values), ...);
  }

 private:
  template <typename T>
  void write(T& value) {
    if constexpr (kIsPlain<T>) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else if constexpr (requires { value.push_back(value.front()); }) {
      std::size_t count = value.size();
      write(count);
      if constexpr (kIsPlain<std::remove_cvref_t<decltype(value.front())>>) {
        const auto* data = reinterpret_cast<const char*>(value.data());
        bytes.append(data, count * sizeof(value.front()));
      } else {
        for (auto& element : value) write(element);
      }
    } else {
      fields(*this, value);
    }
  }
};

/// Reads what a Writer has written.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename... T>
  void operator()(T&... values) {
    (read(values), ...);
  }
  /// Whether everything was there, and nothing else.
  [[nodiscard]] bool complete() const { return whole_ && rest_.empty(); }

 private:
  template <typename T>
  void read(T& value) {
    if constexpr (kIsPlain<T>) {
      take(&value, 1, sizeof value);
    } else if constexpr (requires { value.push_back(value.front()); }) {
      using Element = std::remove_cvref_t<decltype(value.front())>;
      std::size_t count = 0;
      read(count);
      whole_ = whole_ && count <= rest_.size();  // an element takes a byte or more
      if (!whole_) return;
      value.resize(count);
      if constexpr (kIsPlain<Element>) {
        take(value.data(), count, sizeof(Element));
      } else {
        for (auto& element : value) read(element);
      }
    } else {
      fields(*this, value);
    }
  }
  void take(void* to, std::size_t count, std::size_t size) {
    whole_ = whole_ && count <= rest_.size() / size;
    if (!whole_ || count == 0) return;
    std::memcpy(to, rest_.data(), count * size);
    rest_.remove_prefix(count * size);
  }

  std::string_view rest_;
  bool whole_ = true;
};

}  // namespace

std::string stored_program_key(const ir::Graph& graph, const runtime::StateLayout& layout,
                               const CompileOptions& options, const MemoryLimit& limit) {
  Writer state;
  for (runtime::StateEntry entry : layout.entries) state(entry);
  std::string choices = fmt::format("fuse {} store_values {} memory {} workers {}", options.fuse,
                                    options.store_values, limit.bytes, limit.workers);
  for (const std::string& stage : options.without) choices += " without " + stage;
  if (options.debug.lines) choices += " lines " + options.debug.directory;
  const std::string parts[] = {ir::to_text(graph), std::move(state.bytes), std::move(choices)};
  return program_key(parts, make_target(options.set));
}

void store_program(const std::string& key, const Plan& plan, const runtime::Executable& executable,
                   const MemoryUse& memory, const CompileOptions& options) {
  Entry entry{executable, plan.symbols, plan.modules, memory};
  Writer write;
  write(entry);
  options.store->store(key, encode_program(key, write.bytes));
}

std::optional<CompiledProgram> load_program(const std::string& key, const CompileOptions& options) {
  const std::optional<std::string> stored = options.store->load(key);
  const std::optional<std::string> bytes = stored ? decode_program(key, *stored) : std::nullopt;
  if (!bytes) return std::nullopt;
  Entry entry;
  Reader read(*bytes);
  read(entry);
  if (!read.complete() || entry.symbols.size() != entry.executable.steps.size()) {
    return std::nullopt;
  }
  std::optional<StoredFunctions> code =
      stored_functions(entry.modules, entry.symbols, *options.store, options.debug);
  if (!code) return std::nullopt;
  for (std::size_t i = 0; i < entry.symbols.size(); ++i) {
    entry.executable.steps[i].function = code->functions[i];
  }
  entry.executable.code = std::move(code->code);
  return CompiledProgram{std::move(entry.executable), entry.memory, {}, entry.modules.size(), 0};
}

CompiledProgram compile_program(const ir::Graph& graph, const runtime::StateLayout& layout,
                                const CompileOptions& options, const MemoryLimit& limit,
                                const std::function<Plan()>& plan) {
  // What the tuner has measured may change; without it the same graph gives the same program.
  const bool stored = options.store != nullptr && options.tuner == nullptr;
  StageSeconds search{"store", 0};
  std::string key;
  if (stored) {
    const Stopwatch watch;
    key = stored_program_key(graph, layout, options, limit);
    std::optional<CompiledProgram> known = load_program(key, options);
    search.seconds = watch.seconds();
    if (known) {
      known->seconds.push_back(search);
      return *std::move(known);
    }
  }
  Plan made = plan();
  CompiledProgram result;
  result.executable = compile(made, layout, options);
  result.memory = memory_use(made, result.executable, layout, limit.workers);
  if (stored) {
    store_program(key, made, result.executable, result.memory, options);
    result.seconds.push_back(search);
  }
  result.seconds.insert(result.seconds.end(), made.seconds.begin(), made.seconds.end());
  result.cached_modules = made.cached_modules;
  result.compiled_modules = made.compiled_modules;
  return result;
}

}  // namespace gradus::codegen
