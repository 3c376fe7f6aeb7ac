#include "runtime/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/diagnostic.h"
#include "runtime/safetensors.h"

namespace gradus::runtime {
namespace {

using nlohmann::json;

constexpr const char* kManifest = "gradus";
constexpr const char* kTokens = "tokens";
constexpr const char* kVocabulary = "vocabulary";
constexpr int kFormat = 1;

bool is_weight(StateKind kind) {
  return kind == StateKind::parameter || kind == StateKind::statistic;
}

void save(const std::string& path, const StateLayout& layout, std::span<const std::byte> state,
          bool whole, json manifest) {
  GRADUS_CHECK(static_cast<std::int64_t>(state.size()) >= layout.bytes, "state too short");
  std::vector<SafetensorsItem> items;
  json kinds = json::object();
  for (const StateEntry& entry : layout.entries) {
    if (!whole && !is_weight(entry.kind)) continue;
    kinds[entry.name] = to_string(entry.kind);
    items.push_back({entry.name, entry.type,
                     state.subspan(static_cast<std::size_t>(entry.offset),
                                   static_cast<std::size_t>(entry.type.byte_size()))});
  }
  manifest["format"] = kFormat;
  manifest["kinds"] = std::move(kinds);
  write_safetensors(path, std::move(items), {{kManifest, manifest.dump()}});
}

[[noreturn]] void reject(const SafetensorsReader& file, const std::string& message) {
  throw UserError("E1006", message, {file.path()});
}

/// The manifest, or nothing when the file has none.
std::optional<json> read_manifest(const SafetensorsReader& file) {
  const auto found = file.metadata().find(kManifest);
  if (found == file.metadata().end()) return std::nullopt;
  json manifest = json::parse(found->second, nullptr, false);
  if (!manifest.is_object() || !manifest.contains("format")) reject(file, "damaged manifest");
  if (manifest["format"] != kFormat) {
    reject(file, fmt::format("format {} of the manifest is not known, only {}",
                             manifest["format"].dump(), kFormat));
  }
  return manifest;
}

/// Names that a manifest marks as no weights.
std::set<std::string> other_entries(const std::optional<json>& manifest) {
  std::set<std::string> names;
  if (!manifest || !manifest->contains("kinds") || !(*manifest)["kinds"].is_object()) return names;
  for (const auto& [name, kind] : (*manifest)["kinds"].items()) {
    const bool weight =
        kind == to_string(StateKind::parameter) || kind == to_string(StateKind::statistic);
    if (!weight) names.insert(name);
  }
  return names;
}

bool stands_below(const std::string& name, const std::string& above) {
  return name.starts_with(above + "/");
}

/// Each of these names has a weight below it.
void check_names(const StateLayout& layout, std::span<const std::string> names) {
  for (const std::string& above : names) {
    const bool found = std::ranges::any_of(layout.entries, [&](const StateEntry& entry) {
      return is_weight(entry.kind) && stands_below(entry.name, above);
    });
    if (found) continue;
    throw UserError("E1005", fmt::format("the model has no parameter below '{}'", above));
  }
}

/// What is read: entries of the layout, which the file must have; others that it has are unexpected
/// unless they are ignored.
struct Reading {
  std::function<bool(const StateEntry& entry)> wants;
  std::function<bool(const std::string& name)> ignores;
};

void fill(const SafetensorsReader& file, const StateLayout& layout, std::span<std::byte> state,
          const Reading& reading) {
  GRADUS_CHECK(static_cast<std::int64_t>(state.size()) >= layout.bytes, "state too short");
  std::vector<Diagnostic> findings;
  std::set<std::string> expected;
  const auto report = [&](std::string message) {
    findings.push_back({"E1005", std::move(message), {file.path()}, {}});
  };
  for (const StateEntry& entry : layout.entries) {
    if (!reading.wants(entry)) continue;
    expected.insert(entry.name);
    const SafetensorsEntry* found = file.find(entry.name);
    if (found == nullptr) {
      report(fmt::format("missing: {} '{}' {}", to_string(entry.kind), entry.name,
                         to_string(entry.type)));
    } else if (found->type != entry.type) {
      report(fmt::format("different: '{}' is {} in the file and {} in the model", entry.name,
                         to_string(found->type), to_string(entry.type)));
    }
  }
  for (const SafetensorsEntry& entry : file.entries()) {
    if (expected.contains(entry.name) || reading.ignores(entry.name)) continue;
    report(fmt::format("unexpected: '{}' {}", entry.name, to_string(entry.type)));
  }
  if (!findings.empty()) throw UserError(std::move(findings));
  for (const StateEntry& entry : layout.entries) {
    if (!expected.contains(entry.name)) continue;
    file.read(*file.find(entry.name),
              state.subspan(static_cast<std::size_t>(entry.offset),
                            static_cast<std::size_t>(entry.type.byte_size())));
  }
}

json to_json(const Progress& progress) {
  return {{"kind", "checkpoint"},
          {"step", progress.step},
          {"epoch", progress.epoch},
          {"batch", progress.batch},
          {"sums", progress.sums},
          {"examples_in_sums", progress.examples_in_sums},
          {"train", progress.train},
          {"validation", progress.validation},
          {"seed", progress.seed},
          {"batch_size", progress.batch_size},
          {"examples", progress.examples},
          {"shuffle", progress.shuffle},
          {kTokens, progress.vocabulary.tokens},
          {kVocabulary, progress.vocabulary.characters},
          {"model_hash", progress.model_hash},
          {"version", progress.version}};
}

/// JSON has no numbers that are not finite: null stands for them. Older checkpoints have no values.
std::vector<double> values_of(const json& manifest, const char* key) {
  std::vector<double> values;
  for (const json& value : manifest.value(key, json::array())) {
    values.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN()
                                     : value.get<double>());
  }
  return values;
}

/// Data that are no text have none. Older files say only what the characters are.
Vocabulary vocabulary_of(const json& manifest) {
  Vocabulary vocabulary;
  vocabulary.characters = manifest.value(kVocabulary, vocabulary.characters);
  const std::string older = vocabulary.characters.empty() ? "" : "characters";
  vocabulary.tokens = manifest.value(kTokens, older);
  return vocabulary;
}

Progress parse_progress(const SafetensorsReader& file, const json& manifest) {
  Progress progress;
  try {
    manifest.at("step").get_to(progress.step);
    manifest.at("epoch").get_to(progress.epoch);
    manifest.at("batch").get_to(progress.batch);
    manifest.at("sums").get_to(progress.sums);
    const json& examples = manifest.at("examples_in_sums");
    if (examples.is_number()) {  // in older checkpoints, that of all
      progress.examples_in_sums.assign(progress.sums.size(), examples.get<std::int64_t>());
    } else {
      examples.get_to(progress.examples_in_sums);
    }
    progress.train = values_of(manifest, "train");
    progress.validation = values_of(manifest, "validation");
    manifest.at("seed").get_to(progress.seed);
    manifest.at("batch_size").get_to(progress.batch_size);
    manifest.at("examples").get_to(progress.examples);
    manifest.at("shuffle").get_to(progress.shuffle);
    progress.vocabulary = vocabulary_of(manifest);
    manifest.at("model_hash").get_to(progress.model_hash);
    manifest.at("version").get_to(progress.version);
  } catch (const json::exception& error) {
    reject(file, fmt::format("damaged manifest: {}", error.what()));
  }
  return progress;
}

}  // namespace

void save_checkpoint(const std::string& path, const StateLayout& layout,
                     std::span<const std::byte> state, const Progress& progress) {
  save(path, layout, state, true, to_json(progress));
}

Progress load_checkpoint(const std::string& path, const StateLayout& layout,
                         std::span<std::byte> state) {
  const SafetensorsReader file(path);
  const std::optional<json> manifest = read_manifest(file);
  if (!manifest || manifest->value("kind", json()) != "checkpoint") {
    reject(file, "the file is no checkpoint: it has no training progress");
  }
  Progress progress = parse_progress(file, *manifest);
  fill(file, layout, state,
       {[](const StateEntry&) { return true; }, [](const std::string&) { return false; }});
  return progress;
}

void save_weights(const std::string& path, const StateLayout& layout,
                  std::span<const std::byte> state, const std::string& model_hash,
                  const Vocabulary& vocabulary) {
  json manifest{{"kind", "weights"}, {"model_hash", model_hash}};
  if (!vocabulary.tokens.empty()) manifest[kTokens] = vocabulary.tokens;
  if (!vocabulary.characters.empty()) manifest[kVocabulary] = vocabulary.characters;
  save(path, layout, state, false, std::move(manifest));
}

Vocabulary saved_vocabulary(const std::string& path) {
  const SafetensorsReader file(path);
  const std::optional<json> manifest = read_manifest(file);
  try {
    return manifest ? vocabulary_of(*manifest) : Vocabulary();
  } catch (const json::exception& error) {
    reject(file, fmt::format("damaged manifest: {}", error.what()));
  }
}

void load_weights(const std::string& path, const StateLayout& layout, std::span<std::byte> state,
                  std::span<const std::string> of) {
  const SafetensorsReader file(path);
  const std::set<std::string> others = other_entries(read_manifest(file));
  check_names(layout, of);
  const auto is_meant = [&](const std::string& name) {
    const auto is_below = [&](const std::string& above) { return stands_below(name, above); };
    return of.empty() || std::ranges::any_of(of, is_below);
  };
  const auto wants = [&](const StateEntry& entry) {
    return is_weight(entry.kind) && is_meant(entry.name);
  };
  const auto ignores = [&](const std::string& name) {
    return others.contains(name) || !is_meant(name);
  };
  fill(file, layout, state, {wants, ignores});
}

}  // namespace gradus::runtime
