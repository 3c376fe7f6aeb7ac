// Programs between runs: the same bits without passes and schedules, under keys that tell apart
// whatever they depend on, and nothing from an entry that is not whole.

#include "codegen/stored_program.h"

#include <map>
#include <set>

#include "emit_support.h"
#include "ir/text.h"
#include "memory_store.h"
#include "runtime/executor.h"

namespace gradus::codegen {
namespace {

constexpr const char* kStep = R"(graph "train_step"
%0 = batch "x" : f32[48,40] @ "model.json":3:5 "x" forward
%1 = state "w" : f32[40,8] @ "model.json":4:5 "layer" forward
%2 = dot %0, %1 {lhs_contract = [1], rhs_contract = [0]} : f32[48,8] @ "model.json":4:5 forward
%3 = tanh %2 : f32[48,8]
%4 = sum %3 {axes = [0,1]} : f32[]
%5 = constant {value = f32[8] [1, 2, 3, 4, 5, 6, 7, 8]} : f32[8]
%6 = broadcast %5 {shape = [40,8], axes = [1]} : f32[40,8]
%7 = sub %1, %6 : f32[40,8]
"loss" = %4
"w" <- %7
)";

runtime::StateLayout layout_of(const std::string& first = "w") {
  runtime::StateLayout layout;
  if (first != "w") layout.add(first, {ElementType::f32, {3}}, runtime::StateKind::slot);
  layout.add("w", {ElementType::f32, {40, 8}}, runtime::StateKind::parameter);
  return layout;
}

/// State and loss after a run.
std::pair<std::vector<std::byte>, Tensor> run(const runtime::Executable& executable) {
  Tensor x({ElementType::f32, {48, 40}});
  Tensor w({ElementType::f32, {40, 8}});
  fill(x, 1);
  fill(w, 2);
  runtime::Executor executor(2);
  const std::span<const std::byte> input(x.bytes);
  EXPECT_EQ(executor.run(executable, w.bytes, std::span(&input, 1)).fault, 0u);
  return {std::vector(w.bytes.begin(), w.bytes.end()), executor.output(executable, 0)};
}

class StoredProgram : public testing::Test {
 protected:
  StoredProgram() {
    options_.store = &store_;
    options_.threads = 2;
    key_ = stored_program_key(graph_, layout_of(), options_, limit_);
    Plan plan = plan_program(graph_, options_);
    compiled_ = compile(plan, layout_of(), options_);
    use_ = memory_use(plan, compiled_, layout_of(), limit_.workers);
    store_program(key_, plan, compiled_, use_, options_);
  }

  ir::Graph graph_ = ir::parse_graph(kStep, "step.ir");
  MemoryStore store_;
  CompileOptions options_;
  MemoryLimit limit_{0, 2};
  std::string key_;
  runtime::Executable compiled_;
  MemoryUse use_;
};

TEST_F(StoredProgram, IsTheProgramThatWasCompiled) {
  const std::optional<CompiledProgram> stored = load_program(key_, options_);
  ASSERT_TRUE(stored);
  EXPECT_EQ(run(stored->executable), run(compiled_));
  EXPECT_EQ(stored->memory.total(), use_.total());
  EXPECT_EQ(stored->memory.alive, use_.alive);
  EXPECT_EQ(stored->cached_modules, 2u);
  EXPECT_EQ(stored->executable.arena_bytes, compiled_.arena_bytes);
  EXPECT_EQ(stored->executable.chains, compiled_.chains);
  ASSERT_EQ(stored->executable.steps.size(), compiled_.steps.size());
  for (std::size_t i = 0; i < compiled_.steps.size(); ++i) {
    const runtime::Step& step = stored->executable.steps[i];
    EXPECT_EQ(step.name, compiled_.steps[i].name);
    EXPECT_EQ(step.provenance, compiled_.steps[i].provenance);
    EXPECT_EQ(step.scratch_bytes, compiled_.steps[i].scratch_bytes);
    EXPECT_EQ(step.most_workers(), compiled_.steps[i].most_workers());
  }
}

TEST_F(StoredProgram, TheKeyIsEverythingThatAProgramDependsOn) {
  const auto key = [&](const CompileOptions& options) {
    return stored_program_key(graph_, layout_of(), options, limit_);
  };
  EXPECT_EQ(key(options_), key_);
  CompileOptions alone = options_;
  alone.threads = 1;  // that compile: the program is the same
  EXPECT_EQ(key(alone), key_);
  std::vector<CompileOptions> others(5, options_);
  others[0].fuse = false;
  others[1].store_values = false;
  others[2].without = {"chains"};
  others[3].debug.lines = true;
  others[4].set = InstructionSet::x86_64;
  std::set<std::string> keys{key_};
  for (const CompileOptions& other : others) keys.insert(key(other));
  keys.insert(stored_program_key(graph_, layout_of("v"), options_, limit_));
  keys.insert(stored_program_key(graph_, layout_of(), options_, {1 << 20, 2}));
  keys.insert(stored_program_key(graph_, layout_of(), options_, {0, 1}));
  for (const auto& [from, to] : {std::pair{"lhs_contract", "lhs_contract"},
                                 std::pair{":4:5", ":4:6"}, std::pair{"tanh", "exp"},
                                 std::pair{"\"loss\"", "\"error\""}, std::pair{", 8]}", ", 9]}"}}) {
    std::string text = kStep;
    for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + 1)) {
      text.replace(at, std::string(from).size(), to);
    }
    keys.insert(stored_program_key(ir::parse_graph(text, ""), layout_of(), options_, limit_));
  }
  EXPECT_EQ(keys.size(), 1 + others.size() + 3 + 4);  // one of the texts is the same
}

TEST_F(StoredProgram, IsNotFoundUnlessAllOfItIsWhole) {
  const std::map<std::string, std::string> whole = store_.entries;
  ASSERT_EQ(whole.size(), 3u);  // the program and two modules
  for (std::uint32_t seed = 0; seed < 3'000; ++seed) {
    store_.entries = whole;
    std::string& entry = std::next(store_.entries.begin(), seed % 3)->second;
    entry = damaged(entry, seed);
    EXPECT_FALSE(load_program(key_, options_)) << "seed " << seed;
  }
  for (const auto& [key, entry] : whole) {
    store_.entries = whole;
    store_.entries.erase(key);
    EXPECT_FALSE(load_program(key_, options_));
    if (key == key_) continue;
    store_.entries[key_] = entry;  // of another kind, and another key
    EXPECT_FALSE(load_program(key_, options_));
  }
  store_.entries = whole;
  EXPECT_TRUE(load_program(key_, options_));
  // What is sealed but says something else than a program is none.
  const std::string program = *decode_program(key_, whole.at(key_));
  for (std::size_t size : {std::size_t{0}, program.size() / 3, program.size() - 1}) {
    store_.entries[key_] = encode_program(key_, program.substr(0, size));
    EXPECT_FALSE(load_program(key_, options_)) << size;
  }
  store_.entries[key_] = encode_program(key_, program + "more");
  EXPECT_FALSE(load_program(key_, options_));
}

}  // namespace
}  // namespace gradus::codegen
