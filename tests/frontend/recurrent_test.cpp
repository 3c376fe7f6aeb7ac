// Recurrent layers against plain loops in f64, gate by gate.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <tuple>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "tests/frontend/run_layers.h"

namespace gradus::frontend {
namespace {

constexpr std::size_t kBatch = 3, kTime = 5, kFeatures = 2, kUnits = 4;

using Numbers = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// The parameters of one loop, [rows, gates * units] each.
struct Weights {
  Tensor kernel, recurrent, bias;

  Weights(std::int64_t gates, bool two_biases, double first)
      : kernel(tensor_of({kFeatures, gates * std::int64_t{kUnits}}, first, 0.31)),
        recurrent(tensor_of({kUnits, gates * std::int64_t{kUnits}}, -first, 0.27)),
        bias(tensor_of(two_biases ? Shape{2, gates * std::int64_t{kUnits}}
                                  : Shape{gates * std::int64_t{kUnits}},
                       0.2, 0.11)) {}
};

/// row . matrix column
double product(const Numbers& row, const Tensor& matrix, std::size_t column) {
  const auto width = static_cast<std::size_t>(matrix.type.shape[1]);
  double sum = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    sum += row[i] * matrix.as<float>()[i * width + column];
  }
  return sum;
}

/// What a cell makes of x, h and c (in place).
using Step = std::function<void(const Numbers& x, Numbers& h, Numbers& c)>;

/// [batch, time, units]. With a mask, [batch, time], there is no step where it is 0.
std::vector<Numbers> loop(const Tensor& x, const Step& step, bool backwards,
                          const std::vector<int>& mask = std::vector<int>(kBatch * kTime, 1)) {
  std::vector<Numbers> all(kBatch * kTime);
  for (std::size_t b = 0; b < kBatch; ++b) {
    Numbers h(kUnits), c(kUnits);
    for (std::size_t i = 0; i < kTime; ++i) {
      const std::size_t t = backwards ? kTime - 1 - i : i;
      Numbers row;
      for (std::size_t f = 0; f < kFeatures; ++f) {
        row.push_back(x.as<float>()[(b * kTime + t) * kFeatures + f]);
      }
      if (mask[b * kTime + t] != 0) step(row, h, c);
      all[b * kTime + t] = h;
    }
  }
  return all;
}

Step lstm_step(const Weights& w, double forget_bias) {
  return [&w, forget_bias](const Numbers& x, Numbers& h, Numbers& c) {
    const Numbers before = h;
    for (std::size_t u = 0; u < kUnits; ++u) {
      const auto gate = [&](std::size_t number) {
        const std::size_t column = number * kUnits + u;
        return product(x, w.kernel, column) + product(before, w.recurrent, column) +
               w.bias.as<float>()[column];
      };
      c[u] = sigmoid(gate(1) + forget_bias) * c[u] + sigmoid(gate(0)) * std::tanh(gate(2));
      h[u] = sigmoid(gate(3)) * std::tanh(c[u]);
    }
  };
}

Step gru_step(const Weights& w, bool reset_after) {
  return [&w, reset_after](const Numbers& x, Numbers& h, Numbers&) {
    const Numbers before = h;
    const auto inside = [&](std::size_t number, std::size_t u) {
      const std::size_t column = number * kUnits + u;
      return product(x, w.kernel, column) + w.bias.as<float>()[column];
    };
    const auto recurrent = [&](const Numbers& row, std::size_t number, std::size_t u) {
      const std::size_t column = number * kUnits + u;
      const double bias = reset_after ? w.bias.as<float>()[3 * kUnits + column] : 0.0;
      return product(row, w.recurrent, column) + bias;
    };
    Numbers reset(kUnits), guarded(kUnits);
    for (std::size_t u = 0; u < kUnits; ++u) {
      reset[u] = sigmoid(inside(1, u) + recurrent(before, 1, u));
      guarded[u] = reset[u] * before[u];
    }
    for (std::size_t u = 0; u < kUnits; ++u) {
      const double z = sigmoid(inside(0, u) + recurrent(before, 0, u));
      const double inner =
          reset_after ? reset[u] * recurrent(before, 2, u) : recurrent(guarded, 2, u);
      h[u] = z * before[u] + (1 - z) * std::tanh(inside(2, u) + inner);
    }
  };
}

Step rnn_step(const Weights& w) {
  return [&w](const Numbers& x, Numbers& h, Numbers&) {
    const Numbers before = h;
    for (std::size_t u = 0; u < kUnits; ++u) {
      h[u] = std::tanh(product(x, w.kernel, u) + product(before, w.recurrent, u) +
                       w.bias.as<float>()[u]);
    }
  };
}

const Tensor kInput = tensor_of({kBatch, kTime, kFeatures}, 0.9, 0.37);

/// The layer "last" with these settings, against the loop.
void check(const std::string& settings, const Weights& w, const Step& step) {
  for (const bool backwards : {false, true}) {
    for (const bool sequences : {false, true}) {
      const Tensor y = run_layers(
          "{" + settings + R"(, "units": 4, "name": "last", "from": "a", "direction": ")" +
              (backwards ? "backward" : "forward") + R"(", "return_sequences": )" +
              (sequences ? "true" : "false") + "}",
          {{"a", kInput},
           {"last/kernel", w.kernel},
           {"last/recurrent_kernel", w.recurrent},
           {"last/bias", w.bias}},
          {"f32[5,2]"});
      const std::vector<Numbers> expected = loop(kInput, step, backwards);
      for (std::size_t b = 0; b < kBatch; ++b) {
        for (std::size_t t = 0; t < kTime; ++t) {
          if (!sequences && t != (backwards ? 0 : kTime - 1)) continue;
          for (std::size_t u = 0; u < kUnits; ++u) {
            const std::size_t row = sequences ? b * kTime + t : b;
            EXPECT_NEAR(y.as<float>()[row * kUnits + u], expected[b * kTime + t][u], 1e-5)
                << settings;
          }
        }
      }
    }
  }
}

TEST(RecurrentLayers, SimpleRnn) {
  const Weights w(1, false, 0.4);
  check(R"("layer": "simple_rnn")", w, rnn_step(w));
}

TEST(RecurrentLayers, Lstm) {
  const Weights w(4, false, 0.4);
  check(R"("layer": "lstm")", w, lstm_step(w, 1));
  check(R"("layer": "lstm", "forget_bias": 0)", w, lstm_step(w, 0));
}

TEST(RecurrentLayers, Gru) {
  for (const bool reset_after : {true, false}) {
    const Weights w(3, reset_after, 0.4);
    check(std::string(R"("layer": "gru", "reset_after": )") + (reset_after ? "true" : "false"), w,
          gru_step(w, reset_after));
  }
}

TEST(RecurrentLayers, MaskedTimesKeepTheState) {
  const std::vector<int> mask{0, 0, 1, 1, 7, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0};
  Tensor there({ElementType::i32, {kBatch, kTime}});
  std::ranges::copy(mask, there.as<std::int32_t>().begin());
  Tensor floats({ElementType::f32, {kBatch, kTime}});
  std::ranges::copy(mask, floats.as<float>().begin());
  const Weights rnn(1, false, 0.4), lstm(4, false, 0.4), gru(3, true, 0.4);
  const std::tuple<std::string, const Weights*, Step> cases[] = {
      {"simple_rnn", &rnn, rnn_step(rnn)},
      {"lstm", &lstm, lstm_step(lstm, 1)},
      {"gru", &gru, gru_step(gru, true)}};
  for (const auto& [layer, w, step] : cases) {
    for (const bool backwards : {false, true}) {
      SCOPED_TRACE(layer + (backwards ? " backwards" : ""));
      const auto run = [&](const Tensor& given, const std::string& type, bool sequences) {
        return run_layers(R"({"layer": ")" + layer +
                              R"(", "units": 4, "name": "last", "from": ["a", "b"], "mask": true,
                              "direction": ")" +
                              (backwards ? "backward" : "forward") + R"(", "return_sequences": )" +
                              (sequences ? "true" : "false") + "}",
                          {{"a", kInput},
                           {"b", given},
                           {"last/kernel", w->kernel},
                           {"last/recurrent_kernel", w->recurrent},
                           {"last/bias", w->bias}},
                          {"f32[5,2]", type});
      };
      const std::vector<Numbers> expected = loop(kInput, step, backwards, mask);
      const Tensor all = run(there, "i32[5]", true);
      const Tensor last = run(there, "i32[5]", false);
      EXPECT_EQ(run(floats, "f32[5]", true), all);
      for (std::size_t i = 0; i < kBatch * kTime * kUnits; ++i) {
        EXPECT_NEAR(all.as<float>()[i], expected[i / kUnits][i % kUnits], 1e-5) << i;
      }
      for (std::size_t i = 0; i < kBatch * kUnits; ++i) {
        const std::size_t t = backwards ? 0 : kTime - 1;
        EXPECT_NEAR(last.as<float>()[i], expected[i / kUnits * kTime + t][i % kUnits], 1e-5) << i;
      }
    }
  }
}

/// What is masked has no influence: neither on values nor on gradients.
TEST(RecurrentLayers, MaskedTimesHaveNoGradient) {
  const Model model("file.json", file_with(R"({"layer": "lstm", "units": 4, "name": "last",
      "from": ["a", "b"], "mask": true, "direction": "both"})",
                                           {"f32[5,2]", "i32[5]"}));
  const auto step = [&](float masked) {
    std::map<std::string, Tensor> values{{"a", kInput},
                                         {"b", Tensor({ElementType::i32, {kBatch, kTime}})},
                                         {"t", tensor_of({kBatch, 7}, 0.3, 0.1)}};
    for (std::size_t i = 0; i < kBatch * kTime; ++i) {
      const bool there = i % 3 != 0;
      values["b"].as<std::int32_t>()[i] = there ? 1 : 0;
      if (!there) values["a"].as<float>()[2 * i] = masked;
    }
    for (const StateSpec& entry : model.state()) {
      values[entry.name] = entry.type.element == ElementType::f32
                               ? tensor_of(entry.type.shape, 0.2, 0.1)
                               : Tensor(entry.type);
    }
    return ir::interpret(model.train_step(kBatch), values).updates;
  };
  const auto first = step(0.5F);
  EXPECT_EQ(step(100.0F), first);
  EXPECT_NE(first.at("last/forward/kernel"), tensor_of({2, 16}, 0.2, 0.1));
}

TEST(RecurrentLayers, BothDirections) {
  const Weights forward(4, false, 0.4), backward(4, false, -0.3);
  const auto merged = [&](const std::string& merge) {
    return run_layers(R"({"layer": "lstm", "units": 4, "name": "last", "from": "a",
        "direction": {"function": "both", "merge": ")" +
                          merge + "\"}}",
                      {{"a", kInput},
                       {"last/forward/kernel", forward.kernel},
                       {"last/forward/recurrent_kernel", forward.recurrent},
                       {"last/forward/bias", forward.bias},
                       {"last/backward/kernel", backward.kernel},
                       {"last/backward/recurrent_kernel", backward.recurrent},
                       {"last/backward/bias", backward.bias}},
                      {"f32[5,2]"});
  };
  const std::vector<Numbers> f = loop(kInput, lstm_step(forward, 1), false);
  const std::vector<Numbers> g = loop(kInput, lstm_step(backward, 1), true);
  const Tensor both = merged("concatenate"), sum = merged("sum"), product = merged("product"),
               mean = merged("mean");
  ASSERT_EQ(both.type.shape, (Shape{kBatch, 2 * kUnits}));
  for (std::size_t b = 0; b < kBatch; ++b) {
    for (std::size_t u = 0; u < kUnits; ++u) {
      const double last = f[b * kTime + kTime - 1][u], first = g[b * kTime][u];
      EXPECT_NEAR(both.as<float>()[b * 2 * kUnits + u], last, 1e-5);
      EXPECT_NEAR(both.as<float>()[b * 2 * kUnits + kUnits + u], first, 1e-5);
      EXPECT_NEAR(sum.as<float>()[b * kUnits + u], last + first, 1e-5);
      EXPECT_NEAR(product.as<float>()[b * kUnits + u], last * first, 1e-5);
      EXPECT_NEAR(mean.as<float>()[b * kUnits + u], (last + first) / 2, 1e-5);
    }
  }
}

}  // namespace
}  // namespace gradus::frontend
