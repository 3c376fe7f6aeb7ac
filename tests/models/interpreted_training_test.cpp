// Twenty steps of a small network by the reference interpreter, batch by batch, and by the program:
// the same weights to the last bit.

#include "frontend/model.h"
#include "ir/interpret.h"
#include "runtime/data/batches.h"
#include "runtime/data/source.h"
#include "runtime/safetensors.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

constexpr std::int64_t kExamples = 150;
constexpr std::int64_t kBatch = 40;  // the last of an epoch has 30 examples
constexpr std::int64_t kSteps = 20;
constexpr std::uint64_t kSeed = 7;

/// The rows of an array as the model's input.
Tensor rows_of(const Tensor& array, std::span<const std::uint32_t> rows) {
  TensorType type = array.type;
  const auto row_bytes = static_cast<std::size_t>(type.byte_size() / type.shape[0]);
  type.shape[0] = static_cast<std::int64_t>(rows.size());
  Tensor result(type);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(result.bytes.data() + i * row_bytes, array.bytes.data() + rows[i] * row_bytes,
                row_bytes);
  }
  return result;
}

std::map<std::string, Tensor> train_by_interpreter(const frontend::Model& model) {
  std::map<std::string, Tensor> state{
      {"initial_seed", Tensor::scalar(ElementType::i64, static_cast<std::int64_t>(kSeed))}};
  for (const frontend::StateSpec& entry : model.state()) {
    state.emplace(entry.name, Tensor(entry.type));
  }
  state = ir::interpret(model.init(), state).updates;
  const runtime::Dataset data =
      runtime::load_data(runtime::SpiralsData{.classes = 3, .examples = kExamples}).train;
  const runtime::BatchPlan plan{kExamples, kBatch};
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const std::int64_t batch = step % plan.batches();
    const std::vector<std::uint32_t> order =
        runtime::epoch_order(kExamples, true, kSeed, step / plan.batches());
    const auto rows = std::span(order).subspan(static_cast<std::size_t>(plan.first(batch)),
                                               static_cast<std::size_t>(plan.size(batch)));
    std::map<std::string, Tensor> inputs = state;
    for (const frontend::ModelInput& input : model.inputs()) {
      inputs[input.name] = rows_of(data.find(input.name)->tensor, rows);
    }
    for (auto& [name, value] : ir::interpret(model.train_step(plan.size(batch)), inputs).updates) {
      state[name] = std::move(value);
    }
  }
  return state;
}

TEST_F(Program, TrainsToTheInterpretersBits) {
  const std::string path = GRADUS_SOURCE_DIR "/models/spirals_mlp.json";
  const std::vector<std::string> overrides = {"data.examples=150",
                                              "training={\"steps\":20,\"batch\":40,\"seed\":7}"};
  const frontend::Model model(path, contents(path), overrides);
  const std::map<std::string, Tensor> expected = train_by_interpreter(model);
  std::string arguments = "train models/spirals_mlp.json -o " + folder_.string();
  for (const std::string& override_ : overrides) arguments += " --set '" + override_ + "'";
  const Outcome outcome = gradus(arguments);
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  const runtime::SafetensorsReader weights((folder_ / "weights.safetensors").string());
  EXPECT_EQ(weights.entries().size(), model.parameters().size());
  for (const runtime::SafetensorsEntry& entry : weights.entries()) {
    EXPECT_TRUE(weights.read(entry).bytes == expected.at(entry.name).bytes) << entry.name;
  }
}

}  // namespace
}  // namespace gradus
