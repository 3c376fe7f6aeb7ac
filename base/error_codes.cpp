#include "base/error_codes.h"

#include <string>

#include "base/check.h"

namespace gradus {
namespace {

constexpr ErrorCode kErrorCodes[] = {
    {"E1001", ErrorClass::data, "malformed safetensors file",
     "The file breaks the safetensors format: its header, the offsets of its tensors, or its size "
     "is wrong. Files that were cut off while being copied look like this."},
    {"E1002", ErrorClass::data, "unsupported or malformed data file",
     "The file is not of the format that its source reads, or holds elements of a type that "
     "Gradus does not have, or is cut off or longer than it says."},
    {"E1003", ErrorClass::data, "damaged compressed file",
     "The gzip data end too early or fail their check sum."},
    {"E1004", ErrorClass::data, "arrays that do not belong together",
     "All arrays of a data set have one row per example and so the same leading extent, at least "
     "1."},
    {"E1005", ErrorClass::data, "weights that do not fit the model",
     "Every parameter of the model is in the file under its name, with its shape and type, and "
     "nothing else is."},
    {"E1006", ErrorClass::data, "unusable checkpoint",
     "Training goes on only from a whole checkpoint of the same model, data, seed and batch: else "
     "the result would not be that of an uninterrupted run. To start from its weights alone, give "
     "it as initial weights."},
    {"E1007", ErrorClass::data, "data parameter out of range",
     "A parameter of a data source is outside the range in which it makes sense."},
    {"E1008", ErrorClass::data, "wrong number of examples",
     "A validation share leaves at least one example to train on, and a data set has less than "
     "2^32 examples."},
    {"E1009", ErrorClass::data, "data that do not fit the model's inputs",
     "Every input of the model takes the array of its name: of the same shape per example (an "
     "extent of 1 more or less, and flattening, are no difference) and of a type that converts "
     "without loss."},
    {"E1010", ErrorClass::data, "value out of range of the input's type",
     "An integer of the data cannot be held exactly by the type that the model's input declares."},
    {"E1011", ErrorClass::data, "no examples", "The data set is empty or its source has none."},
    {"E2102", ErrorClass::usage, "malformed kernel",
     "The text of a kernel has one statement per line; codegen/README.md shows the form."},
    {"E2103", ErrorClass::usage, "kernel breaks a law",
     "The text of a kernel is well formed, but the kernel reads or writes what it must not: "
     "outside "
     "of a buffer, what another task writes, scratch before it is written, or values of other "
     "types."},
    {"E3001", ErrorClass::numeric, "not a finite number",
     "The loss, the gradient norm or the state became infinite or not a number. The message names "
     "the first step at which it happened; nothing of that state was saved. A smaller learning "
     "rate or clipping the gradient often helps."},
    {"E3002", ErrorClass::numeric, "fault of a step",
     "An integer division by zero or an index out of range, such as a label that is not below the "
     "number of classes."},
    {"E4001", ErrorClass::io, "file cannot be opened",
     "There is no such regular file, or it may not be read."},
    {"E4002", ErrorClass::io, "file cannot be read",
     "The operating system failed to read the file."},
    {"E4003", ErrorClass::io, "file cannot be written",
     "The file or its temporary name could not be created, written, synced or renamed."},
    {"E4004", ErrorClass::io, "the linker failed",
     "A shared library is linked by a C compiler, which is not installed, or not for this "
     "processor, "
     "or said why it failed. An object file (.o) or a static library (.a) needs none."},
    {"E5001", ErrorClass::memory, "out of memory",
     "The operating system did not give the memory that the step or the data need. A smaller batch "
     "or a smaller data set needs less."},
    {"E5002", ErrorClass::memory, "more memory than allowed",
     "No plan of the program fits --memory, also when results are computed again instead of kept. "
     "The message names the layers that need most and the largest batch that fits."},
    {"E0101", ErrorClass::model, "not JSON", "The model file does not follow the JSON grammar."},
    {"E0102", ErrorClass::model, "duplicate key", "A key may appear once in an object."},
    {"E0103", ErrorClass::model, "nested too deeply", "Model files nest at most 64 levels."},
    {"E0104", ErrorClass::model, "number out of range",
     "Numbers are 64-bit integers or finite f64."},
    {"E0105", ErrorClass::usage, "bad --set", "An override is key.path=value on an existing path."},
    {"E0201", ErrorClass::model, "unknown key", "Every key of a model file must be known."},
    {"E0202", ErrorClass::model, "missing key", "A required key is absent."},
    {"E0203", ErrorClass::model, "wrong value",
     "A value has another type or range than its key takes."},
    {"E0204", ErrorClass::model, "shapes do not fit",
     "A layer, loss or metric cannot take what it is given."},
    {"E0205", ErrorClass::model, "unknown name",
     "No layer, op, function, method or source has this name."},
    {"E0206", ErrorClass::model, "contradiction",
     "Two settings exclude each other, or one of them is needed."},
    {"E0207", ErrorClass::model, "unknown value",
     "A layer, loss or metric refers to no input or layer above it."},
    {"E0208", ErrorClass::model, "name taken", "Layer names are unique."},
    {"E0209", ErrorClass::model, "random numbers that repeat",
     "The random numbers of a layer follow from a hash of its name. Two names of this model have "
     "the "
     "same hash, so that their layers would draw the same numbers."},
    {"E0210", ErrorClass::model, "unusable block",
     "A block is defined in \"blocks\" with a list of layers, is not inside itself, and is "
     "repeated "
     "1 to 10000 times. What it reads beside \"input\" has names of its own in \"inputs\"."},
    {"E0211", ErrorClass::model, "malformed expression",
     "A text that begins with \"=\" is an expression over the block's parameters: numbers, names, "
     "+ - "
     "* / // %, min, max and parentheses. Whole numbers stay whole; / must divide them exactly."},
    {"E0212", ErrorClass::model, "unusable module",
     "A module is defined in \"modules\" with a list of layers and is not inside itself. All of "
     "its "
     "uses share its parameters."},
    {"E0213", ErrorClass::model, "unusable update",
     "An update minimises one of \"losses\"; what stands in its \"of\" has parameters on which "
     "that "
     "loss depends, and no other update takes them down the same loss."},
    {"E0214", ErrorClass::model, "no generation with this model",
     "`gradus generate` gives a model one token after another. It needs a loss that predicts the "
     "class of the next one, one input of tokens, and layers between them that look at positions "
     "up to the present only: the reference of layers names them."},
    {"E0301", ErrorClass::model, "malformed graph",
     "The text of a graph has one node per line, then its results; ir/README.md shows the form."},
    {"E0302", ErrorClass::model, "graph breaks a law",
     "The text of a graph is well formed, but an op cannot take what it is given, a type is not "
     "the "
     "one that the op infers, or a result does not fit."},
    {"E2001", ErrorClass::usage, "instruction set not available",
     "Code for this instruction set cannot run on this machine; --isa native always can."},
    {"E2002", ErrorClass::usage, "no such name",
     "A command was given a name that it does not know."},
    {"E2003", ErrorClass::usage, "option without meaning",
     "The command was given an option that does not apply to what it was given."},
    {"E2004", ErrorClass::usage, "missing argument", "The command needs one more argument."},
    {"E2005", ErrorClass::usage, "unknown form of output",
     "The ending of the output's name says what is written: .o, .a, .so, .s or .ll."},
    {"E2006", ErrorClass::usage, "unusable option",
     "The value of an option cannot be used, or not together with the others: instruction sets of "
     "different processors do not go into one object file, and names in C have letters, digits and "
     "underscores."},
    {"E2101", ErrorClass::usage, "malformed scalar program",
     "The text of a scalar program has one typed instruction per line and ends with a return."},
};

}  // namespace

std::span<const ErrorCode> error_codes() { return kErrorCodes; }

const ErrorCode& error_code(std::string_view code) {
  for (const ErrorCode& entry : kErrorCodes) {
    if (entry.code == code) return entry;
  }
  throw InternalError("no such error code: " + std::string(code));
}

}  // namespace gradus
