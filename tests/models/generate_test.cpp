// Texts as a user trains on them and has them continued.

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "frontend/model.h"
#include "tests/models/executors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

class Generate : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    text_ = write("text", repeated("abcaded", 400));
  }

  static std::string repeated(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  }

  std::string write(const std::string& name, const std::string& text) const {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  /// A model of sequences of 12 with these layers.
  [[nodiscard]] std::string model(const std::string& name, const std::string& layers,
                                  const std::string& data) const {
    return write(name, R"({"gradus": 1, "data": {"source": "text", "length": 12, )" + data + R"(},
      "model": {"inputs": {"text": "i32[12]", "next": "i32[12]"}, "layers": [
        {"layer": "embedding", "from": "text", "input_dim": 256, "output_dim": 32,
         "embeddings_initializer": {"function": "normal", "deviation": 0.5}}, )" +
                           layers + R"(, {"layer": "dense", "units": 256, "name": "logits"}]},
      "loss": {"function": "sparse_categorical_cross_entropy", "logits": "logits",
               "labels": "next"},
      "optimizer": {"method": "adam", "learning_rate": 0.01},
      "training": {"steps": 300, "batch": 16, "seed": 3}})");
  }
  [[nodiscard]] std::string transformer() const {
    return model("transformer.json",
                 R"({"layer": "positional_embedding", "name": "begin"},
        {"layer": "multi_head_attention", "num_heads": 2, "key_dim": 16, "causal": true,
         "name": "attended"}, {"layer": "add", "from": ["attended", "begin"]},
        {"layer": "layer_norm"})",
                 "\"file\": \"" + text_ + "\"");
  }
  [[nodiscard]] std::string recurrent(const std::string& data) const {
    return model("recurrent.json",
                 R"({"layer": "gru", "units": 32, "return_sequences": true, "stateful": true,
                     "name": "memory"})",
                 data + ", \"contiguous\": true");
  }

  void train(const std::string& model, const std::string& options = "") const {
    const Outcome outcome =
        gradus("train " + model + " --threads 1 -o " + (folder_ / "run").string() + " " + options);
    ASSERT_EQ(outcome.status, 0) << outcome.output;
  }

  /// What the command prints on stdout.
  [[nodiscard]] std::string continued(const std::string& model, const std::string& options) const {
    const Outcome outcome = gradus("generate " + model + " --weights " +
                                   (folder_ / "run/weights.safetensors").string() + " " + options +
                                   " 2> " + (folder_ / "log").string());
    EXPECT_EQ(outcome.status, 0) << outcome.output << contents(folder_ / "log");
    return outcome.output;
  }

  std::string text_;
};

/// The program of one token, by the interpreter and as kernels.
TEST(DecodeProgram, TheSameBitsInEveryExecutor) {
  const auto expect_same_bits = [](const ir::Graph& graph) {
    Inputs inputs;
    for (const ir::NodeId id : graph.inputs()) {
      const ir::Node& node = graph.node(id);
      const bool floats = node.types[0].element == ElementType::f32;
      inputs.emplace(node.attributes.get<std::string>("name"),
                     random_tensor(node.types[0], static_cast<std::uint32_t>(id), floats ? -0.2 : 0,
                                   floats ? 0.2 : 15));
    }
    const ir::Interpretation expected = ir::interpret(graph, inputs);
    codegen::CompileOptions options;
    expect_same(expected, run(graph, inputs, options, 1), "fused");
    expect_same(expected, run(graph, inputs, options, 3), "3 threads");
    options.fuse = false;
    expect_same(expected, run(graph, inputs, options, 2), "unfused");
    return expected;
  };
  for (const std::string name : {"gpt_small", "char_lstm", "transformer_reverse"}) {
    SCOPED_TRACE(name);
    const fs::path path = fs::path(GRADUS_SOURCE_DIR) / "models" / (name + ".json");
    const frontend::Model model(path.string(), contents(path));
    const frontend::DecodeProgram program = model.decode(2, {.temperature = 0.8, .top_k = 5});
    const ir::Interpretation result = expect_same_bits(program.graph);
    EXPECT_EQ(result.outputs.at("next").type, (TensorType{ElementType::i32, {2}}));
    EXPECT_EQ(program.encode.has_value(), name == "transformer_reverse");
    if (!program.encode) {
      (void)expect_same_bits(model.decode(2, {.temperature = 0.8, .top_k = 5}, 40).graph);
      continue;
    }
    EXPECT_FALSE(expect_same_bits(*program.encode).updates.empty());
  }
}

/// A net that copies short sequences, by its encoder alone: the prompt is the start.
TEST_F(Generate, AnEncodersSequenceIsCopied) {
  const std::string file =
      "models/transformer_reverse.json --set data.task=copy "
      "--set data.length=16 --set data.least_length=4 --set data.vocabulary=6 "
      "--set data.examples=16000 --set data.test_examples=0 "
      "--set training.epochs=1";
  train(file, "--set training.batch=32");
  const std::string options = "--prompt 1 --greedy --length 5 --source ";
  EXPECT_EQ(continued(file, options + "'3 5 2 4 2'"), "1 3 5 2 4 2\n");
  EXPECT_EQ(continued(file, options + "'2 2 5 3 4' --no-fuse"), "1 2 2 5 3 4\n");
  const std::string drawn = "--prompt 1 --temperature 3 --length 20 --samples 3 --source '3 4 5'";
  EXPECT_EQ(continued(file, drawn), continued(file, drawn + " --threads 3"));
}

TEST_F(Generate, GoesOnAsTheTextDoes) {
  for (const std::string& file : {transformer(), recurrent("\"file\": \"" + text_ + "\"")}) {
    train(file);
    EXPECT_EQ(continued(file, "--prompt edab --greedy --length 8"), "edabcadedabc\n");
  }
}

TEST_F(Generate, ProgramsAreKeptBetweenRuns) {
  const std::string file = transformer();
  train(file);
  setenv("GRADUS_CACHE", (folder_ / "cache").c_str(), 1);
  const std::string options = "--prompt edab --greedy --length 8 --prefill always --json";
  const auto cold = nlohmann::json::parse(continued(file, options));
  const auto warm = nlohmann::json::parse(continued(file, options));
  unsetenv("GRADUS_CACHE");
  EXPECT_EQ(cold["cached_modules"], 0);
  EXPECT_GT(cold["compiled_modules"], 1);
  EXPECT_EQ(warm["cached_modules"], cold["compiled_modules"]);
  EXPECT_EQ(warm["compiled_modules"], 0);
  EXPECT_EQ(warm["samples"], cold["samples"]);
}

/// Tokens are chosen in the program, so that they are its bits, too.
TEST_F(Generate, TheSameTokensInEveryWayOfRunning) {
  const std::string file = transformer();
  train(file, "--set training.steps=5");
  const std::string options = "--prompt ab --length 30 --samples 3 --temperature 1.5 ";
  const std::string expected = continued(file, options + "--threads 1");
  EXPECT_EQ(continued(file, options + "--threads 3"), expected);
  EXPECT_EQ(continued(file, options + "--no-fuse"), expected);
  EXPECT_EQ(continued(file, options + "--isa x86-64"), expected);
  EXPECT_EQ(continued(file, options + "--seed 3"), expected);  // that of training
  EXPECT_NE(continued(file, options + "--seed 4"), expected);
  EXPECT_EQ(continued(file, options + "-o " + (folder_ / "page").string()),
            (folder_ / "page").string() + "\n");
  EXPECT_EQ(contents(folder_ / "page"), expected);
  const auto json = nlohmann::json::parse(continued(file, options + "--json"));
  ASSERT_EQ(json["samples"].size(), 3u);
  EXPECT_NE(json["samples"][0], json["samples"][1]);
  for (const auto& sample : json["samples"]) {
    EXPECT_EQ(sample["tokens"].size(), 30u);
    EXPECT_NE(expected.find("ab" + sample["text"].get<std::string>() + "\n"), std::string::npos);
  }
}

/// A prompt that is read at once goes on as one that is read token by token, with the same random
/// numbers.
TEST_F(Generate, APromptIsReadAtOnceOrTokenByToken) {
  const std::string file = recurrent("\"file\": \"" + text_ + "\"");
  train(file, "--set training.steps=20");
  const std::string drawn = "--prompt " + repeated("abcaded", 7) + " --temperature 1.2 --length 36";
  const std::string whole = continued(file, drawn + " --prefill never");
  EXPECT_EQ(continued(file, drawn + " --prefill always"), whole);
  EXPECT_EQ(continued(file, drawn), whole);
  EXPECT_EQ(whole.size(), 49 + 36 + 1u);
  EXPECT_NE(whole.find(repeated("abcaded", 12)), 0u);  // it is drawn
}

/// So is one of a decoder, which reads what the encoder has left.
TEST_F(Generate, ADecodersPromptIsReadAtOnce) {
  const std::string file =
      "models/transformer_reverse.json --set data.examples=640 --set data.test_examples=0 "
      "--set training.epochs=1";
  train(file);
  for (const std::string samples : {"1", "3"}) {
    const std::string options =
        "--source '3 5 2 4 2 7 9' --prompt '1 2 4 2 5' --temperature 2 "
        "--length 9 --samples " +
        samples;
    const std::string expected = continued(file, options + " --prefill never");
    EXPECT_EQ(continued(file, options + " --prefill always"), expected);
    const std::string other =
        "--source '8 8 8' --prompt '1 2 4 2 5' --temperature 2 --length 9 "
        "--samples " +
        samples;
    EXPECT_NE(continued(file, other + " --prefill always"), expected);
  }
  const Outcome long_prompt =
      gradus("generate " + file + " --weights " + (folder_ / "run/weights.safetensors").string() +
             " --source '3 5' --prefill always --prompt '1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8'");
  EXPECT_EQ(long_prompt.status, 2);
  EXPECT_NE(long_prompt.output.find("the prompt has 17 tokens, the model sees 16 at a time"),
            std::string::npos)
      << long_prompt.output;
}

/// A C program around the model, compiled ahead of time, generates the same.
TEST_F(Generate, AProgramInCGoesOnTheSame) {
  struct Case {
    std::string model, options, source, prompt, tokens;
  };
  const Case cases[] = {{transformer(), " --set data.tokens=bytes", "", "ab", "97 98"},
                        {"models/transformer_reverse.json",
                         " --set data.examples=640 --set data.test_examples=0 "
                         "--set training.epochs=1",
                         "3 5 2 4 2 7 9", "1 2 4", "1 2 4"}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.model);
    train(one.model + one.options, one.source.empty() ? "--set training.steps=5" : "");
    const std::string source = one.source.empty() ? "" : " --source '" + one.source + "'";
    const auto json = nlohmann::json::parse(
        continued(one.model + one.options,
                  "--json --seed 7 --length 9 --prompt '" + one.prompt + "'" + source));
    std::string expected;
    for (const int token : json["samples"][0]["tokens"]) expected += fmt::format("{} ", token);
    const Outcome compiled =
        gradus("compile " + one.model + one.options +
               " --what generate --name m --isa x86-64,x86-64-v3 -o " + (folder_ / "m.o").string());
    ASSERT_EQ(compiled.status, 0) << compiled.output;
    const Outcome outcome =
        run_shell(folder_, "cc -std=c11 -O1 -Wall -Wextra -Werror -I. -DMODEL_H='\"m.h\"' " +
                               std::string(one.source.empty() ? "" : "-DENCODES ") +
                               "'" GRADUS_SOURCE_DIR
                               "/tests/models/files/generate.c' m.o -lm -lpthread -o generate && "
                               "./generate run/weights.safetensors 7 9 " +
                               one.source + " -- " + one.tokens);
    ASSERT_EQ(outcome.status, 0) << outcome.output << contents(folder_ / "m.h");
    EXPECT_EQ(outcome.output, expected);
  }
  const Outcome mixed = gradus("compile models/gpt_small.json --what generate,train -o " +
                               (folder_ / "m.o").string());
  EXPECT_EQ(mixed.status, 2);
  EXPECT_NE(mixed.output.find("--what generate stands alone"), std::string::npos) << mixed.output;
}

/// Compiling pays off where a token fetches much and the prompt is long.
TEST_F(Generate, LargeModelsReadLongPromptsAtOnce) {
  const auto is_prefilled = [&](int units, int tokens) {
    const std::string dense = fmt::format(R"({{"layer": "dense", "units": {}}})", units);
    const std::string file =
        model("wide.json", dense + ", " + dense, "\"file\": \"" + text_ + "\"");
    train(file, "--set training.steps=1");
    const std::string options =
        "--greedy --length 1 --json --prompt " + std::string(static_cast<std::size_t>(tokens), 'a');
    return nlohmann::json::parse(continued(file, options))["prefilled"].get<bool>();
  };
  EXPECT_FALSE(is_prefilled(64, 400));
  EXPECT_FALSE(is_prefilled(1024, 2));
  EXPECT_TRUE(is_prefilled(1024, 400));
}

/// A net of 12 positions goes on from the last 6; one that carries its state has no such limit.
TEST_F(Generate, GoesOnBehindItsLastPosition) {
  const std::string file = transformer();
  train(file);
  EXPECT_EQ(continued(file, "--prompt abcadedabcadedabcaded --greedy --length 28"),
            repeated("abcaded", 7) + "\n");
  EXPECT_NE(contents(folder_ / "log").find("the model sees 12 tokens"), std::string::npos);
  EXPECT_EQ(continued(file, "--prompt abcade --greedy --length 7"), "abcadedabcade\n");
  EXPECT_EQ(contents(folder_ / "log").find("the model sees"), std::string::npos);
  const std::string other = recurrent("\"file\": \"" + text_ + "\"");
  train(other);
  EXPECT_EQ(continued(other, "--prompt abcaded --greedy --length 42"),
            repeated("abcaded", 7) + "\n");
  EXPECT_EQ(contents(folder_ / "log").find("the model sees"), std::string::npos);
}

TEST_F(Generate, BytesAndNumbersAreTokensToo) {
  const std::string bytes = recurrent("\"tokens\": \"bytes\", \"file\": \"" +
                                      write("bytes", repeated("x\xC3\xA4y\xFF", 500)) + "\"");
  train(bytes);
  EXPECT_EQ(continued(bytes, "--prompt x --greedy --length 9"), "x\xC3\xA4y\xFFx\xC3\xA4y\xFF\n");
  const auto json =
      nlohmann::json::parse(continued(bytes, "--prompt x --greedy --length 4 --json"));
  EXPECT_EQ(json["samples"][0]["tokens"], nlohmann::json({0xC3, 0xA4, 'y', 0xFF}));
  const std::string numbers =
      "--set 'data={\"source\": \"tensors\", \"file\": \"none\", \"shuffle\": false}'";
  EXPECT_EQ(continued(bytes, numbers + " --prompt '121  255' --greedy --length 4"),
            "121 255 120 195 164 121\n");
}

/// Of characters of several bytes each; the numbers of tokens come with the weights.
TEST_F(Generate, CharactersComeWithTheWeights) {
  const std::string text = write("greek", repeated("\u03b1\u03b2\u20ac\U0001F600", 500));
  const std::string file = recurrent("\"file\": \"" + text + "\"");
  train(file);
  fs::remove(text);
  EXPECT_EQ(continued(file, "--prompt \u03b2 --greedy --length 4"),
            "\u03b2\u20ac\U0001F600\u03b1\u03b2\n");
  fs::copy(folder_ / "run/checkpoint.safetensors", folder_ / "run/weights.safetensors",
           fs::copy_options::overwrite_existing);
  EXPECT_EQ(continued(file, "--prompt \u03b2 --greedy --length 2"), "\u03b2\u20ac\U0001F600\n");
}

/// What has been printed stays, and is what an uninterrupted run prints, too.
TEST_F(Generate, AnInterruptedGenerationKeepsItsText) {
  const std::string file = recurrent("\"file\": \"" + text_ + "\"");
  train(file, "--set training.steps=5");
  const std::string weights = " --weights " + (folder_ / "run/weights.safetensors").string();
  const std::string line = "gradus generate " + file + weights + " --prompt ab --length ";
  const auto stopped = [&](const std::string& options) {
    return run_shell(GRADUS_SOURCE_DIR, "timeout --preserve-status -s INT 2 " + line + "10000000 " +
                                            options + " 2> /dev/null");
  };
  const Outcome one = stopped("");
  EXPECT_EQ(one.status, 130);
  ASSERT_GT(one.output.size(), 20u);
  const std::string begin = run_shell(GRADUS_SOURCE_DIR, line + "15 2> /dev/null").output;
  EXPECT_EQ(one.output.substr(0, 17) + "\n", begin);
  const Outcome two = stopped("--samples 2 -o " + (folder_ / "page").string());
  EXPECT_EQ(two.status, 130);
  EXPECT_TRUE(contents(folder_ / "page").starts_with("--- 1 of 2\nab"));
  const Outcome json = stopped("--json");
  EXPECT_EQ(json.status, 130);
  EXPECT_NE(json.output.find("\"interrupted\":true"), std::string::npos);
}

double number_after(const std::string& text, const std::string& start) {
  std::smatch found;
  if (std::regex_search(text, found, std::regex(start + "([0-9.]+)"))) return std::stod(found[1]);
  return std::numeric_limits<double>::quiet_NaN();
}

/// Windows of two from "aab" over and over: who knows only the window cannot tell what follows an a
/// at its beginning, which costs log(2) / 3 = 0.231 nats on average; who has read on knows.
TEST_F(Generate, StateIsCarriedFromBatchToBatch) {
  const std::string text = write("threes", repeated("aab", 2000));
  const auto test_loss = [&](const std::string& options) {
    const std::string line = recurrent("\"file\": \"" + text + "\"") +
                             " --set data.length=2 --set 'model.inputs={\"text\": \"i32[2]\", "
                             "\"next\": \"i32[2]\"}' --threads 1 " +
                             options;
    const Outcome trained = gradus("train " + line + " -o " + (folder_ / "run").string());
    EXPECT_EQ(trained.status, 0) << trained.output;
    const double loss = number_after(trained.output, "test  loss ");
    const Outcome again =
        gradus("evaluate " + line + " --weights " + (folder_ / "run/weights.safetensors").string());
    EXPECT_NEAR(number_after(again.output, "loss "), loss, 1e-4) << again.output;
    return loss;
  };
  EXPECT_LT(test_loss(""), 0.05);
  EXPECT_GT(test_loss("--set model.layers.1.stateful=false"), 0.2);
}

/// Also where an epoch is interrupted, and with validation in between.
TEST_F(Generate, CarriedStateIsResumed) {
  const std::string file = recurrent("\"validation\": 0.3, \"file\": \"" + text_ + "\"");
  const auto weights = [&](const std::string& folder, int steps, const std::string& options) {
    const Outcome outcome =
        gradus("train " + file + " --set training.steps=" + std::to_string(steps) + " -o " +
               (folder_ / folder).string() + " " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return contents(folder_ / folder / "weights.safetensors");
  };
  const std::string expected = weights("whole", 23, "--threads 1");
  ASSERT_FALSE(expected.empty());
  for (const int steps : {3, 8, 9, 17}) (void)weights("parts", steps, steps == 3 ? "" : "--resume");
  EXPECT_EQ(weights("parts", 23, "--resume --threads 2"), expected);
  EXPECT_EQ(weights("unfused", 23, "--no-fuse"), expected);
  EXPECT_NE(weights("stateless", 23, "--set model.layers.1.stateful=false"), expected);
}

}  // namespace
}  // namespace gradus
