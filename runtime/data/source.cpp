#include "runtime/data/source.h"

#include <fmt/format.h>

#include "base/diagnostic.h"
#include "base/overloaded.h"

namespace gradus::runtime {

DataSplits load_data(const DataSource& source) {
  return std::visit(overloaded{[](const LinearData& data) { return make_linear(data); },
                               [](const SpiralsData& data) { return make_spirals(data); },
                               [](const RingData& data) { return make_ring(data); },
                               [](const DigitsData& data) { return make_digits(data); },
                               [](const ShapesData& data) { return make_shapes(data); },
                               [](const AddingData& data) { return make_adding(data); },
                               [](const SequencesData& data) { return make_sequences(data); },
                               [](const BracketsData& data) { return make_brackets(data); },
                               [](const SinesData& data) { return make_sines(data); },
                               [](const IdxData& data) { return read_idx(data); },
                               [](const Cifar10Data& data) { return read_cifar10(data); },
                               [](const TensorsData& data) { return read_tensors(data); },
                               [](const TextData& data) { return read_text(data); }},
                    source);
}

void check_data_parameter(const char* source, const char* name, double value, double low,
                          double high) {
  if (value >= low && value <= high) return;
  throw UserError("E1007", fmt::format("data source '{}': {} is {}, outside {} to {}", source, name,
                                       value, low, high));
}

}  // namespace gradus::runtime
