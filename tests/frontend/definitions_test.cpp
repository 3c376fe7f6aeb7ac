// The full-size nets of models/definitions/ have the parameters that were published for them.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "frontend/model.h"
#include "ir/verify.h"

namespace gradus::frontend {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(GRADUS_SOURCE_DIR) / "models/definitions";

Model definition(const std::string& name) {
  std::ifstream file(kFolder / (name + ".json"));
  std::ostringstream text;
  text << file.rdbuf();
  return Model(name + ".json", text.str());
}

struct Published {
  std::string name;
  std::int64_t parameters;  // what is trained
  std::int64_t statistics;  // of batch normalisation
  std::int64_t kernels;     // convolutions and dense layers
};

/// AlexNet: two groups, as BVLC's definition for Caffe (the paper says 60 million). GoogLeNet:
/// BVLC's definition for Caffe, 6,998,552 and two auxiliary classifiers of 3,188,840 and 3,190,888.
/// VGG-16, ResNet-50 and DenseNet-121: Keras applications, which say 138,357,544, 25,636,712 and
/// 8,062,504 with statistics. DenseNet-40: 1.0 million in table 2 of the paper; in full by the
/// authors' design: stem, 36 layers and 2 transitions, each behind a normalisation. A net's number
/// is its kernels; ResNet-50 has four shortcuts more, GoogLeNet's 22 is its depth. BERT: what its
/// authors' checkpoint has, and the two heads of its pretraining (the output layer reads the
/// embedding's table). The Transformer: 65 million in table 3; see below. GPT-2: the published
/// checkpoint. ViT: DeiT-S of Touvron et al. 2020, 22 million, without distillation.
const std::vector<Published> kPublished{
    {"alexnet", 60'965'224, 0, 8},
    {"bert_base", 109'482'240 + (768 * 768 + 768) + 2 * 768 + 30522 + (2 * 768 + 2), 0,
     12 * 2 + 1 + 3},
    {"densenet121", 8'062'504 - 83'648, 83'648, 121},
    {"densenet40", 1'019'722, 18'096, 40},
    {"googlenet", 6'998'552 + 3'188'840 + 3'190'888, 0, 3 + 9 * 6 + 1 + 2 * 3},
    {"gpt2_small", 124'439'808, 0, 12 * 2 + 1},
    {"resnet50", 25'636'712 - 53'120, 53'120, 50 + 4},
    {"transformer_base", 63'082'496, 0, 12 * 2 + 1},
    {"vgg16", 138'357'544, 0, 16},
    {"vit_small", 22'050'664, 0, 1 + 12 * 2 + 1},
};

TEST(Definitions, HaveThePublishedParameters) {
  for (const Published& published : kPublished) {
    SCOPED_TRACE(published.name);
    const Model model = definition(published.name);
    std::int64_t parameters = 0;
    std::int64_t statistics = 0;
    for (const StateSpec& entry : model.state()) {
      if (entry.kind == StateKind::parameter) parameters += entry.type.element_count();
      if (entry.kind == StateKind::statistic) statistics += entry.type.element_count();
    }
    EXPECT_EQ(parameters, published.parameters);
    EXPECT_EQ(statistics, published.statistics);
    std::int64_t shown = 0;  // by inspect
    for (const LayerSummary& layer : model.layers()) shown += layer.parameters;
    EXPECT_EQ(shown, published.parameters + published.statistics);
    EXPECT_EQ(std::ranges::count_if(model.layers(),
                                    [](const LayerSummary& layer) {
                                      return layer.kind == "conv2d" || layer.kind == "dense";
                                    }),
              published.kernels);
  }
}

/// The sum of DenseNet-40's parameters by the paper's sizes: n layers on c channels are n 3 x 3
/// kernels and normalisations that read c, c + 12, ...
TEST(Definitions, DenseNet40BySummation) {
  std::int64_t channels = 16;
  std::int64_t sum = 3 * 3 * 3 * channels;
  for (int block = 0; block < 3; ++block) {
    for (int layer = 0; layer < 12; ++layer, channels += 12) {
      sum += 2 * channels + 3 * 3 * channels * 12;
    }
    sum += 2 * channels + (block < 2 ? channels * channels : channels * 10 + 10);
  }
  std::int64_t parameters = 0;
  const Model model = definition("densenet40");
  for (const StateSpec& entry : model.state()) {
    if (entry.kind == StateKind::parameter) parameters += entry.type.element_count();
  }
  EXPECT_EQ(parameters, sum);
}

std::int64_t count_below(const Model& model, const std::string& name) {
  std::int64_t count = 0;
  for (const ParameterSpec& parameter : model.parameters()) {
    if (parameter.name.starts_with(name)) count += parameter.type.element_count();
  }
  return count;
}

TEST(Definitions, BertWithoutTheHeadsOfItsPretraining) {
  const Model model = definition("bert_base");
  EXPECT_EQ(count_below(model, "bert/") + count_below(model, "pooler/"), 109'482'240);
}

/// Table 3 of the paper: d = 512, hidden 2048, six layers on either side; 37,000 tokens (section
/// 5.1), one table for both embeddings and the output. Attention has four products with biases.
TEST(Definitions, TransformerBySummation) {
  constexpr std::int64_t kWidth = 512, kHidden = 2048;
  constexpr std::int64_t kAttention = 4 * (kWidth * kWidth + kWidth);
  constexpr std::int64_t kFeedForward = kWidth * kHidden + kHidden + kHidden * kWidth + kWidth;
  constexpr std::int64_t kNorm = 2 * kWidth;
  const Model model = definition("transformer_base");
  EXPECT_EQ(count_below(model, "tokens/"), 37'000 * kWidth);
  EXPECT_EQ(count_below(model, "encoder/"), 6 * (kAttention + kFeedForward + 2 * kNorm));
  EXPECT_EQ(count_below(model, "decoder/"), 6 * (2 * kAttention + kFeedForward + 3 * kNorm));
  EXPECT_EQ(37'000 * kWidth + 6 * (3 * kAttention + 2 * kFeedForward + 5 * kNorm), 63'082'496);
}

TEST(Definitions, AllAreKnownAndVerify) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  ASSERT_EQ(names.size(), kPublished.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    SCOPED_TRACE(names[i]);
    ASSERT_EQ(names[i], kPublished[i].name);
    const Model model = definition(names[i]);
    verify(model.train_step(2), "train_step");
    verify(model.evaluate(2), "evaluate");
    verify(model.predict(2), "predict");
    verify(model.init(), "init");
  }
}

}  // namespace
}  // namespace gradus::frontend
