#pragma once

#include <map>
#include <string>
#include <vector>

#include "frontend/reader.h"

namespace gradus::frontend {

/// The names of a model's inputs and layers: each is declared once and read below its declaration.
class Names {
 public:
  explicit Names(Findings& findings) : findings_(findings) {}

  /// A name that will be declared: a message about its use above can say where it stands.
  void announce(std::string name, SourceLocation where);
  /// E0203 unless the name is well-formed, E0208 when it is taken.
  void declare(const std::string& name, const SourceLocation& where);
  /// E0203 unless the name is well-formed.
  void check_form(const std::string& name, const SourceLocation& where);
  /// `name`, of the use of a block, stands for its last layer.
  void stand_for(std::string name, std::string layer);
  /// Writes the layer that the reference stands for in its place. E0207 unless the name is
  /// declared, or that of a counter ("seed", "step").
  void resolve(Reference& reference);

 private:
  Findings& findings_;
  std::map<std::string, SourceLocation> declared_;
  std::map<std::string, std::string> uses_;
  std::vector<Reference> announced_;
};

}  // namespace gradus::frontend
