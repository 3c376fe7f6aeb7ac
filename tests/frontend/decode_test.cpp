// Generation against prediction: what a model says of a token that it is given after others is what
// it says of it in the whole sequence.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "tests/support/random.h"

namespace gradus::frontend {
namespace {

using Values = std::map<std::string, Tensor>;

constexpr std::int64_t kBatch = 2;
constexpr std::int64_t kTokens = 65;  // with a sequence each, so many logits that they are chains

/// A model of sequences of `length` tokens with these layers between embedding and logits.
std::string model_of(const std::string& layers, std::int64_t length, std::int64_t width) {
  const std::string text = "\"i32[" + std::to_string(length) + "]\"";
  return R"({"gradus": 1, "data": {"source": "text", "file": "none"}, "model": {"inputs": {"text": )" +
         text + R"(, "next": )" + text +
         R"(}, "layers": [{"layer": "embedding", "from": "text", "input_dim": 65, "output_dim": )" +
         std::to_string(width) + "},\n" + layers +
         R"(, {"layer": "dense", "units": 65, "name": "logits"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "next"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
}

/// Parameters at random; counters at 0.
Values state_of(const Model& model) {
  support::Random random(7);
  Values values;
  for (const StateSpec& entry : model.state()) {
    Tensor& value = values.emplace(entry.name, Tensor(entry.type)).first->second;
    if (entry.type.element != ElementType::f32) continue;
    for (float& x : value.as<float>()) x = static_cast<float>(random.uniform(-0.4, 0.4));
  }
  return values;
}

/// Of every sequence the first `padding` tokens are 0.
Tensor tokens(std::int64_t length, std::int64_t padding = 0) {
  support::Random random(9);
  Tensor result({ElementType::i32, {kBatch, length}});
  std::int64_t i = 0;
  for (std::int32_t& x : result.as<std::int32_t>()) {
    x = static_cast<std::int32_t>(random.between(padding > 0 ? 1 : 0, kTokens - 1));
    if (i++ % length < padding) x = 0;
  }
  return result;
}

/// A model given one position after another.
class Stepwise {
 public:
  Stepwise(const Model& model, Values state, const Sampling& sampling)
      : program_(model.decode(kBatch, sampling)), state_(std::move(state)) {
    for (const StateSpec& entry : program_.carried)
      state_.insert_or_assign(entry.name, Tensor(entry.type));
  }
  [[nodiscard]] const DecodeProgram& program() const { return program_; }

  [[nodiscard]] const Values& state() const { return state_; }

  /// Reads what an encoder reads.
  void encode(const Tensor& source) {
    Values inputs = state_;
    inputs.insert_or_assign(program_.source, source);
    ir::Interpretation result = ir::interpret(*program_.encode, inputs);
    for (auto& [name, value] : result.updates) state_.insert_or_assign(name, std::move(value));
  }

  /// The outputs for the tokens at the next position.
  Values step(std::span<const std::int32_t> now) {
    Values inputs = state_;
    Tensor token({ElementType::i32, {kBatch, 1}});
    std::ranges::copy(now, token.as<std::int32_t>().begin());
    inputs.insert_or_assign(program_.token, token);
    inputs.insert_or_assign("position", Tensor::scalar(ElementType::i64, position_++));
    ir::Interpretation result = ir::interpret(program_.graph, inputs);
    for (auto& [name, value] : result.updates) state_.insert_or_assign(name, std::move(value));
    return std::move(result.outputs);
  }

 private:
  DecodeProgram program_;
  Values state_;
  std::int64_t position_ = 0;
};

/// Expects the logits of every position within `tolerance` of the prediction's; 0: equal.
void expect_as_predicted(const std::string& layers, std::int64_t length, std::int64_t width,
                         double tolerance, std::int64_t padding = 0) {
  SCOPED_TRACE(layers);
  const Model model("file.json", model_of(layers, length, width));
  const Values state = state_of(model);
  const Tensor text = tokens(length, padding);
  Values inputs = state;
  inputs.emplace("text", text);
  const Tensor all = ir::interpret(model.predict(kBatch), inputs).outputs.at("logits");
  Stepwise stepwise(model, state, {});
  for (std::int64_t t = 0; t < length; ++t) {
    std::vector<std::int32_t> now;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      now.push_back(text.as<std::int32_t>()[static_cast<std::size_t>(b * length + t)]);
    }
    const Tensor logits = stepwise.step(now).at("logits");
    for (std::int64_t b = 0; b < kBatch; ++b) {
      for (std::int64_t i = 0; i < kTokens; ++i) {
        const float found = logits.as<float>()[static_cast<std::size_t>(b * kTokens + i)];
        const float expected =
            all.as<float>()[static_cast<std::size_t>((b * length + t) * kTokens + i)];
        if (tolerance == 0) {
          ASSERT_EQ(found, expected) << "position " << t;
        } else {
          ASSERT_NEAR(found, expected, tolerance) << "position " << t;
        }
      }
    }
  }
}

constexpr const char* kBlock = R"(, {"layer": "layer_norm", "name": "in"},
    {"layer": "multi_head_attention", "num_heads": 2, "key_dim": KEY, "causal": true, "kv_heads": GROUPS,
     "rotary": ROTARY, "dropout": 0.1, "name": "attended"},
    {"layer": "add", "from": ["attended", "begin"], "name": "middle"},
    {"layer": "rms_norm"}, {"layer": "dense", "units": 70, "activation": "gelu"}, {"op": "tanh"},
    {"layer": "dense", "units": WIDTH}, {"layer": "dropout", "rate": 0.1, "name": "fed"},
    {"layer": "add", "from": ["fed", "middle"]}, {"layer": "concatenate", "from": ["fed", "middle"]})";

std::string transformer(const std::string& positions, int width, int groups, bool rotary) {
  std::string text = positions + kBlock;
  const auto replace = [&](const std::string& name, const std::string& value) {
    text.replace(text.find(name), name.size(), value);
  };
  replace("KEY", std::to_string(width / 2));
  replace("GROUPS", std::to_string(groups));
  replace("ROTARY", rotary ? "true" : "false");
  replace("WIDTH", std::to_string(width));
  return text;
}

constexpr const char* kLearned = R"({"layer": "positional_embedding", "name": "begin"})";
constexpr const char* kSines = R"({"layer": "sinusoidal_positions", "name": "begin"})";
constexpr const char* kNone = R"({"layer": "activation", "function": "tanh", "name": "begin"})";

/// With at least 64 keys and 64 features of a head every contraction is a chain in both programs.
TEST(Decode, ATransformerSaysTheSameBits) {
  expect_as_predicted(transformer(kLearned, 128, 2, false), 64, 128, 0);
}

TEST(Decode, TransformersOfAnySizeSayTheSame) {
  for (const int groups : {1, 2}) {
    expect_as_predicted(transformer(kLearned, 8, groups, false), 7, 8, 1e-5);
    expect_as_predicted(transformer(kSines, 8, groups, false), 7, 8, 1e-5);
    expect_as_predicted(transformer(kNone, 8, groups, true), 7, 8, 1e-5);
  }
}

/// A program that reads the first tokens at once says what reading one after another says, and
/// leaves the same state; 0: to the bit.
void expect_read_at_once(const std::string& layers, std::int64_t length, std::int64_t width,
                         std::int64_t count, double tolerance) {
  SCOPED_TRACE(layers);
  const Model model("file.json", model_of(layers, length, width));
  const Tensor text = tokens(length);
  const DecodeProgram program = model.decode(kBatch, {}, count);
  Stepwise stepwise(model, state_of(model), {});
  Values inputs = state_of(model);
  for (const StateSpec& entry : program.carried) inputs.emplace(entry.name, Tensor(entry.type));
  Tensor first({ElementType::i32, {kBatch, count}});
  Values outputs;
  for (std::int64_t t = 0; t < count; ++t) {
    std::vector<std::int32_t> now;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      now.push_back(text.as<std::int32_t>()[static_cast<std::size_t>(b * length + t)]);
      first.as<std::int32_t>()[static_cast<std::size_t>(b * count + t)] = now.back();
    }
    outputs = stepwise.step(now);
  }
  inputs.insert_or_assign(program.token, first);
  inputs.insert_or_assign("position", Tensor::scalar(ElementType::i64, std::int64_t{0}));
  const ir::Interpretation found = ir::interpret(program.graph, inputs);
  EXPECT_EQ(found.outputs.at("next"), outputs.at("next"));  // drawn with the same numbers
  EXPECT_EQ(program.carried.size(), stepwise.program().carried.size());
  const auto expect_near = [&](const Tensor& x, const Tensor& y) {
    ASSERT_EQ(x.type, y.type);
    if (tolerance == 0) {
      EXPECT_EQ(x, y);
      return;
    }
    for (std::size_t i = 0; i < x.as<float>().size(); ++i) {
      ASSERT_NEAR(x.as<float>()[i], y.as<float>()[i], tolerance) << i;
    }
  };
  expect_near(found.outputs.at("logits"), outputs.at("logits"));
  for (const auto& [name, value] : found.updates) {
    if (name == "step") {
      EXPECT_EQ(value, stepwise.state().at(name));
    } else {
      expect_near(value, stepwise.state().at(name));
    }
  }
}

/// Padding in front: its queries see no key at all, neither of what comes later in a sequence nor
/// of the places kept for it.
TEST(Decode, QueriesOfPaddingSayTheSame) {
  expect_as_predicted(R"({"layer": "multi_head_attention", "from": ["embedding", "text"],
    "num_heads": 2, "key_dim": 4, "causal": true, "mask": true, "use_bias": false})",
                      7, 8, 1e-5, 3);
}

TEST(Decode, FirstTokensAreReadAtOnce) {
  expect_read_at_once(transformer(kLearned, 128, 2, false), 64, 128, 64, 0);
  for (const std::int64_t count : {2, 5, 7}) {
    expect_read_at_once(transformer(kSines, 8, 2, false), 7, 8, count, 1e-5);
    expect_read_at_once(transformer(kNone, 8, 1, true), 7, 8, count, 1e-5);
  }
  expect_read_at_once(R"({"layer": "lstm", "units": 64, "return_sequences": true})", 6, 64, 4, 0);
}

std::string source_of(const std::string& file) {
  std::ifstream stream(std::string(GRADUS_SOURCE_DIR) + "/models/" + file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

/// Sequences of two lengths behind each other's padding.
Tensor padded(std::int64_t length, std::int32_t first) {
  Tensor result({ElementType::i32, {kBatch, length}});
  support::Random random(11);
  for (std::int64_t b = 0; b < kBatch; ++b) {
    for (std::int64_t t = 0; t < length - 5 * b; ++t) {
      result.as<std::int32_t>()[static_cast<std::size_t>(b * length + t)] =
          t == 0 ? first : static_cast<std::int32_t>(random.between(2, 19));
    }
  }
  return result;
}

/// The source is read once, the result one position after another, masks and all.
TEST(Decode, AnEncoderAndDecoderSayTheSame) {
  constexpr std::int64_t kLength = 16;
  constexpr std::size_t kClasses = 20;
  for (const bool rotary : {false, true}) {
    std::string text = source_of("transformer_reverse.json");
    const std::string heads = "\"num_heads\": \"=heads\"";
    if (rotary) text.replace(text.find(heads), heads.size(), heads + ", \"rotary\": true");
    const Model model("file.json", text);
    const Values state = state_of(model);
    const Tensor source = padded(kLength, 7);
    const Tensor target = padded(kLength, 1);
    Values inputs = state;
    inputs.emplace("source", source);
    inputs.emplace("target", target);
    const Tensor all = ir::interpret(model.predict(kBatch), inputs).outputs.at("logits");
    Stepwise stepwise(model, state, {});
    EXPECT_EQ(stepwise.program().token, "target");
    EXPECT_EQ(stepwise.program().source, "source");
    EXPECT_EQ(stepwise.program().source_positions, kLength);
    EXPECT_EQ(stepwise.program().tokens, std::int64_t{kClasses});
    // Of the encoder every position needs its mask, and keys and values of two layers.
    const auto encoded = std::ranges::count_if(
        stepwise.program().carried,
        [](const StateSpec& entry) { return entry.name.starts_with("encode/"); });
    EXPECT_LE(encoded, 6);
    stepwise.encode(source);
    for (std::int64_t t = 0; t < kLength; ++t) {
      std::vector<std::int32_t> now;
      for (std::int64_t b = 0; b < kBatch; ++b) {
        now.push_back(target.as<std::int32_t>()[static_cast<std::size_t>(b * kLength + t)]);
      }
      const Tensor logits = stepwise.step(now).at("logits");
      for (std::size_t i = 0; i < kBatch * kClasses; ++i) {
        const std::size_t row = i / kClasses * kLength + static_cast<std::size_t>(t);
        ASSERT_NEAR(logits.as<float>()[i], all.as<float>()[row * kClasses + i % kClasses], 2e-5)
            << "position " << t;
      }
    }
  }
}

TEST(Decode, RecurrentNetsSayTheSameBits) {
  for (const char* layer : {R"("simple_rnn")", R"("lstm")", R"("gru")",
                            R"("gru", "reset_after": false)", R"("lstm", "stateful": false)"}) {
    const std::string one =
        std::string(R"({"layer": )") + layer + R"(, "units": 64, "return_sequences": true})";
    expect_as_predicted(one + ", " + one, 6, 64, 0);
  }
}

/// Of a net that gives one value for the whole sequence, the value so far.
TEST(Decode, ARecurrentNetNeedsNoSequenceOfResults) {
  const std::string text = R"({"gradus": 1, "data": {"source": "text", "file": "none"}, "model": {
      "inputs": {"text": "i32[5]", "next": "i32[]"},
      "layers": [{"layer": "one_hot", "from": "text", "classes": 65}, {"layer": "gru", "units": 64},
        {"layer": "dense", "units": 65, "activation": "softmax", "name": "chances"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "probabilities": "chances",
             "labels": "next"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})";
  const Model model("file.json", text);
  const Values state = state_of(model);
  Values inputs = state;
  inputs.emplace("text", tokens(5));
  const Tensor all = ir::interpret(model.predict(kBatch), inputs).outputs.at("chances");
  Stepwise stepwise(model, state, {});
  EXPECT_EQ(stepwise.program().positions, 0);
  Tensor logits;
  for (std::int64_t t = 0; t < 5; ++t) {
    const auto given = inputs.at("text").as<std::int32_t>();
    const auto at = static_cast<std::size_t>(t);
    logits = stepwise.step(std::vector<std::int32_t>{given[at], given[at + 5]}).at("logits");
  }
  for (std::size_t i = 0; i < all.as<float>().size(); ++i) {
    EXPECT_NEAR(std::exp(logits.as<float>()[i]), all.as<float>()[i], 1e-6);
  }
}

std::int32_t greatest(std::span<const float> row) {
  return static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin());
}

/// Greedy generation is prediction, again and again, of the whole sequence so far.
TEST(Decode, GreedyGenerationIsRepeatedPrediction) {
  const std::int64_t length = 12;
  for (const std::string& layers :
       {transformer(kLearned, 16, 2, false),
        std::string(R"({"layer": "lstm", "units": 24, "return_sequences": true})")}) {
    const Model model("file.json", model_of(layers, length, 16));
    const Values state = state_of(model);
    Tensor text = tokens(length);  // what stands behind the present is not seen
    const ir::Graph predict = model.predict(kBatch);
    Stepwise stepwise(model, state, {.greedy = true});
    std::set<std::int32_t> different;
    for (std::int64_t t = 0; t + 1 < length; ++t) {
      Values inputs = state;
      inputs.emplace("text", text);
      const Tensor all = ir::interpret(predict, inputs).outputs.at("logits");
      std::vector<std::int32_t> now;
      for (std::int64_t b = 0; b < kBatch; ++b) {
        now.push_back(text.as<std::int32_t>()[static_cast<std::size_t>(b * length + t)]);
      }
      const Tensor next = stepwise.step(now).at("next");
      for (std::int64_t b = 0; b < kBatch; ++b) {
        const auto row = static_cast<std::size_t>((b * length + t) * kTokens);
        const std::int32_t expected = greatest(all.as<float>().subspan(row, kTokens));
        ASSERT_EQ(next.as<std::int32_t>()[static_cast<std::size_t>(b)], expected) << t;
        different.insert(expected);
        text.as<std::int32_t>()[static_cast<std::size_t>(b * length + t + 1)] = expected;
      }
    }
    EXPECT_GT(different.size(), 1u);
  }
}

/// Of a model whose logits are the same at every step: how often each token is drawn.
TEST(Decode, TokensAreDrawnByTheirProbability) {
  const std::string text = model_of(R"({"op": "mul", "from": ["begin", "begin"]})", 3, 1);
  const std::string named = std::string(text).replace(text.find("\"output_dim\": 1}"), 16,
                                                      "\"output_dim\": 1, \"name\": \"begin\"}");
  const Model model("file.json", named);
  Values state = state_of(model);
  for (float& x : state.at("begin/embeddings").as<float>()) x = 0;
  const std::map<std::int32_t, double> likely = {{3, 0.0}, {10, 1.0}, {64, 2.0}, {7, -1.0}};
  for (std::int32_t i = 0; i < kTokens; ++i) {
    const auto found = likely.find(i);
    state.at("logits/bias").as<float>()[static_cast<std::size_t>(i)] =
        found == likely.end() ? -40 : static_cast<float>(found->second);
  }
  const auto shares = [&](const Sampling& sampling) {
    Stepwise stepwise(model, state, sampling);
    std::map<std::int32_t, int> counts;
    constexpr int kSteps = 2000;
    for (int i = 0; i < kSteps; ++i) {
      const Tensor next = stepwise.step(std::vector<std::int32_t>{0, 0}).at("next");
      for (const std::int32_t token : next.as<std::int32_t>()) ++counts[token];
    }
    std::map<std::int32_t, double> result;
    for (const auto& [token, count] : counts) result[token] = count / (kSteps * double{kBatch});
    return result;
  };
  const auto expect = [&](const Sampling& sampling, const std::set<std::int32_t>& possible) {
    double sum = 0;
    for (const auto& [token, logit] : likely) {
      if (possible.contains(token)) sum += std::exp(logit / sampling.temperature);
    }
    const std::map<std::int32_t, double> found = shares(sampling);
    for (const auto& [token, share] : found) {
      ASSERT_TRUE(possible.contains(token)) << token;
      // Five deviations of 4,000 draws are at most 0.04.
      EXPECT_NEAR(share, std::exp(likely.at(token) / sampling.temperature) / sum, 0.04) << token;
    }
    EXPECT_EQ(found.size(), possible.size());
  };
  expect({}, {3, 7, 10, 64});
  expect({.temperature = 2}, {3, 7, 10, 64});
  expect({.top_k = 2}, {10, 64});
  expect({.tokens = 64}, {3, 7, 10});
  expect({.greedy = true}, {64});
}

std::string refusal(const std::string& text) {
  const Model model("file.json", text);
  try {
    (void)model.decode(1, {});
  } catch (const UserError& error) {
    const Diagnostic& first = error.diagnostics().front();
    return first.code + " " + std::to_string(first.where.line) + ": " + first.message;
  }
  return "no error";
}

TEST(Decode, LayersThatNeedTheFutureAreErrors) {
  const auto of = [](const std::string& layer) { return refusal(model_of(layer, 6, 4)); };
  EXPECT_EQ(
      of(R"({"layer": "multi_head_attention", "num_heads": 1, "key_dim": 4})"),
      "E0214 2: no generation with multi_head_attention: it attends to positions yet to come");
  EXPECT_EQ(of(R"({"layer": "lstm", "units": 4, "return_sequences": true, "direction": "both"})"),
            "E0214 2: no generation with lstm: it begins with times yet to come");
  EXPECT_EQ(of(R"({"layer": "conv1d", "filters": 4, "kernel": 3, "padding": "same", "name": "c"})"),
            "E0214 2: no generation with conv1d 'c': it takes positions together");
  EXPECT_EQ(of(R"({"op": "transpose", "permutation": [0, 1, 2]})"),
            "E0214 2: no generation with transpose: it takes positions together");
  EXPECT_EQ(
      of(R"({"layer": "reshape", "shape": [6, 2, 2]}, {"layer": "reshape", "shape": [6, 4]})"),
      "E0214 2: no generation with reshape: it takes positions together");
}

TEST(Decode, ModelsOfOtherThingsAreErrors) {
  const auto of = [](const std::string& inputs, const std::string& layers,
                     const std::string& loss) {
    return refusal(
        R"({"gradus": 1, "data": {"source": "text", "file": "none"}, "model": {"inputs": {)" +
        inputs + "},\n\"layers\": [" + layers + "]},\n\"loss\": {" + loss +
        R"(}, "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})");
  };
  const std::string classes =
      R"("function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "next")";
  EXPECT_EQ(of(R"("text": "f32[6]", "next": "i32[]")",
               R"({"layer": "dense", "from": "text", "units": 3, "name": "logits"})", classes),
            "E0214 1: no generation with input 'text' of f32[6]: the next token may depend on one "
            "input of tokens, such as \"i32[128]\", and on one other sequence of tokens, only");
  EXPECT_EQ(of(R"("text": "i32[6]", "next": "i32[]")",
               R"({"op": "cast", "from": "text", "element": "f32"},
                  {"layer": "dense", "units": 3, "name": "logits"})",
               classes),
            "E0214 3: no generation with dense 'logits': it takes positions as features");
  EXPECT_EQ(
      of(R"("text": "i32[6]", "next": "f32[6,4]")",
         R"({"layer": "embedding", "from": "text", "input_dim": 5, "output_dim": 4, "name": "y"})",
         R"("function": "mean_squared_error", "predictions": "y", "targets": "next")"),
      "E0214 3: no generation without a loss that predicts a class");
}

/// Which tells whether a text is of one kind or another, not what comes next.
TEST(Decode, AClassifierOfTextsIsNoLanguageModel) {
  const auto of = [](const std::string& data, int classes) {
    return refusal(R"({"gradus": 1, "data": )" + data +
                   R"(, "model": {"inputs": {"text": "i32[6]", "label": "i32[]"}, "layers": [
      {"layer": "embedding", "from": "text", "input_dim": 9, "output_dim": 4},
      {"layer": "gru", "units": 4}, {"layer": "dense", "units": )" +
                   std::to_string(classes) + R"(, "name": "logits"}]},
    "loss": {"function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "label"},
    "optimizer": {"method": "sgd"}, "training": {"epochs": 1}})");
  };
  const std::string tensors = R"({"source": "tensors", "file": "none"})";
  EXPECT_EQ(of(tensors, 2),
            "E0214 4: no generation from 'logits', which tells one of 2 classes: there are 9 "
            "tokens, one of which comes next");
  EXPECT_EQ(of(tensors, 9), "no error");
}

}  // namespace
}  // namespace gradus::frontend
