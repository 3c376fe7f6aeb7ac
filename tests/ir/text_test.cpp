// The text form of graphs: what is printed reads back as the same graph.

#include "ir/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/diagnostic.h"
#include "ir/expr.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/verify.h"
#include "tests/support/random_graph.h"

namespace gradus::ir {
namespace {

/// Everything that makes a graph, node by node.
void expect_equal(const Graph& a, const Graph& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(a.name(), b.name());
  EXPECT_EQ(a.hash(), b.hash());
  for (NodeId id = 0; id < a.size(); ++id) {
    EXPECT_EQ(a.node(id).op, b.node(id).op) << id;
    EXPECT_EQ(a.operands(id), b.operands(id)) << id;
    EXPECT_EQ(a.node(id).attributes, b.node(id).attributes) << id;
    EXPECT_EQ(a.node(id).types, b.node(id).types) << id;
    const auto& ours = a.node(id).provenance.entries();
    const auto& theirs = b.node(id).provenance.entries();
    ASSERT_EQ(ours.size(), theirs.size()) << id;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(*ours[i].origin, *theirs[i].origin) << id;
      EXPECT_EQ(ours[i].role, theirs[i].role) << id;
    }
  }
  ASSERT_EQ(a.results().size(), b.results().size());
  for (std::size_t i = 0; i < a.results().size(); ++i) {
    EXPECT_EQ(a.results()[i].name, b.results()[i].name);
    EXPECT_EQ(a.results()[i].value, b.results()[i].value);
    EXPECT_EQ(a.results()[i].update, b.results()[i].update);
  }
}

TEST(GraphText, RandomGraphsReadBack) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("random_graph(" + std::to_string(seed) + ")");
    const Graph graph = copy(support::random_graph(seed));
    verify(graph, "random_graph");
    const std::string text = to_text(graph);
    const Graph read = parse_graph(text);
    expect_equal(graph, read);
    EXPECT_EQ(text, to_text(read));
    if (HasFailure()) FAIL() << text;
  }
}

TEST(GraphText, TrainingGraphsReadBack) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("random_training_graph(" + std::to_string(seed) + ")");
    const Graph graph = copy(support::random_training_graph(seed));
    verify(graph, "random_training_graph");
    expect_equal(graph, parse_graph(to_text(graph)));
    if (HasFailure()) return;
  }
}

TEST(GraphText, RandomGraphsUseTheWholeRegistry) {
  std::set<std::string_view> missing;
  for (const OpRecord& op : op_records()) missing.insert(op.name);
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    const Graph graph = support::random_graph(seed);
    const std::vector<bool> live = graph.live();
    for (NodeId id = 0; id < graph.size(); ++id) {
      if (live[id]) missing.erase(graph.node(id).op->name);
    }
  }
  for (std::string_view name : missing) ADD_FAILURE() << name << " never occurs";
}

TEST(ProvenanceText, TellsItsFirstPlace) {
  const auto place = [](const std::string& text) { return to_string(first_place(text)); };
  EXPECT_EQ(place("m.json:9:7 hidden forward, m.json:12:7 logits forward"), "m.json:9:7");
  EXPECT_EQ(place("m.json:9:7"), "m.json:9:7");
  EXPECT_EQ(place("C:12/my model 3:4.json:10:18 hidden forward"), "C:12/my model 3:4.json:10:18");
  EXPECT_EQ(place("m.json loss update, m.json:12:7 logits forward"), "m.json:12:7");
  EXPECT_EQ(place("m.json:9:7 (used at 40:7, 18:9) conv forward"), "m.json:9:7");
  EXPECT_EQ(place("--set a=1 (used at 40:7, m.json:1:2) conv update, m.json:12:7 x update"),
            "m.json:12:7");
  EXPECT_EQ(place("m.json loss update"), "");
  EXPECT_EQ(place("m.json:9: x"), "");
  EXPECT_EQ(place("m.json:9:"), "");
  EXPECT_EQ(place(""), "");
  Provenance both{std::make_shared<const Origin>(Origin{{"b.json", 5, 3}, "input"}), Role::forward};
  both.merge({std::make_shared<const Origin>(Origin{{"a.json", 7, 1}, ""}), Role::update});
  EXPECT_EQ(place(to_string(both)), "a.json:7:1");
}

TEST(GraphText, IsWhatTheHeaderShows) {
  Graph graph("step");
  graph.set_provenance(
      {std::make_shared<const Origin>(Origin{{"m.json", 5, 3}, "input"}), Role::forward});
  const Expr x{&graph, graph.add_input("image", InputKind::batch, {ElementType::f32, {2, 3}})};
  graph.set_provenance({});
  const Expr w{&graph, graph.add_input("w", InputKind::state, {ElementType::f32, {3, 1}})};
  Provenance places{std::make_shared<const Origin>(Origin{{"m.json", 9, 7, 4}, ""}),
                    Role::backward};
  places.merge({std::make_shared<const Origin>(Origin{{"m.json", 0, 0}, "out"}), Role::update});
  const BlockUses uses{{"m.json", 40, 7, 5}, {"n.json", 18, 9}};
  places.merge(
      {std::make_shared<const Origin>(Origin{{"m.json", 12, 7}, "a/dense", uses}), Role::forward});
  EXPECT_EQ(to_string(places),
            "m.json out update, m.json:9:7 backward, "
            "m.json:12:7 (used at 40:7, n.json:18:9) a/dense forward");
  graph.set_provenance(places);
  const Expr y = matmul(x, w);
  graph.set_provenance({});
  graph.add_result("loss", constant(graph, ElementType::f32, -2.5e-7).value);
  graph.add_result("y", y.value);
  graph.add_update("w", w.value);
  const char* text = R"(graph "step"
%0 = batch "image" : f32[2,3] @ "m.json":5:3 "input" forward
%1 = state "w" : f32[3,1]
%2 = dot %0, %1 {lhs_contract = [1], rhs_contract = [0]} : f32[2,1] @ "m.json" "out" update, "m.json":9:7+4 backward, "m.json":12:7 used 40:7+5, "n.json":18:9 "a/dense" forward
%3 = constant {value = f32[] [-2.5e-07]} : f32[]
"loss" = %3
"y" = %2
"w" <- %1
)";
  EXPECT_EQ(to_text(graph), text);
  expect_equal(graph, parse_graph(text));
}

TEST(GraphText, FloatsKeepTheirBits) {
  using F = std::numeric_limits<float>;
  using D = std::numeric_limits<double>;
  const std::vector<float> floats = {0.f,
                                     -0.f,
                                     F::denorm_min(),
                                     -F::min(),
                                     F::max(),
                                     F::infinity(),
                                     -F::infinity(),
                                     F::quiet_NaN(),
                                     -F::quiet_NaN(),
                                     std::bit_cast<float>(0x7f800001u),
                                     0.1f,
                                     1e10f,
                                     16777216.f};
  const std::vector<double> doubles = {
      0.,     -0.,  D::denorm_min(), D::lowest(), D::infinity(), D::quiet_NaN(), -D::quiet_NaN(),
      1. / 3, 1e300};
  Graph graph("floats");
  Tensor single({ElementType::f32, {static_cast<std::int64_t>(floats.size())}});
  std::copy(floats.begin(), floats.end(), single.as<float>().begin());
  Tensor twice({ElementType::f64, {static_cast<std::int64_t>(doubles.size())}});
  std::copy(doubles.begin(), doubles.end(), twice.as<double>().begin());
  graph.add_result("single", constant(graph, single).value);
  graph.add_result("double", constant(graph, twice).value);
  const std::string text = to_text(graph);
  expect_equal(graph, parse_graph(text));
  EXPECT_NE(text.find("[0, -0, 1e-45, -1.1754944e-38, 3.4028235e+38, inf, -inf, nan, "
                      "nan(4290772992), nan(2139095041), 0.1, 10000000000, 16777216]"),
            text.npos)
      << text;
}

TEST(GraphText, HandWrittenTextMayLeaveThingsOut) {
  const Graph graph = parse_graph(R"(
# a comment
graph "g"   # another
  %7 = batch "x#y" : f32[2]
  %3 = exp %7
  %5 = exp %7      # equal to %3: one node

"a" = %3
"b" = %5)");
  EXPECT_EQ(graph.size(), 2u);
  EXPECT_EQ(graph.results()[0].value, graph.results()[1].value);
  EXPECT_TRUE(graph.find_input("x#y"));
}

struct Wrong {
  const char* line;  // third line of the graph; the marked place is after '^'
  const char* finding;
};
/// '^' stands in front of the place that the error must name.
constexpr Wrong kWrong[] = {
    {"^what", "E0301: expected a node or a result, found 'what'"},
    {"%^0 = exp %0", "E0301: there is a node %0"},
    {"%^-1 = exp %0", "E0301: expected a number up to 1152921504606846976, found '-'"},
    {"%99999999999999999999^ = exp %0", ""},
    {"%1 = ^exq %0", "E0301: there is no such op, found 'exq'"},
    {"%1 = ^input {name = \"y\"}", "E0301: an input is written as state, batch or scalar"},
    {"%1 = ^%0", "E0301: expected an op or state, batch or scalar, found '%'"},
    {"%1 = exp %^2", "E0301: there is no such node above"},
    {"%1 = exp %^1", "E0301: there is no such node above"},
    {"%1 = ^exp %0, %0", "E0302: exp takes 1 operands, found 2"},
    {"%1 = ^exp", "E0302: exp takes 1 operands, found 0"},
    {"%1 = ^not %0", "E0302: not needs bool, found f32[2,3]"},
    {"%1 = exp %0 : ^f64[2,3]", "E0302: the result is f32[2,3]"},
    {"%1 = exp %0 : ^f32[3,2]", "E0302: the result is f32[2,3]"},
    {"%1 = exp %0 : ^f16[3,2]", "E0301: 'f16[3,2]' is no type"},
    {"%1 = exp %0 : ^f32[9999999999,9999999999]", "E0301: "},
    {"%1 = exp %0 ^%0", "E0301: expected the end of the line, found '%'"},
    {"%1 = exp %0 {^axes = [0]}", "E0301: exp has no such attribute, found 'axes'"},
    {"%1 = ^sum %0", "E0302: sum needs attribute 'axes'"},
    {"%1 = ^sum %0 {axes = [2]}", "E0302: axes [2] must ascend and be less than the rank 2"},
    {"%1 = sum %0 {axes = [0], ^axes = [1]}", "E0301: the attribute is there already"},
    {"%1 = sum %0 {axes = ^0}", "E0301: expected '[', found '0'"},
    {"%1 = sum %0 {axes = [^}", "E0301: expected a number, found '}'"},
    {"%1 = sum %0 {axes = [^0.5]}", "E0301: 0.5 is no value of this type"},
    {"%1 = sum %0 {axes = [^99999999999999999999]}", "E0301: 99999999999999999999 is no value"},
    {"%1 = sum %0 {axes = [0]^", "E0301: expected '}', found the end of the line"},
    {"%1 = cast %0 {element = ^f16}", "E0301: expected an element type, found 'f16'"},
    {"%1 = ^reshape %0 {shape = [-2,-3]}", "E0302: the result of reshape would be f32[-2,-3]"},
    {"%1 = ^reshape %0 {shape = [4611686018427387904,4611686018427387904]}", "E0302: "},
    {"%1 = ^broadcast %0 {shape = [1099511627776,2,3], axes = [1,2]}", "E0302: the result of"},
    {"%1 = constant {value = ^f32[2] [1]}", "E0301: f32[2] has 2 elements, found 1"},
    {"%1 = constant {value = ^f32[1000000000000] [1]}", "E0301: f32[1000000000000] has"},
    {"%1 = constant {value = bool[1] [^1]}", "E0301: expected true or false, found '1'"},
    {"%1 = constant {value = u8[1] [^256]}", "E0301: 256 is no value of this type"},
    {"%1 = constant {value = u8[1] [^-1]}", "E0301: -1 is no value of this type"},
    {"%1 = constant {value = f32[1] [^1e99]}", "E0301: 1e99 is no value of this type"},
    {"%1 = constant {value = f32[1] [nan(^99999999999)]}", "E0301: expected bits"},
    {"%1 = batch ^\"x\" : f32[2,3]", "E0302: there is an input of this name"},
    {"%1 = batch ^x : f32[2]", "E0301: expected a string in double quotes, found 'x'"},
    {"%1 = batch ^\"y : f32[2]", "E0301: expected a string in double quotes"},
    {"%1 = batch \"y\"^", "E0301: expected ':', found the end of the line"},
    {"%1 = exp %0 @ ^m.json", "E0301: expected a string in double quotes, found 'm.json'"},
    {"%1 = exp %0 @ \"m.json\":^forward", "E0301: expected a number up to 4294967295"},
    {"%1 = exp %0 @ \"m.json\":1:2 ^hidden forward", "E0301: expected forward, backward, update"},
    {"\"y\" ^%0", "E0301: expected '=', found '%'"},
    {"^\"x\" = %0\n\"x\" = %0", ""},
    {"^\"x\" <- %0", "E0302: there is no state 'x' to update"},
    {"^\"nothing\" <- %0", "E0302: there is no state 'nothing' to update"},
};

TEST(GraphText, ErrorsNameTheirPlace) {
  for (const Wrong& wrong : kWrong) {
    std::string line = wrong.line;
    const std::size_t column = line.find('^');
    ASSERT_NE(column, line.npos);
    line.erase(column, 1);
    const std::string text = "graph \"g\"\n%0 = batch \"x\" : f32[2,3]\n" + line + "\n";
    SCOPED_TRACE(text);
    if (std::string_view(wrong.finding).empty()) {
      EXPECT_THROW((void)parse_graph(text, "g.ir"), UserError);
      continue;
    }
    try {
      (void)parse_graph(text, "g.ir");
      ADD_FAILURE() << "accepted";
    } catch (const UserError& error) {
      const Diagnostic& found = error.diagnostics().front();
      EXPECT_EQ((found.code + ": " + found.message).substr(0, std::strlen(wrong.finding)),
                wrong.finding);
      EXPECT_EQ(to_string(found.where), "g.ir:3:" + std::to_string(column + 1));
      EXPECT_EQ(error.error_class(), ErrorClass::model);
    }
  }
}

TEST(GraphText, AnythingElseIsAnErrorToo) {
  // Every prefix of a good text, and every good text with one byte changed, is read or refused.
  const std::string good = to_text(copy(support::random_graph(7)));
  for (std::size_t size = 0; size < good.size(); ++size) {
    try {
      (void)parse_graph(good.substr(0, size));
    } catch (const UserError&) {
      continue;
    }
  }
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (char c : {'0', '%', '"', '\n', '\0', '[', ' ', '9', '-', '\xff'}) {
      std::string damaged = good;
      damaged[i] = c;
      try {
        verify(parse_graph(damaged), "damaged");
      } catch (const UserError&) {
        continue;
      }
    }
  }
}

TEST(GraphText, AttributesOfEveryExampleReadBack) {
  for (const OpRecord& op : op_records()) {
    for (const OpExample& example : op.examples) {
      SCOPED_TRACE(std::string(op.name) + " {" + std::string(example.attributes) + "}");
      std::string text;
      for (const auto& [name, value] : parse_attributes(op, example.attributes)) {
        text += (text.empty() ? "" : ", ") + name + " = " + to_text(value);
      }
      EXPECT_EQ(text, example.attributes);
    }
  }
}

}  // namespace
}  // namespace gradus::ir
