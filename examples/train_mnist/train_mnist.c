/* Trains a network on MNIST with nothing but the C library: the training step was compiled ahead of
   time from models/mnist_mlp.json. The weights are equal, to the last bit, to
   those of

     gradus train models/mnist_mlp.json --set data.directory=DIRECTORY

   Usage: train_mnist DIRECTORY [--epochs N] [--threads N] [--seed N] [--weights FILE]
          train_mnist --draw DIRECTORY EXAMPLES

   DIRECTORY has MNIST's four files, uncompressed. --draw makes it, with files of the same form and
   digits that the program draws itself; a tenth as many of them is for testing. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mnist.h"

enum { kSide = 28, kPixels = kSide * kSide, kClasses = 10, kNameBytes = 4096 };

static void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("train_mnist: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static void* allocate(size_t count, size_t bytes) {
  void* memory = calloc(count > 0 ? count : 1, bytes);
  if (memory == NULL) fail("out of memory");
  return memory;
}

/* -- MNIST's files --------------------------------------------------------------------------------
 */

typedef struct {
  uint32_t examples;
  uint8_t* images; /* [examples][kPixels] */
  uint8_t* labels; /* [examples] */
} Dataset;

static uint32_t read_number(FILE* file, const char* path) {
  unsigned char bytes[4];
  if (fread(bytes, 1, 4, file) != 4) fail("%s: ends in its header", path);
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* An IDX file of unsigned bytes: the element type and rank, the extents, the elements. */
static uint8_t* read_idx(const char* directory, const char* name, uint32_t rank,
                         uint32_t* examples) {
  char path[kNameBytes];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  FILE* file = fopen(path, "rb");
  if (file == NULL) fail("%s: %s (files that end in .gz: gunzip them)", path, strerror(errno));
  const uint32_t magic = read_number(file, path);
  if (magic != (8u << 8 | rank)) fail("%s: expected bytes of rank %u in IDX form", path, rank);
  *examples = read_number(file, path);
  for (uint32_t axis = 1; axis < rank; ++axis) {
    if (read_number(file, path) != kSide) fail("%s: expected images of 28 x 28", path);
  }
  const size_t bytes = (size_t)*examples * (rank == 3 ? kPixels : 1);
  uint8_t* elements = allocate(bytes, 1);
  if (fread(elements, 1, bytes, file) != bytes) fail("%s: shorter than its header says", path);
  fclose(file);
  return elements;
}

static Dataset read_dataset(const char* directory, const char* prefix) {
  char name[64];
  Dataset data;
  uint32_t labels;
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
  data.images = read_idx(directory, name, 3, &data.examples);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
  data.labels = read_idx(directory, name, 1, &labels);
  if (labels != data.examples) fail("%s: %u images, %u labels", prefix, data.examples, labels);
  return data;
}

static void free_dataset(Dataset* data) {
  free(data->images);
  free(data->labels);
}

/* -- Drawing digits -------------------------------------------------------------------------------
 */

/* Seven segments by digit, bit 0 the top, then clockwise, bit 6 the middle. */
static const unsigned char kSegments[kClasses] = {0x3f, 0x06, 0x5b, 0x4f, 0x66,
                                                  0x6d, 0x7d, 0x07, 0x7f, 0x6f};

static uint32_t next_random(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 16;
}

static void draw_bar(uint8_t* image, uint32_t x, uint32_t y, uint32_t width, uint32_t height) {
  for (uint32_t row = y; row < y + height; ++row) {
    for (uint32_t column = x; column < x + width; ++column) image[row * kSide + column] = 230;
  }
}

static void draw_digit(uint8_t* image, unsigned digit, uint32_t* random) {
  const uint32_t x = 4 + next_random(random) % 8, y = 2 + next_random(random) % 6;
  const uint32_t thick = 2 + next_random(random) % 2;
  const uint32_t bars[7][4] = {{x, y, 12, thick},          {x + 10, y, thick, 10},
                               {x + 10, y + 9, thick, 10}, {x, y + 17, 12, thick},
                               {x, y + 9, thick, 10},      {x, y, thick, 10},
                               {x, y + 8, 12, thick}};
  for (unsigned i = 0; i < 7; ++i) {
    if (kSegments[digit] >> i & 1) draw_bar(image, bars[i][0], bars[i][1], bars[i][2], bars[i][3]);
  }
  for (uint32_t i = 0; i < kPixels; ++i) image[i] += (uint8_t)(next_random(random) % 25);
}

static void write_number(FILE* file, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) fputc((int)(value >> shift & 0xff), file);
}

static FILE* create(const char* directory, const char* prefix, const char* rest) {
  char path[kNameBytes];
  snprintf(path, sizeof path, "%s/%s-%s", directory, prefix, rest);
  FILE* file = fopen(path, "wb");
  if (file == NULL) fail("%s: %s", path, strerror(errno));
  return file;
}

static void draw_split(const char* directory, const char* prefix, uint32_t examples,
                       uint32_t* random) {
  FILE* images = create(directory, prefix, "images-idx3-ubyte");
  FILE* labels = create(directory, prefix, "labels-idx1-ubyte");
  write_number(images, 8u << 8 | 3);
  write_number(images, examples);
  write_number(images, kSide);
  write_number(images, kSide);
  write_number(labels, 8u << 8 | 1);
  write_number(labels, examples);
  for (uint32_t i = 0; i < examples; ++i) {
    uint8_t image[kPixels] = {0};
    const unsigned digit = next_random(random) % kClasses;
    draw_digit(image, digit, random);
    fwrite(image, 1, kPixels, images);
    fputc((int)digit, labels);
  }
  if (fclose(images) != 0 || fclose(labels) != 0) fail("%s: cannot be written", directory);
}

static void draw(const char* directory, uint32_t examples) {
  if (mkdir(directory, 0777) != 0 && errno != EEXIST) fail("%s: %s", directory, strerror(errno));
  uint32_t random = 1;
  draw_split(directory, "train", examples, &random);
  draw_split(directory, "t10k", examples / 10 + 1, &random);
}

/* -- Training -------------------------------------------------------------------------------------
 */

static mnist_state state;
static float images[MNIST_STEP_BATCH * kPixels];
static int32_t labels[MNIST_STEP_BATCH];

static void check(int32_t status, const mnist_context* context) {
  if (status == MNIST_OK) return;
  const char* place = context != NULL ? mnist_place(context) : "";
  fail("%s%s%s", mnist_describe(status), place[0] != 0 ? ", at " : "", place);
}

/* Example number `example` as the one at `position` in the batch. */
static void load_example(const Dataset* data, uint32_t example, uint32_t position) {
  const uint8_t* from = data->images + (size_t)example * kPixels;
  float* to = images + (size_t)position * kPixels;
  for (int i = 0; i < kPixels; ++i) to[i] = (float)from[i] / 255;
  labels[position] = data->labels[example];
}

static void train_epoch(mnist_context* context, const Dataset* data, int64_t seed, int64_t epoch,
                        uint32_t* order) {
  mnist_shuffle(seed, epoch, data->examples, order);
  double loss_sum = 0, accuracy_sum = 0;
  for (uint32_t first = 0; first < data->examples; first += MNIST_STEP_BATCH) {
    const uint32_t left = data->examples - first;
    const uint32_t count = left < MNIST_STEP_BATCH ? left : MNIST_STEP_BATCH;
    for (uint32_t i = 0; i < count; ++i) load_example(data, order[first + i], i);
    float loss, accuracy;
    const int32_t status = mnist_step(context, &state, count, images, labels, &loss, &accuracy);
    if (status == MNIST_BATCH) {
      fail("%u examples leave a last batch of %u: compile with --batch %d,%u", data->examples,
           count, MNIST_STEP_BATCH, count);
    }
    check(status, context);
    loss_sum += (double)loss * count;
    accuracy_sum += (double)accuracy * count;
  }
  printf("epoch %lld  loss %.4f  accuracy %.4f\n", (long long)epoch + 1, loss_sum / data->examples,
         accuracy_sum / data->examples);
}

static void test(mnist_context* context, const Dataset* data) {
  static float logits[MNIST_PREDICT_BATCH][kClasses];
  uint32_t right = 0;
  for (uint32_t first = 0; first < data->examples; first += MNIST_PREDICT_BATCH) {
    const uint32_t left = data->examples - first;
    const uint32_t count = left < MNIST_PREDICT_BATCH ? left : MNIST_PREDICT_BATCH;
    for (uint32_t i = 0; i < count; ++i) load_example(data, first + i, i);
    check(mnist_predict(context, &state, MNIST_PREDICT_BATCH, images, logits[0]), context);
    for (uint32_t i = 0; i < count; ++i) {
      int best = 0;
      for (int class = 1; class < kClasses; ++class) {
        if (logits[i][class] > logits[i][best]) best = class;
      }
      right += best == labels[i];
    }
  }
  printf("test  accuracy %.4f\n", (double)right / data->examples);
}

/* The parameters as a safetensors file: the length of a JSON header, the header, the elements. */
static void write_weights(const char* path) {
  char* header = allocate(MNIST_STATE_ENTRIES, 256);
  size_t length = 0;
  int64_t offset = 0;
  for (int i = 0; i < MNIST_STATE_ENTRIES; ++i) {
    const mnist_entry* entry = &mnist_entries[i];
    if (strcmp(entry->kind, "parameter") != 0) continue;
    length += (size_t)sprintf(header + length, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[",
                              length == 0 ? "{" : ",", entry->name);
    for (int axis = 0; axis < entry->rank; ++axis) {
      length += (size_t)sprintf(header + length, "%s%lld", axis == 0 ? "" : ",",
                                (long long)entry->shape[axis]);
    }
    length += (size_t)sprintf(header + length, "],\"data_offsets\":[%lld,%lld]}", (long long)offset,
                              (long long)(offset + entry->bytes));
    offset += entry->bytes;
  }
  header[length++] = '}';
  while (length % 8 != 0) header[length++] = ' ';
  FILE* file = fopen(path, "wb");
  if (file == NULL) fail("%s: %s", path, strerror(errno));
  for (int shift = 0; shift < 64; shift += 8) fputc((int)((uint64_t)length >> shift & 0xff), file);
  fwrite(header, 1, length, file);
  for (int i = 0; i < MNIST_STATE_ENTRIES; ++i) {
    const mnist_entry* entry = &mnist_entries[i];
    if (strcmp(entry->kind, "parameter") != 0) continue;
    fwrite((const char*)&state + entry->offset, 1, (size_t)entry->bytes, file);
  }
  if (fclose(file) != 0) fail("%s: cannot be written", path);
  free(header);
}

static long number(const char* option, const char* text, long least) {
  char* end;
  const long value = strtol(text, &end, 10);
  if (*end != 0 || end == text || value < least) {
    fail("%s %s: expected a number from %ld on", option, text, least);
  }
  return value;
}

int main(int count, char** arguments) {
  if (count == 4 && strcmp(arguments[1], "--draw") == 0) {
    draw(arguments[2], (uint32_t)number("--draw", arguments[3], 1));
    return 0;
  }
  if (count < 2 || count % 2 != 0 || arguments[1][0] == '-') {
    fail(
        "usage: train_mnist DIRECTORY [--epochs N] [--threads N] [--seed N] [--weights FILE]\n"
        "       train_mnist --draw DIRECTORY EXAMPLES");
  }
  long epochs = 5, threads = 1, seed = 1;
  const char* weights = NULL;
  for (int i = 2; i < count; i += 2) {
    const char *option = arguments[i], *value = arguments[i + 1];
    if (strcmp(option, "--epochs") == 0) {
      epochs = number(option, value, 1);
    } else if (strcmp(option, "--threads") == 0) {
      threads = number(option, value, 1);
    } else if (strcmp(option, "--seed") == 0) {
      seed = number(option, value, 0);
    } else if (strcmp(option, "--weights") == 0) {
      weights = value;
    } else {
      fail("unknown option %s", option);
    }
  }
  Dataset train = read_dataset(arguments[1], "train");
  Dataset tests = read_dataset(arguments[1], "t10k");
  mnist_context* context;
  check(mnist_open(&context, (int32_t)threads), NULL);
  printf("%u examples, code for %s\n", train.examples, mnist_isa(context));
  check(mnist_init(context, &state, seed), context);
  uint32_t* order = allocate(train.examples, sizeof *order);
  for (long epoch = 0; epoch < epochs; ++epoch) {
    train_epoch(context, &train, seed, epoch, order);
  }
  test(context, &tests);
  if (weights != NULL) write_weights(weights);
  free(order);
  mnist_close(context);
  free_dataset(&tests);
  free_dataset(&train);
  return 0;
}
