#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error_codes.h"
#include "base/overloaded.h"
#include "frontend/layers.h"
#include "frontend/spec.h"
#include "ir/compositions/activations.h"
#include "ir/compositions/initialisers.h"
#include "ir/compositions/losses.h"
#include "ir/compositions/optimizers.h"
#include "ir/op.h"
#include "ir/text.h"
#include "tools/commands.h"

namespace gradus::tools {
namespace {

/// `text` inside a cell of a Markdown table.
std::string cell(std::string text) {
  for (auto at = text.find('|'); at != text.npos; at = text.find('|', at + 2)) {
    text.replace(at, 1, "\\|");
  }
  return text;
}

std::string value_text(const frontend::OptionValue& value) {
  return std::visit(
      overloaded{[](std::monostate) { return std::string("required"); },
                 [](bool x) { return std::string(x ? "`true`" : "`false`"); },
                 [](std::int64_t x) { return fmt::format("`{}`", x); },
                 [](double x) { return fmt::format("`{}`", x); },
                 [](const std::string& x) { return fmt::format("`\"{}\"`", x); },
                 [](const ir::Integers& x) { return fmt::format("`{}`", ir::to_text(x)); },
                 [](const ir::TensorPointer&) { return std::string("a tensor"); },
                 [](const frontend::Choice& x) { return fmt::format("`\"{}\"`", x.name); }},
      value);
}

std::string option_table(const std::vector<frontend::Option>& options) {
  if (options.empty()) return {};
  std::string text = "\n| option | default | |\n| --- | --- | --- |\n";
  for (const frontend::Option& option : options) {
    std::string doc = option.doc;
    if (!option.alternatives.empty() && option.alternatives.size() <= 4) {
      doc += " One of";
      for (const frontend::Alternative& alternative : option.alternatives) {
        doc += fmt::format(" `{}`", alternative.name);
      }
      doc += ".";
    }
    text += fmt::format("| `{}` | {} | {} |\n", option.name, value_text(option.default_value),
                        cell(doc));
  }
  return text;
}

std::string layer_reference() {
  std::string text =
      "# Layers\n\nEvery layer may have a `\"name\"` and a `\"from\"`: the input or layer (or the "
      "list of "
      "them) that it reads; without it, the layer above. `{\"op\": \"exp\"}` applies any op of "
      "[ops.md](ops.md). With `\"time_distributed\": true` the first axis of what a layer reads is "
      "that of times, and it does with each what it otherwise does with an example; a block or "
      "module used so does it with all of its layers. Layers that work on the last axis, such as "
      "`dense`, do so anyway.\n";
  text += "\n`gradus generate` gives a model one position after another, which these layers take: ";
  for (bool first = true; const frontend::Layer& layer : frontend::layers()) {
    if (layer.decodes == frontend::Decodes::no) continue;
    text += fmt::format("{}{}", first ? "" : ", ", layer.name);
    first = false;
  }
  text += ".\n";
  for (const frontend::Layer& layer : frontend::layers()) {
    text +=
        fmt::format("\n## {}\n\n{}\n\n```json\n{}\n```\n", layer.name, layer.doc, layer.example);
    text += option_table(layer.options);
  }
  return text;
}

std::string op_reference() {
  std::string text =
      "# Ops\n\nThe primitives of the graph. `{\"op\": NAME, ...}` is a layer of a model file, "
      "`%2 = NAME %0, %1 {...}` a line of a graph's text.\n";
  for (const ir::OpRecord& op : ir::op_records()) {
    const std::string operands = op.most_operands < 0 ? fmt::format("{} or more", op.least_operands)
                                 : op.least_operands == op.most_operands
                                     ? fmt::format("{}", op.least_operands)
                                     : fmt::format("{} to {}", op.least_operands, op.most_operands);
    text += fmt::format("\n## {}\n\n{}\n\nOperands: {}. Gradient: {}.\n", op.name, op.doc, operands,
                        op.vjp == nullptr ? "none" : "yes");
    if (op.attributes.empty()) continue;
    text += "\n| attribute | default | |\n| --- | --- | --- |\n";
    for (const ir::AttributeSpec& spec : op.attributes) {
      text += fmt::format(
          "| `{}` | {} | {} |\n", spec.name,
          spec.default_value ? "`" + ir::to_text(*spec.default_value) + "`" : "required",
          cell(std::string(spec.doc)));
    }
  }
  return text;
}

template <typename Records>
std::string table(std::string_view title, const Records& records) {
  std::string text = fmt::format("\n## {}\n\n| name | |\n| --- | --- |\n", title);
  for (const auto& record : records) {
    text += fmt::format("| `{}` | {} |\n", record.name, cell(std::string(record.doc)));
  }
  return text;
}

/// As table, with the parameters of each record.
template <typename Records, typename Parameters>
std::string parameter_table(std::string_view title, const Records& records,
                            const Parameters& parameters) {
  std::string text =
      fmt::format("\n## {}\n\n| name | | parameters |\n| --- | --- | --- |\n", title);
  for (const auto& record : records) {
    std::string list;
    for (const ir::Hyperparameter& parameter : parameters(record)) {
      list += fmt::format("{}`{}` = {}", list.empty() ? "" : ", ", parameter.name,
                          parameter.default_value);
    }
    text += fmt::format("| `{}` | {} | {} |\n", record.name, cell(std::string(record.doc)), list);
  }
  return text;
}

std::string function_reference() {
  std::string text = "# Functions, methods and sources of a model file\n";
  text += table("Activations", ir::activations());
  text += table("Losses", ir::losses());
  text += table("Metrics", ir::metrics());
  text += parameter_table("Initialisers", ir::initialisers(),
                          [](const ir::Initialiser& x) { return x.parameters; });
  text += parameter_table("Optimizers", ir::optimizers(),
                          [](const ir::Optimizer& x) { return x.hyperparameters; });
  text += parameter_table("Schedules", ir::schedules(),
                          [](const ir::Schedule& x) { return x.parameters; });
  text += "\n## Data sources\n\nEvery source also takes:\n";
  text += option_table({frontend::data_options().begin(), frontend::data_options().end()});
  for (const frontend::Alternative& source : frontend::data_sources()) {
    text += fmt::format("\n### {}\n\n{}\n", source.name, source.doc) + option_table(source.options);
  }
  return text;
}

std::string error_reference() {
  std::string text = "# Errors\n\n| code | exit code | | |\n| --- | --- | --- | --- |\n";
  for (const ErrorCode& code : error_codes()) {
    text += fmt::format("| {} | {} | {} | {} |\n", code.code, static_cast<int>(code.error_class),
                        code.title, cell(std::string(code.explanation)));
  }
  return text;
}

struct Page {
  std::string_view name;
  std::string (*text)();
};
constexpr Page kPages[] = {{"layers", layer_reference},
                           {"ops", op_reference},
                           {"functions", function_reference},
                           {"errors", error_reference}};

int docs(const std::string& wanted, bool json) {
  for (const Page& page : kPages) {
    if (page.name != wanted) continue;
    if (json) {
      print_json({{"page", page.name}, {"text", page.text()}});
    } else {
      std::cout << page.text();
    }
    return 0;
  }
  throw UserError("E2002", fmt::format("there is no page '{}'; expected layers, ops, functions or "
                                       "errors",
                                       wanted));
}

}  // namespace

void add_docs(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("docs", "The reference, as Markdown");
  command->footer("Example: gradus docs layers");
  auto page = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  command->add_option("page", *page, "layers, ops, functions or errors")->required();
  command->add_flag("--json", *json, "Machine-readable output on stdout");
  command->callback([page, json, &status] { status = docs(*page, *json); });
}

}  // namespace gradus::tools
