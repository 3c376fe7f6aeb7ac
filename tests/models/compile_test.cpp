// `gradus compile` as its users meet it: the example in examples/train_mnist, built with the
// artefact, gives the weights of `gradus train`; and what the functions return.

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "codegen/target.h"
#include "runtime/safetensors.h"
#include "tests/models/artefacts.h"
#include "tests/models/executors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = GRADUS_SOURCE_DIR;
constexpr const char* kModel = "models/mnist_mlp.json";
/// Small enough for an emulator.
constexpr const char* kSmall = " --set model.layers.1.units=24 --set model.layers.2.units=16";
constexpr const char* kSources =
    " -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -I. "
    "\"$SOURCE\"/examples/train_mnist/train_mnist.c ";

class TrainMnist : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    setenv("SOURCE", GRADUS_SOURCE_DIR, 1);
  }

  void shell(const std::string& line) const {
    const Outcome outcome = run_shell(folder_, line);
    ASSERT_EQ(outcome.status, 0) << line << "\n" << outcome.output;
  }

  /// Draws 200 digits and trains the small network with them.
  void train_reference() const {
    compile("mnist.o", "", "cc", "drawing");
    shell("./drawing --draw digits 200");
    train("digits", 2, kSmall + std::string(" --set training.batch=32"));
  }
  void train(const std::string& data, int epochs, const std::string& options) const {
    shell("gradus train \"$SOURCE\"/" + std::string(kModel) + " -o run --set data.directory=" +
          data + " --set training.epochs=" + std::to_string(epochs) + options);
  }
  /// The small network's artefact, `mnist` with some ending, and the example with it.
  void compile(const std::string& artefact, const std::string& options, const std::string& compiler,
               const std::string& program) const {
    shell("gradus compile \"$SOURCE\"/" + std::string(kModel) + kSmall +
          " --batch 32,8 --name mnist -o " + artefact + options + " && " + compiler + kSources +
          artefact + " -lm -lpthread -Wl,-rpath,. -o " + program);
  }
  void expect_reference(const std::string& weights) const {
    const runtime::SafetensorsReader expected(folder_ / "run/weights.safetensors");
    const runtime::SafetensorsReader found(folder_ / weights);
    ASSERT_EQ(found.entries().size(), expected.entries().size());
    for (const runtime::SafetensorsEntry& entry : expected.entries()) {
      const runtime::SafetensorsEntry* same_name = found.find(entry.name);
      ASSERT_NE(same_name, nullptr) << entry.name;
      EXPECT_TRUE(same(found.read(*same_name), expected.read(entry))) << entry.name;
    }
  }
  /// The example trains to the weights of `gradus train`, with code for `isa`.
  void run_example(const std::string& command, const std::string& isa) const {
    for (const char* threads : {"1", "2", "5"}) {
      SCOPED_TRACE(command + " with threads " + threads);
      const Outcome outcome = run_shell(
          folder_, command + " digits --epochs 2 --weights w.safetensors --threads " + threads);
      ASSERT_EQ(outcome.status, 0) << outcome.output;
      EXPECT_NE(outcome.output.find("200 examples, code for " + isa + "\n"), std::string::npos)
          << outcome.output;
      expect_reference("w.safetensors");
    }
  }
};

TEST_F(TrainMnist, GivesTheBitsOfTraining) {
  train_reference();
  for (const char* file : {"mnist.o", "mnist.a", "./mnist.so"}) {
    compile(file, " --isa x86-64,x86-64-v3,x86-64-v4", "cc", "train");
    run_example("./train", std::string(to_string(codegen::greatest_supported())));
  }
  for (const codegen::InstructionSet set : codegen::kInstructionSets) {
    if (set == codegen::InstructionSet::native || !codegen::host_supports(set)) continue;
    const std::string isa(to_string(set));
    compile("mnist.o", " --isa " + isa, "cc", "train");
    run_example("./train", isa);
  }
  compile("mnist.o", " --no-fuse", "cc", "train");
  run_example("./train", std::string(to_string(codegen::greatest_supported())));
}

TEST_F(TrainMnist, GivesTheBitsOfTrainingOnAarch64) {
  if (const std::string missing = missing_program(kAarch64); !missing.empty()) {
    GTEST_SKIP() << missing << " is not installed";
  }
  train_reference();
  for (const char* file : {"mnist.o", "mnist.a"}) {
    compile(file, " --isa aarch64", kAarch64.compiler, "train");
    run_example("qemu-aarch64 ./train", "aarch64");
  }
  compile("./mnist.so", " --isa aarch64", "aarch64-linux-gnu-gcc", "train");
  run_example("qemu-aarch64 -L /usr/aarch64-linux-gnu ./train", "aarch64");
}

/// A processor of this family with less than this machine's, emulated.
TEST_F(TrainMnist, ChoosesWhatTheProcessorHasAndRefusesTheRest) {
  if (run_shell("/", "command -v qemu-x86_64").status != 0) {
    GTEST_SKIP() << "qemu-x86_64 is not installed";
  }
  train_reference();
  compile("mnist.o", " --isa x86-64-v4,x86-64,x86-64-v3", "cc -static", "train");
  const std::string emulator = "qemu-x86_64 -cpu ";
  run_example(emulator + "qemu64 ./train", "x86-64");
  const Outcome greater =
      run_shell(folder_, emulator + "max ./train digits --epochs 2 --weights w.safetensors");
  EXPECT_NE(greater.output.find("code for x86-64-v3\n"), std::string::npos) << greater.output;
  expect_reference("w.safetensors");
  compile("mnist.o", " --isa x86-64-v4,x86-64-v3", "cc -static", "train");
  const Outcome refused = run_shell(folder_, emulator + "qemu64 ./train digits");
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.output,
            "train_mnist: this processor lacks the instructions of every instruction set "
            "compiled\n");
}

TEST_F(TrainMnist, BuildsWithCMake) {
  shell(
      "cmake -S \"$SOURCE\"/examples/train_mnist -B build -DGRADUS_PROGRAM=\"$(which gradus)\" "
      "-DBATCHES='32;8' "
      "-DOVERRIDES='model.layers.1.units=24;model.layers.2.units=16' && cmake --build build && "
      "build/train_mnist --draw digits 200");
  train("digits", 2, kSmall + std::string(" --set training.batch=32"));
  run_example("build/train_mnist", std::string(to_string(codegen::greatest_supported())));
  const Outcome wrong = run_shell(folder_,
                                  "mkdir wrong && cd wrong && printf 'cmake_minimum_required("
                                  "VERSION 3.20)\\nproject(p LANGUAGES C)\\ninclude(%s)\\n"
                                  "gradus_compile(m m.json SIZE 3)\\n' "
                                  "\"$SOURCE\"/cmake/Gradus.cmake > CMakeLists.txt && cmake . "
                                  "-DGRADUS_PROGRAM=\"$(which gradus)\"");
  EXPECT_NE(wrong.status, 0);
  EXPECT_NE(wrong.output.find("unknown arguments SIZE;3"), std::string::npos) << wrong.output;
}

/// One epoch of the real thing: GRADUS_MNIST is a folder with the four files, compressed or not.
TEST_F(TrainMnist, GivesTheBitsOfTrainingOnMnist) {
  const char* given = std::getenv("GRADUS_MNIST");
  const fs::path data = given != nullptr ? fs::path(given) : kSource / "../shared/data/mnist";
  if (!fs::exists(data / "train-images-idx3-ubyte") &&
      !fs::exists(data / "train-images-idx3-ubyte.gz")) {
    GTEST_SKIP() << "no MNIST in " << data << " (GRADUS_MNIST names its folder)";
  }
  shell("mkdir mnist && cp '" + data.string() +
        "'/*ubyte* mnist && (gunzip -q mnist/*.gz || true)");
  train("mnist", 1, "");
  shell("gradus compile \"$SOURCE\"/" + std::string(kModel) +
        " --batch 128,96 --name mnist -o mnist.a && cc" + kSources +
        "mnist.a -lm -lpthread -o train");
  const Outcome outcome =
      run_shell(folder_, "./train mnist --epochs 1 --threads 2 --weights w.safetensors");
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("60000 examples"), std::string::npos) << outcome.output;
  expect_reference("w.safetensors");
}

TEST_F(TrainMnist, SaysWhatIsWrong) {
  train_reference();
  compile("mnist.o", "", "cc", "train");
  const auto message = [&](const std::string& arguments) {
    const Outcome outcome = run_shell(folder_, "./train " + arguments);
    EXPECT_EQ(outcome.status, 1);
    return outcome.output;
  };
  EXPECT_EQ(message("digits --threads 5000"),
            "train_mnist: the threads could not be started; their number is from 1 to 1024\n");
  EXPECT_EQ(message("digits --seed x"), "train_mnist: --seed x: expected a number from 0 on\n");
  EXPECT_EQ(message("nowhere"),
            "train_mnist: nowhere/train-images-idx3-ubyte: No such file or directory (files that "
            "end in .gz: gunzip them)\n");
  shell("./train --draw other 70");
  EXPECT_NE(message("other").find("70 examples leave a last batch of 6: compile with --batch 32,6"),
            std::string::npos);
  // A label that is no class.
  fs::path labels = folder_ / "digits/train-labels-idx1-ubyte";
  std::fstream file(labels, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(8);
  file.put(77);
  file.close();
  const std::string text = message("digits");
  EXPECT_NE(text.find("an index out of range, at "), std::string::npos) << text;
  EXPECT_NE(text.find("mnist_mlp.json:"), std::string::npos) << text;
}

constexpr const char* kStatuses = R"(#include <math.h>
#include <stdio.h>
#include "line.h"

static line_state state;
static char bytes[sizeof(line_state) + 8];

int main(void) {
  line_context* context;
  float x[4] = {1, 2, 3, 4}, y[4] = {3, 5, 7, 9}, loss, line[4];
  printf("%d ", line_open(&context, 0));
  printf("%d ", context == NULL);
  printf("%d ", line_open(&context, 2));
  printf("%d ", line_init(context, &state, 1));
  printf("%d ", line_step(context, &state, 4, x, y, &loss));
  printf("%d ", loss > 0 && isfinite(loss));
  printf("%d ", line_step(context, &state, 4, x, y, NULL));
  printf("%d ", line_step(context, &state, 3, x, y, &loss));
  line_state* misaligned = (line_state*)(bytes + ((size_t)bytes % 64 == 8 ? 16 : 8));
  printf("%d ", line_init(context, misaligned, 1));
  state.line_kernel[0][0] = 2;
  state.line_bias[0] = 1;
  printf("%d ", line_predict(context, &state, 4, x, line));
  printf("%g %g %g %g ", line[0], line[1], line[2], line[3]);
  x[2] = INFINITY;
  printf("%d ", line_step(context, &state, 4, x, y, &loss));
  printf("%s|%s|%s\n", line_place(context), line_describe(5), line_describe(99));
  line_close(context);
  line_close(NULL);
  return 0;
}
)";

TEST_F(Program, FunctionsReturnTheirStatus) {
  const Outcome compiled =
      gradus("compile models/linear_regression.json --batch 4 --name line -o " +
             (folder_ / "line.o").string());
  ASSERT_EQ(compiled.status, 0) << compiled.output;
  std::ofstream(folder_ / "main.c") << kStatuses;
  std::ofstream(folder_ / "other.cpp") << "#include \"line.h\"\nint main() { return 0; }\n";
  const Outcome run = run_shell(
      folder_,
      "c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror other.cpp -o other && "
      "cc -std=c11 -Wall -Wextra -Wpedantic -Werror main.c line.o -lm -lpthread -o main && ./main");
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.output,
            "2 1 0 0 0 1 0 5 4 0 3 5 7 9 8 |not compiled for batches of this many examples|"
            "unknown status\n");
}

/// Under the thread sanitizer; the fault is that of the lowest task with any number of threads.
TEST_F(Program, ThreadsOfAnArtefactMeet) {
  std::ofstream(folder_ / "empty.c") << "int main(void) { return 0; }\n";
  const std::string sanitized = "cc -std=gnu11 -g -O1 -fsanitize=thread ";
  if (run_shell(folder_, sanitized + "empty.c -o empty && ./empty").status != 0) {
    GTEST_SKIP() << "the C compiler has no thread sanitizer";
  }
  const Outcome outcome =
      run_shell(folder_, sanitized + "-I '" + kSource.string() + "' '" +
                             (kSource / "tests/models/files/driver_threads.c").string() +
                             "' -lm -lpthread -o threads && ./threads");
  EXPECT_EQ(outcome.status, 0);
  const std::string first = outcome.output.substr(0, outcome.output.find('\n') + 1);
  EXPECT_NE(first.find(" runs, an integer division by zero, the end\n"), std::string::npos)
      << outcome.output;
  EXPECT_EQ(outcome.output, first + first + first + first);
}

/// The header is documentation: its text is kept. GRADUS_UPDATE=1 writes it.
TEST_F(Program, TheHeaderSaysItAll) {
  const Outcome compiled = gradus(
      "compile models/linear_regression.json --batch 4,2,4 --isa x86-64-v3,x86-64-v4 "
      "--what train,evaluate,predict -o " +
      (folder_ / "line.ll").string());
  ASSERT_EQ(compiled.status, 0) << compiled.output;
  const fs::path golden = kSource / "tests/golden/linear_regression_header.txt";
  const std::string header = contents(folder_ / "line.h");
  if (std::getenv("GRADUS_UPDATE") != nullptr) std::ofstream(golden) << header;
  EXPECT_EQ(header, contents(golden));
  EXPECT_EQ(header.find("One exception"), std::string::npos);
  (void)gradus("compile models/spirals_mlp.json --isa aarch64 -o " + (folder_ / "arm.o").string());
  EXPECT_NE(contents(folder_ / "arm.h").find("One exception: AArch64"), std::string::npos);
  // The same in its other forms.
  EXPECT_NE(contents(folder_ / "line.ll").find("define i32 @linear_regression_step("),
            std::string::npos);
  (void)gradus("compile models/linear_regression.json --batch 4 -o " +
               (folder_ / "line.s").string());
  EXPECT_NE(contents(folder_ / "line.s").find("linear_regression_step:"), std::string::npos);
}

/// What libc, libm and pthread have.
const std::set<std::string> kLibraryNames = {"calloc",
                                             "fma",
                                             "fmaf",
                                             "fmod",
                                             "fmodf",
                                             "free",
                                             "memcpy",
                                             "memset",
                                             "posix_memalign",
                                             "pthread_cond_broadcast",
                                             "pthread_cond_destroy",
                                             "pthread_cond_init",
                                             "pthread_cond_wait",
                                             "pthread_create",
                                             "pthread_join",
                                             "pthread_mutex_destroy",
                                             "pthread_mutex_init",
                                             "pthread_mutex_lock",
                                             "pthread_mutex_unlock",
                                             "sysconf"};

TEST_F(Program, ArtefactsNeedOnlyTheCLibraryAndShowOnlyTheHeadersFunctions) {
  for (const char* isa : {"x86-64,x86-64-v3", "aarch64"}) {
    SCOPED_TRACE(isa);
    const std::string object = (folder_ / "digits.o").string();
    const Outcome compiled =
        gradus("compile models/digits_mlp.json --what train -o " + object + " --isa " + isa);
    ASSERT_EQ(compiled.status, 0) << compiled.output;
    std::istringstream lines(run_shell(folder_, "nm -P -g digits.o | sort").output);
    std::string defined;
    for (std::string name, kind, rest; lines >> name >> kind && std::getline(lines, rest);) {
      if (kind == "U") {
        EXPECT_TRUE(kLibraryNames.contains(name)) << name;
      } else {
        defined += name + " " + kind + " ";
      }
    }
    EXPECT_EQ(defined,
              "digits_mlp_close T digits_mlp_describe T digits_mlp_init T digits_mlp_isa T "
              "digits_mlp_open T digits_mlp_place T digits_mlp_shuffle T digits_mlp_step T ");
  }
}

}  // namespace
}  // namespace gradus
