#pragma once

// What training is for: losses, metrics, and the updates that take losses down. A file has one
// "loss" and one "optimizer", or "losses" by name and a list of "updates".

#include "frontend/names.h"
#include "frontend/spec.h"

namespace gradus::frontend {

/// The sections of the file; null where absent.
struct Objectives {
  const Json* loss = nullptr;
  const Json* optimizer = nullptr;
  const Json* losses = nullptr;
  const Json* updates = nullptr;
  const Json* metrics = nullptr;
};

/// Looks the sections up: E0202 when one is missing, E0206 when both forms are there.
[[nodiscard]] Objectives find_objectives(ObjectReader& top, Findings& findings);

/// Reads the sections that are there into `spec`, whose layers are read already; "loss" with
/// "optimizer" is one update of everything. Reports E0213 for an update whose loss is unknown, and
/// what ObjectReader reports.
void read_objectives(const Objectives& sections, Names& names, Findings& findings, ModelSpec& spec);

}  // namespace gradus::frontend
