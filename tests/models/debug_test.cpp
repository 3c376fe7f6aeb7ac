// What perf and gdb see of a run: the kernels by name, with the lines of the model file.

#include <algorithm>
#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <utility>

#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTraining =
    " models/spirals_mlp.json --set 'training={\"steps\":2,\"batch\":100,\"seed\":1}' ";

/// The functions of a jitdump file: tools/perf/Documentation/jitdump-specification.txt in Linux.
class JitDump {
 public:
  struct Function {
    std::uint64_t bytes = 0;
    std::string file;
    std::set<std::uint32_t> lines;
  };
  std::map<std::string, Function> functions;

  explicit JitDump(const fs::path& path) : bytes_(contents(path)) {
    EXPECT_EQ(take<std::uint32_t>(), 0x4a695444u) << path;  // "JiTD" in this machine's byte order
    EXPECT_EQ(take<std::uint32_t>(), 1u);                   // version
    const auto header = take<std::uint32_t>();
    at_ = header;
    while (at_ < bytes_.size()) record();
  }

 private:
  template <typename T>
  T take() {
    T value{};
    if (at_ + sizeof value > bytes_.size()) throw std::runtime_error("the file is cut off");
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string text() {
    const std::string value = bytes_.c_str() + at_;
    at_ += value.size() + 1;
    return value;
  }
  void record() {
    const std::size_t begin = at_;
    const auto kind = take<std::uint32_t>();
    const auto size = take<std::uint32_t>();
    (void)take<std::uint64_t>();  // time
    if (kind == 0) load();
    if (kind == 2) lines();
    ASSERT_GT(size, 0u);
    at_ = begin + size;
  }
  void load() {
    at_ += 2 * sizeof(std::uint32_t) + sizeof(std::uint64_t);  // process, thread, virtual address
    const auto address = take<std::uint64_t>();
    // What kernels share has no lines.
    if (!newest_.lines.empty()) {
      EXPECT_EQ(address, described_) << "lines stand before the code that they describe";
    }
    newest_.bytes = take<std::uint64_t>();
    (void)take<std::uint64_t>();  // number
    functions[text()] = std::exchange(newest_, {});
  }
  void lines() {
    described_ = take<std::uint64_t>();
    for (auto count = take<std::uint64_t>(); count > 0; --count) {
      (void)take<std::uint64_t>();  // address
      newest_.lines.insert(take<std::uint32_t>());
      (void)take<std::uint32_t>();  // column
      newest_.file = text();
    }
  }

  std::string bytes_;
  std::size_t at_ = 0;
  std::uint64_t described_ = 0;
  Function newest_;
};

class Debugging : public Program {
 protected:
  /// Trains with `arguments`; perf's file, if it is written, goes to `folder`. Returns the weights.
  std::string train(const std::string& folder, const std::string& arguments) const {
    fs::create_directory(folder_ / folder);
    const Outcome outcome = run_shell(
        GRADUS_SOURCE_DIR, "JITDUMPDIR='" + (folder_ / folder).string() + "' GRADUS_CACHE='" +
                               (folder_ / "cache").string() + "' gradus train" + kTraining +
                               "-o '" + (folder_ / folder / "run").string() + "' " + arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return contents(folder_ / folder / "run/weights.safetensors");
  }
  [[nodiscard]] JitDump dump(const std::string& folder) const {
    fs::path found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / folder)) {
      if (entry.path().extension() == ".dump") found = entry.path();
    }
    EXPECT_FALSE(found.empty()) << "no dump in " << folder;
    return JitDump(found);
  }
};

/// Every kernel is there with its lines, compiled or from the cache, and nothing else changes.
TEST_F(Debugging, PerfSeesKernelsWithLines) {
  const std::string weights = train("plain", "");
  EXPECT_EQ(train("compiled", "--debug perf"), weights);
  EXPECT_EQ(train("cached", "--debug gdb,perf --json"), weights);
  const std::string kernels = gradus("inspect" + std::string(kTraining) + "--stage kernels").output;
  for (const char* folder : {"compiled", "cached"}) {
    const JitDump dump = this->dump(folder);
    const std::regex header("(?:^|\n)kernel \"(\\w+)\" from \"models/spirals_mlp.json:(\\d+):");
    int found = 0;
    for (std::sregex_iterator at(kernels.begin(), kernels.end(), header), end; at != end; ++at) {
      SCOPED_TRACE((*at)[1].str());
      const auto function = std::ranges::find_if(dump.functions, [&](const auto& known) {
        return std::regex_match(known.first, std::regex("gradus_\\d+_" + (*at)[1].str()));
      });
      ASSERT_NE(function, dump.functions.end());
      ++found;
      EXPECT_GT(function->second.bytes, 0u);
      EXPECT_EQ(function->second.file, GRADUS_SOURCE_DIR + std::string("/models/spirals_mlp.json"));
      EXPECT_TRUE(
          function->second.lines.contains(static_cast<std::uint32_t>(std::stoul((*at)[2]))));
    }
    EXPECT_GT(found, 5) << folder;
  }
}

TEST_F(Debugging, GdbStopsInAKernelAtItsLine) {
  if (run_shell("/", "command -v gdb").status != 0) GTEST_SKIP() << "gdb is not installed";
  // In a session of its own gdb cannot stop the tests by asking for their terminal.
  const Outcome alone = run_shell("/", "setsid -w gdb -q -batch -ex run --args true </dev/null");
  if (alone.output.find("exited normally") == std::string::npos) {
    GTEST_SKIP() << "gdb cannot run a program here: " << alone.output;
  }
  const std::string run = (folder_ / "run").string();
  const Outcome outcome = run_shell(
      GRADUS_SOURCE_DIR,
      "ASAN_OPTIONS=detect_leaks=0 setsid -w gdb -q -batch -ex 'set breakpoint pending on' "
      "-ex 'break train_step_0_tanh' -ex run -ex backtrace --args \"$(which gradus)\" train" +
          std::string(kTraining) + "--debug gdb --threads 1 -o '" + run + "' </dev/null");
  EXPECT_NE(outcome.output.find("#0  train_step_0_tanh () at models/spirals_mlp.json:8"),
            std::string::npos)
      << outcome.output;
  EXPECT_NE(outcome.output.find("in gradus::runtime::Executor::run"), std::string::npos)
      << outcome.output;
}

TEST_F(Debugging, ArtefactsHaveLinesOnRequest) {
  const auto assembly = [&](const std::string& options) {
    const std::string path = (folder_ / "model.s").string();
    const Outcome outcome =
        gradus("compile models/spirals_mlp.json --what predict --batch 100 -o " + path + options);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return contents(path);
  };
  const std::regex line("\\.loc\\s+0 8 18");
  const std::string with = assembly(" -g");
  EXPECT_TRUE(std::regex_search(with, line));
  EXPECT_NE(with.find("\"predict_0_tanh\""), std::string::npos);
  EXPECT_FALSE(std::regex_search(assembly(""), line));
}

}  // namespace
}  // namespace gradus
