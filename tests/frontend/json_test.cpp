#include "frontend/json.h"

#include <gtest/gtest.h>

#include "base/philox.h"
#include "frontend/model.h"

namespace gradus::frontend {
namespace {

/// "line:column+length" of every key and value, in the order of the text.
std::string places(const Json& json) {
  const auto place = [](const SourceLocation& where) {
    return std::to_string(where.line) + ":" + std::to_string(where.column) + "+" +
           std::to_string(where.length) + " ";
  };
  std::string text = place(json.where);
  if (const auto* array = json.get<Json::Array>()) {
    for (const Json& element : *array) text += places(element);
  }
  if (const auto* object = json.get<Json::Object>()) {
    for (const Member& member : *object) text += place(member.where) + places(member.value);
  }
  return text;
}

std::string code_of(const std::string& text) {
  try {
    (void)parse_json(text, "file");
    return "";
  } catch (const UserError& error) {
    return error.diagnostics().front().code;
  }
}

TEST(Json, ValuesKnowTheirPlaces) {
  EXPECT_EQ(places(parse_json("{\"a\": 1}", "f")), "1:1+1 1:2+3 1:7+1 ");
  EXPECT_EQ(places(parse_json("\n  [ true,\n-2.5e1 ,\"x\"]", "f")), "2:3+1 2:5+4 3:1+6 3:9+3 ");
  // Escapes, quotes and brackets inside strings; a column is a code point.
  EXPECT_EQ(places(parse_json(R"(["\"]{", "\\", 1])", "f")), "1:1+1 1:2+6 1:10+4 1:16+1 ");
  EXPECT_EQ(places(parse_json("{\"größe\":\"ß\", \"b\":null}", "f")),
            "1:1+1 1:2+7 1:10+3 1:15+3 1:19+4 ");
  EXPECT_EQ(places(parse_json("\xEF\xBB\xBF[1]", "f")), "1:1+1 1:2+1 ");
  EXPECT_EQ(places(parse_json("[[],{},[{}]]", "f")), "1:1+1 1:2+1 1:5+1 1:8+1 1:9+1 ");
}

TEST(Json, IntegersStayIntegers) {
  const Json json = parse_json("[3, 3.0, 3e0, -9223372036854775808, 9223372036854775807]", "f");
  const Json::Array& values = *json.get<Json::Array>();
  EXPECT_EQ(*values[0].get<std::int64_t>(), 3);
  EXPECT_EQ(*values[1].get<double>(), 3.0);
  EXPECT_EQ(*values[2].get<double>(), 3.0);
  EXPECT_EQ(*values[3].get<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(*values[4].get<std::int64_t>(), INT64_MAX);
}

TEST(Json, RejectsWhatIsNotJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\" 1}",
                           "nul",
                           "[1] 2",
                           "01",
                           "1.",
                           "+1",
                           "'a'",
                           "\"\n\"",
                           "\"\\x\"",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "{1: 2}",
                           "[1 2]",
                           "NaN",
                           "// c\n1",
                           "\"\\ud800\""}) {
    EXPECT_EQ(code_of(text), "E0101") << text;
  }
  EXPECT_EQ(code_of(std::string("[1]\0", 4)), "E0101");
  EXPECT_EQ(code_of("{\"a\":1,\"\\u0061\":2}"), "E0102");
  EXPECT_EQ(code_of("1e400"), "E0104");
  EXPECT_EQ(code_of("-9223372036854775809"), "E0104");
  EXPECT_EQ(code_of("18446744073709551615"), "E0104");
  EXPECT_EQ(code_of("18446744073709551616"), "E0104");
  EXPECT_EQ(code_of(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_EQ(code_of(std::string(65, '[') + std::string(65, ']')), "E0103");
  EXPECT_EQ(code_of(std::string(1'000'000, '[')), "E0103");
}

TEST(Override, SetsMakesAndRemoves) {
  Json json = parse_json(R"({"a": {"b": [1, {"c": 2}]}, "d": 3})", "f");
  apply_override(json, "a.b.1.c=2.5");
  apply_override(json, "a.new.deep=word");
  apply_override(json, "d=null");
  apply_override(json, "e={\"x\": [1]}");
  const Json* c = &(*json.find("a")->find("b")->get<Json::Array>())[1];
  EXPECT_EQ(*c->find("c")->get<double>(), 2.5);
  EXPECT_EQ(c->find("c")->where.file, "--set a.b.1.c=2.5");
  EXPECT_EQ(c->find("c")->where.line, 0u);
  EXPECT_EQ(*json.find("a")->find("new")->find("deep")->get<std::string>(), "word");
  EXPECT_EQ(json.find("d"), nullptr);
  EXPECT_EQ(json.find("e")->find("x")->where.file, "--set e={\"x\": [1]}");
  for (const char* wrong : {"a", "=1", "a.b.2=1", "a.b.-1=1", "a.b.x=1", "a.b.0.c=1", "a..b=1",
                            "a.b.1.c.d=1", ".a=1"}) {
    EXPECT_THROW(apply_override(json, wrong), UserError) << wrong;
  }
}

// --- Random damage to a good file: findings, never anything else. ---

const char* const kGood = R"({
  "gradus": 1, "name": "m",
  "data": { "source": "spirals", "classes": 3, "validation": 0.1, "shuffle": true },
  "model": {
    "inputs": { "point": "f32[2]", "label": "i32[]" },
    "layers": [
      { "layer": "dense", "from": "point", "units": 8, "activation": "tanh", "name": "a",
        "kernel_initializer": { "function": "normal", "deviation": 0.1 }, "l2": 0.1 },
      { "layer": "dropout", "rate": 0.5, "name": "b" },
      { "op": "pad", "from": ["b", "zero"], "low": [0, 0], "high": [0, 1], "interior": [0, 0] },
      { "layer": "reshape", "shape": [3, 3] }, { "layer": "flatten" },
      { "layer": "layer_norm", "epsilon": 0.01 },
      { "layer": "dense", "units": 3, "name": "logits" }
    ],
    "outputs": ["logits", "a"]
  },
  "loss": { "function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "label" },
  "metrics": { "accuracy": { "logits": "logits", "labels": "label" } },
  "optimizer": { "method": "adam", "learning_rate": { "schedule": "step", "every": 10 },
                 "clip_norm": 1 },
  "training": { "epochs": 2, "batch": 16, "seed": 4 }
})";

std::string good_model() {
  std::string text = kGood;
  const std::string before = "{ \"op\": \"pad\"";
  text.insert(text.find(before), "{ \"op\": \"constant\", \"value\": 0, \"name\": \"zero\" }, ");
  return text;
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : seed_(seed) {}
  std::size_t below(std::size_t n) {
    const auto words = philox4x32({at_++, 0, 0, 0}, {static_cast<std::uint32_t>(seed_), 0});
    return words[0] % n;
  }

 private:
  std::uint64_t seed_;
  std::uint32_t at_ = 0;
};

void collect(Json& json, std::vector<Json*>& all) {
  all.push_back(&json);
  if (auto* array = std::get_if<Json::Array>(&json.value)) {
    for (Json& element : *array) collect(element, all);
  } else if (auto* object = std::get_if<Json::Object>(&json.value)) {
    for (Member& member : *object) collect(member.value, all);
  }
}

std::string written(const Json& json) {
  if (const auto* b = json.get<bool>()) return *b ? "true" : "false";
  if (const auto* i = json.get<std::int64_t>()) return std::to_string(*i);
  if (const auto* d = json.get<double>()) return std::to_string(*d);
  if (const auto* s = json.get<std::string>()) return "\"" + *s + "\"";
  std::string text;
  if (const auto* array = json.get<Json::Array>()) {
    for (const Json& element : *array) text += (text.empty() ? "" : ",") + written(element);
    return "[" + text + "]";
  }
  if (const auto* object = json.get<Json::Object>()) {
    for (const Member& member : *object) {
      text += (text.empty() ? "\"" : ",\"") + member.key + "\":" + written(member.value);
    }
    return "{" + text + "}";
  }
  return "null";
}

/// Replaces, swaps, removes or doubles a value somewhere.
std::string damaged(std::uint64_t seed) {
  Dice dice(seed);
  Json json = parse_json(good_model(), "model.json");
  for (std::size_t changes = 1 + dice.below(2); changes > 0; --changes) {
    std::vector<Json*> all;
    collect(json, all);
    Json& target = *all[dice.below(all.size())];
    const char* const values[] = {"null",
                                  "-1",
                                  "0",
                                  "1",
                                  "2.5",
                                  "1e300",
                                  "\"\"",
                                  "\"a\"",
                                  "\"dense\"",
                                  "[]",
                                  "{}",
                                  "[0]",
                                  "true",
                                  "9223372036854775807",
                                  "\"batch\"",
                                  "\"f32[999999,9999]\"",
                                  "[\"a\",\"b\"]",
                                  "\"tanh\""};
    auto* array = std::get_if<Json::Array>(&target.value);
    auto* object = std::get_if<Json::Object>(&target.value);
    const std::size_t kind = dice.below(3);
    if (kind == 0 && array && !array->empty()) {
      const std::size_t at = dice.below(array->size());
      if (dice.below(2) == 0)
        array->erase(array->begin() + static_cast<std::ptrdiff_t>(at));
      else
        array->push_back(Json((*array)[at]));
    } else if (kind == 0 && object && !object->empty()) {
      object->erase(object->begin() + static_cast<std::ptrdiff_t>(dice.below(object->size())));
    } else if (kind == 1) {
      target = Json(*all[dice.below(all.size())]);
    } else {
      target = parse_json(values[dice.below(std::size(values))], "model.json");
    }
  }
  return written(json);
}

TEST(Model, DamageGivesFindings) {
  EXPECT_NO_THROW(Model("model.json", good_model()));
  int accepted = 0;
  int rejected = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const std::string text = damaged(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + text);
    try {
      const Model model("model.json", text);
      (void)model.train_step(4);
      (void)model.evaluate(3);
      (void)model.predict(1);
      (void)model.init();
      ++accepted;
    } catch (const UserError& error) {
      ++rejected;
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        EXPECT_EQ(diagnostic.where.file, "model.json") << diagnostic.message;
        EXPECT_GT(diagnostic.where.line, 0u) << diagnostic.message;
      }
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(rejected, 1000);
}

TEST(Model, BytesChangedAnywhereGiveFindings) {
  const std::string good = good_model();
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    Dice dice(seed + 10'000);
    std::string text = good;
    text[dice.below(text.size())] = static_cast<char>(dice.below(256));
    if (dice.below(4) == 0) text.resize(dice.below(text.size()));
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + text);
    try {
      (void)Model("model.json", text).train_step(2);
    } catch (const UserError&) {
    }
  }
}

}  // namespace
}  // namespace gradus::frontend
