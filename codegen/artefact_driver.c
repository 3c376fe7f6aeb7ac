// What every model compiled ahead of time has in common: choosing the code for this processor,
// memory, threads, and the walk over a program's steps. The build compiles this file to LLVM
// bitcode for each processor family; codegen/artefact.cpp adds a model's kernels and tables to it.
//
// Threads: every worker walks the whole program, runs its share of each chain of steps and waits
// for the others where a chain has work for several, or the next one has. The shares depend on the
// numbers of units and workers alone, and no bit of the result depends on the shares.
//
// It is freestanding: what it needs of libc, libm and pthread is declared here, so that it compiles
// for a system whose headers are not installed.

#include <stddef.h>
#include <stdint.h>

int posix_memalign(void** memory, size_t alignment, size_t bytes);
void* calloc(size_t count, size_t bytes);
void free(void* memory);
void* memcpy(void* restrict to, const void* restrict from, size_t bytes);
long sysconf(int name);
float fmaf(float a, float b, float c);
double fma(double a, double b, double c);
int pthread_create(unsigned long* thread, const void* attributes, void* (*start)(void*),
                   void* data);
int pthread_join(unsigned long thread, void** result);
int pthread_mutex_init(void* mutex, const void* attributes);
int pthread_mutex_destroy(void* mutex);
int pthread_mutex_lock(void* mutex);
int pthread_mutex_unlock(void* mutex);
int pthread_cond_init(void* condition, const void* attributes);
int pthread_cond_destroy(void* condition);
int pthread_cond_wait(void* condition, void* mutex);
int pthread_cond_broadcast(void* condition);

enum {
  kOnlineProcessors = 84,  // _SC_NPROCESSORS_ONLN of Linux
  kAlignment = 64,
  kPage = 4096,         // workers' blocks share no page
  kPthreadBytes = 128,  // at least sizeof(pthread_mutex_t) and sizeof(pthread_cond_t)
  kSpins = 2000,        // some tens of microseconds
  kMostThreads = 1024,
};

// What the functions of the header return. codegen/artefact_header.cpp writes the same numbers.
enum {
  kOk,
  kNoMemory,
  kNoThreads,
  kNoProcessor,
  kMisaligned,
  kNoSuchBatch,
  kDivisionByZero,
  kIndexOutOfRange,
  kNotFinite,
};

// The tables of a model, written by codegen/artefact.cpp: every member is 64 bits wide.

enum { kState, kArena, kConstants, kInput };  // runtime::Space
enum { kLongestChain = 8 };                   // runtime::kLongestChain: artefact.cpp checks it
static const int64_t kNever = INT64_MAX;

struct buffer {
  int64_t space;
  int64_t offset;  // bytes; of kInput the number of the input
  int64_t begin;   // in a loop: bytes from there to the slice of the first iteration,
  int64_t stride;  // and from one iteration's to the next one's
};
struct step {
  void (*kernel)(void* const* buffers, void* scratch, int64_t first, int64_t last, uint64_t* fault);
  const struct buffer* buffers;
  int64_t buffer_count;
  int64_t tasks;
  const char* place;  // where in the model it comes from
};
/// Steps between which nobody waits: as runtime::Chain.
struct chain {
  const struct step* steps;
  int64_t step_count;
  int64_t units;
  int64_t most_workers;
  int64_t loop_chains;  // at the end of a loop: how many chains it has; else 0
  int64_t loop_length;
};
struct output {
  struct buffer at;
  int64_t bytes;
  int64_t must_be_finite;
};
struct program {
  int64_t function;  // which of the header's functions it is part of
  int64_t examples;  // of a batch; 0: it has none
  const struct chain* chains;
  int64_t chain_count;
  const int64_t* input_bytes;
  int64_t input_count;
  const struct output* outputs;
  int64_t output_count;
  char* constants;
};
/// The model for one instruction set, with the greatest sizes of its programs.
struct variant {
  int64_t level;
  const char* name;
  const struct program* programs;
  int64_t program_count;
  int64_t arena_bytes;
  int64_t scratch_bytes;
  int64_t input_bytes;  // of all inputs of a program, each rounded up to the alignment
  int64_t input_count;
  int64_t buffer_count;  // of the steps of a chain
};
extern const struct variant gradus_variants[];  // the best first
extern const int64_t gradus_variant_count;

/// A worker's block is followed by its addresses of a chain's buffers and by its scratch.
struct worker {
  _Alignas(kAlignment) uint64_t faults[kLongestChain];  // of the steps of a chain
  struct gradus_context* context;
  int64_t number;
  unsigned long thread;
};

struct gradus_context {
  const struct variant* variant;
  char* arena;
  char* input_copies;
  const char** inputs;
  char* workers;
  int64_t worker_bytes;
  int64_t spins;
  // The run.
  const struct program* program;
  char* state;
  const char* place;    // of the last fault
  int64_t failed_turn;  // the first, of the run; kNever: none
  int64_t failed_chain;
  // The threads.
  int64_t threads;
  int64_t arrived;
  uint64_t generation;  // how often all have arrived
  int64_t closing;
  _Alignas(kAlignment) char mutex[kPthreadBytes];
  _Alignas(kAlignment) char condition[kPthreadBytes];
};

// -- The processor --------------------------------------------------------------------------------

#if defined(__x86_64__)

enum {
  kControl = 1 << 15 | 1 << 6 | 0x3f << 7,  // flush to zero, denormals are zero, no exception traps
};

static uint32_t read_control(void) { return __builtin_ia32_stmxcsr(); }
static void write_control(uint32_t value) { __builtin_ia32_ldmxcsr(value); }
static void pause(void) { __builtin_ia32_pause(); }

struct registers {
  uint32_t a, b, c, d;
};

static struct registers cpuid(uint32_t leaf, uint32_t subleaf) {
  struct registers r;
  __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
  return r;
}

/// Which registers the operating system saves: XCR0.
static uint32_t saved_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static int has(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

// The bits that distinguish the levels of the x86-64 psABI, as far as kernels use them.
enum {  // CPUID 1, register c
  kFma = 1 << 12,
  kMovbe = 1 << 22,
  kOsxsave = 1 << 27,
  kAvx = 1 << 28,
  kF16c = 1 << 29,
};
enum {  // CPUID 0x80000001, register c
  kLzcnt = 1 << 5,
};
enum {  // CPUID 7, register b
  kBmi = 1 << 3,
  kAvx2 = 1 << 5,
  kBmi2 = 1 << 8,
  kAvx512f = 1 << 16,
  kAvx512dq = 1 << 17,
  kAvx512cd = 1 << 28,
  kAvx512bw = 1 << 30,
};
static const uint32_t kAvx512vl = 1u << 31;
enum {  // XCR0
  kVectors256 = 0x06,
  kVectors512 = 0xe6,
};

/// Whether this machine runs code of the level.
static int supports(int64_t level) {
  if (level <= 1) return 1;
  if (cpuid(0, 0).a < 7 || cpuid(0x80000000u, 0).a < 0x80000001u) return 0;
  if (!has(cpuid(1, 0).c, kFma | kMovbe | kOsxsave | kAvx | kF16c)) return 0;
  if (!has(cpuid(0x80000001u, 0).c, kLzcnt)) return 0;
  const uint32_t extended = cpuid(7, 0).b;
  if (!has(extended, kBmi | kAvx2 | kBmi2) || !has(saved_registers(), kVectors256)) return 0;
  if (level <= 3) return 1;
  return has(extended, kAvx512f | kAvx512dq | kAvx512cd | kAvx512bw | kAvx512vl) &&
         has(saved_registers(), kVectors512);
}

#elif defined(__aarch64__)

enum { kControl = 1 << 24 };  // FPCR.FZ: operands and results; nearest even, no exception traps

static uint32_t read_control(void) {
  uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value)::"memory");
  return (uint32_t)value;
}
static void write_control(uint32_t value) {
  __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)value) : "memory");
}
static void pause(void) { __asm__ volatile("yield"); }
static int supports(int64_t level) {
  (void)level;
  return 1;
}

#endif

// -- fma where the processor has none -------------------------------------------------------------

// As base/float_environment.cpp, which says why: libm knows nothing of flushing.
#define DEFINE_FMA(NAME, FLOAT, BITS, SIGN, LEAST, LIBRARY)             \
  static FLOAT flush_##NAME(FLOAT x) {                                  \
    union {                                                             \
      FLOAT value;                                                      \
      BITS bits;                                                        \
    } u = {x};                                                          \
    if ((u.bits & ~(SIGN)) < (LEAST)) u.bits &= (SIGN);                 \
    return u.value;                                                     \
  }                                                                     \
  static FLOAT magnitude_##NAME(FLOAT x) { return x < 0 ? -x : x; }     \
  FLOAT NAME(FLOAT a, FLOAT b, FLOAT c) {                               \
    const union {                                                       \
      BITS bits;                                                        \
      FLOAT value;                                                      \
    } least = {LEAST};                                                  \
    const FLOAT scale = 1ull << 60;                                     \
    a = flush_##NAME(a);                                                \
    b = flush_##NAME(b);                                                \
    c = flush_##NAME(c);                                                \
    const FLOAT result = flush_##NAME(LIBRARY(a, b, c));                \
    if (magnitude_##NAME(result) != least.value) return result;         \
    const FLOAT scaled = magnitude_##NAME(a) < magnitude_##NAME(b)      \
                             ? LIBRARY(a * scale, b, c * scale)         \
                             : LIBRARY(a, b * scale, c * scale);        \
    if (magnitude_##NAME(scaled) >= least.value * scale) return result; \
    return result < 0 ? -(FLOAT)0 : 0;                                  \
  }

DEFINE_FMA(gradus_fma_f32, float, uint32_t, 0x80000000u, 0x00800000u, fmaf)
DEFINE_FMA(gradus_fma_f64, double, uint64_t, 0x8000000000000000u, 0x0010000000000000u, fma)

// -- Threads --------------------------------------------------------------------------------------

static int64_t load(const int64_t* value) { return __atomic_load_n(value, __ATOMIC_SEQ_CST); }
static void store(int64_t* to, int64_t value) { __atomic_store_n(to, value, __ATOMIC_SEQ_CST); }

/// Returns when all workers are here. Who waits longer than a moment sleeps.
static void wait_for_all(struct gradus_context* c) {
  if (load(&c->threads) == 1) return;
  const uint64_t generation = __atomic_load_n(&c->generation, __ATOMIC_SEQ_CST);
  if (__atomic_add_fetch(&c->arrived, 1, __ATOMIC_SEQ_CST) == load(&c->threads)) {
    store(&c->arrived, 0);
    pthread_mutex_lock(c->mutex);
    __atomic_store_n(&c->generation, generation + 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(c->condition);
    pthread_mutex_unlock(c->mutex);
    return;
  }
  for (int64_t i = 0; i < c->spins; ++i) {
    if (__atomic_load_n(&c->generation, __ATOMIC_SEQ_CST) != generation) return;
    pause();
  }
  pthread_mutex_lock(c->mutex);
  while (__atomic_load_n(&c->generation, __ATOMIC_SEQ_CST) == generation) {
    pthread_cond_wait(c->condition, c->mutex);
  }
  pthread_mutex_unlock(c->mutex);
}

static struct worker* worker_of(const struct gradus_context* c, int64_t number) {
  return (struct worker*)(c->workers + number * c->worker_bytes);
}

static char* resolve(const struct gradus_context* c, struct buffer buffer, int64_t iteration) {
  const int64_t moved = buffer.begin + iteration * buffer.stride;
  switch (buffer.space) {
    case kState:
      return c->state + buffer.offset + moved;
    case kArena:
      return c->arena + buffer.offset + moved;
    case kConstants:
      return c->program->constants + buffer.offset + moved;
    default:
      return (char*)c->inputs[buffer.offset] + moved;
  }
}

/// A chain of the program, in one iteration of its loop.
struct turn {
  int64_t number;  // of the turns before it
  int64_t chain;
  int64_t iteration;
};

static struct turn turn_after(const struct program* program, struct turn turn) {
  const struct chain* chain = &program->chains[turn.chain];
  ++turn.number;
  if (chain->loop_chains > 0 && turn.iteration + 1 < chain->loop_length) {
    turn.chain -= chain->loop_chains - 1;
    ++turn.iteration;
    return turn;
  }
  ++turn.chain;
  if (chain->loop_chains > 0) turn.iteration = 0;
  return turn;
}

/// The worker's share of one chain. Returns whether one of its steps failed.
static int run_chain(struct gradus_context* c, struct worker* worker, const struct chain* chain,
                     int64_t iteration) {
  const int64_t threads = load(&c->threads);
  const int64_t active = chain->most_workers < threads ? chain->most_workers : threads;
  if (worker->number >= active) return 0;
  const int64_t share = chain->units / active, rest = chain->units % active;
  const int64_t number = worker->number;
  const int64_t first = share * number + (number < rest ? number : rest);
  const int64_t last = first + share + (number < rest);
  void** buffers = (void**)(worker + 1);
  void** next = buffers;
  for (int64_t s = 0; s < chain->step_count; ++s) {
    const struct step* step = &chain->steps[s];
    for (int64_t i = 0; i < step->buffer_count; ++i) {
      *next++ = resolve(c, step->buffers[i], iteration);
    }
  }
  char* scratch = (char*)worker + c->worker_bytes - c->variant->scratch_bytes;
  const int64_t at_once = chain->step_count == 1 ? last - first : 1;
  for (int64_t unit = first; unit < last; unit += at_once) {
    next = buffers;
    for (int64_t s = 0; s < chain->step_count; ++s) {
      const struct step* step = &chain->steps[s];
      const int64_t tasks = step->tasks / chain->units;
      step->kernel(next, scratch, unit * tasks, (unit + at_once) * tasks, &worker->faults[s]);
      next += step->buffer_count;
    }
  }
  int failed = 0;
  for (int64_t s = 0; s < chain->step_count; ++s) failed |= worker->faults[s] != 0;
  return failed;
}

/// The worker's share of the whole program.
static void run_program(struct gradus_context* c, struct worker* worker) {
  const uint32_t control = read_control();
  write_control(kControl);
  const struct program* program = c->program;
  for (int64_t s = 0; s < kLongestChain; ++s) worker->faults[s] = 0;
  int failed = 0;
  for (struct turn turn = {0, 0, 0}, next; turn.chain < program->chain_count; turn = next) {
    next = turn_after(program, turn);
    const struct chain* chain = &program->chains[turn.chain];
    // After a fault of its own a worker only keeps the others company to the next meeting.
    if (!failed) {
      failed = run_chain(c, worker, chain, turn.iteration);
      if (failed) {
        store(&c->failed_chain, turn.chain);
        store(&c->failed_turn, turn.number);
      }
    }
    const int is_last = next.chain == program->chain_count;
    if (chain->most_workers > 1 || (!is_last && program->chains[next.chain].most_workers > 1)) {
      wait_for_all(c);
      // A faster worker may already have failed in a later chain, to which all must come.
      if (load(&c->failed_turn) <= turn.number) break;
    }
  }
  write_control(control);
}

static void* serve(void* data) {
  struct worker* worker = data;
  struct gradus_context* c = worker->context;
  for (;;) {
    wait_for_all(c);
    if (load(&c->closing)) return NULL;
    run_program(c, worker);
    wait_for_all(c);
  }
}

// -- What the header declares ---------------------------------------------------------------------

void gradus_close(struct gradus_context* c) {
  if (c == NULL) return;
  if (c->workers != NULL) {
    store(&c->closing, 1);
    wait_for_all(c);
    for (int64_t i = 1; i < c->threads; ++i) pthread_join(worker_of(c, i)->thread, NULL);
  }
  pthread_cond_destroy(c->condition);
  pthread_mutex_destroy(c->mutex);
  free(c->workers);
  free(c->inputs);
  free(c->input_copies);
  free(c->arena);
  free(c);
}

static void* aligned(int64_t bytes) {
  void* memory = NULL;
  return posix_memalign(&memory, kPage, (size_t)(bytes > 0 ? bytes : 1)) == 0 ? memory : NULL;
}

static int64_t round_up(int64_t bytes, int64_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

static int start_threads(struct gradus_context* c, int64_t threads) {
  const int64_t before = (int64_t)sizeof(struct worker) + 8 * c->variant->buffer_count;
  c->worker_bytes = round_up(round_up(before, kAlignment) + c->variant->scratch_bytes, kPage);
  c->spins = threads <= sysconf(kOnlineProcessors) ? kSpins : 0;
  c->workers = aligned(c->worker_bytes * threads);
  if (c->workers == NULL) return kNoMemory;
  for (int64_t i = 0; i < threads; ++i) {
    *worker_of(c, i) = (struct worker){.context = c, .number = i};
  }
  c->threads = threads;
  for (int64_t i = 1; i < threads; ++i) {
    if (pthread_create(&worker_of(c, i)->thread, NULL, serve, worker_of(c, i)) != 0) {
      store(&c->threads, i);  // those that there are can be closed
      return kNoThreads;
    }
  }
  return kOk;
}

int gradus_open(struct gradus_context** result, int32_t threads) {
  *result = NULL;
  if (threads < 1 || threads > kMostThreads) return kNoThreads;
  const struct variant* variant = NULL;
  for (int64_t i = 0; variant == NULL && i < gradus_variant_count; ++i) {
    if (supports(gradus_variants[i].level)) variant = &gradus_variants[i];
  }
  if (variant == NULL) return kNoProcessor;
  struct gradus_context* c = NULL;
  if (posix_memalign((void**)&c, kAlignment, sizeof *c) != 0) return kNoMemory;
  *c = (struct gradus_context){.variant = variant, .threads = 1};
  pthread_mutex_init(c->mutex, NULL);
  pthread_cond_init(c->condition, NULL);
  c->arena = aligned(variant->arena_bytes);
  c->input_copies = aligned(variant->input_bytes);
  c->inputs = calloc((size_t)variant->input_count + 1, sizeof *c->inputs);
  int status = kNoMemory;
  if (c->arena != NULL && c->input_copies != NULL && c->inputs != NULL) {
    status = start_threads(c, threads);
  }
  if (status == kOk) {
    *result = c;
  } else {
    gradus_close(c);
  }
  return status;
}

const char* gradus_isa(const struct gradus_context* c) { return c->variant->name; }

const char* gradus_place(const struct gradus_context* c) { return c->place ? c->place : ""; }

const char* gradus_describe(int32_t status) {
  static const char* const texts[] = {
      "ok",
      "out of memory",
      "the threads could not be started; their number is from 1 to 1024",
      "this processor lacks the instructions of every instruction set compiled",
      "the state is not 64-byte aligned",
      "not compiled for batches of this many examples",
      "an integer division by zero",
      "an index out of range",
      "the loss or the gradient norm is not finite",
  };
  const int32_t count = sizeof texts / sizeof *texts;
  return status >= 0 && status < count ? texts[status] : "unknown status";
}

/// Kernels read inputs at aligned addresses; others are copied.
static void take_inputs(struct gradus_context* c, const void* const* inputs) {
  int64_t offset = 0;
  for (int64_t i = 0; i < c->program->input_count; ++i) {
    const int64_t bytes = c->program->input_bytes[i];
    c->inputs[i] = inputs[i];
    if ((uintptr_t)inputs[i] % kAlignment != 0 && bytes > 0) {
      c->inputs[i] = memcpy(c->input_copies + offset, inputs[i], (size_t)bytes);
    }
    offset += round_up(bytes, kAlignment);
  }
}

static int is_finite(const char* value, int64_t bytes) {
  if (bytes == 4) return (~*(const uint32_t*)value & 0x7f800000u) != 0;
  return (~*(const uint64_t*)value & 0x7ff0000000000000u) != 0;
}

/// Copies the outputs out, where there is a place for them.
static int give_outputs(const struct gradus_context* c, void* const* outputs) {
  int status = kOk;
  for (int64_t i = 0; i < c->program->output_count; ++i) {
    const struct output* output = &c->program->outputs[i];
    const char* value = resolve(c, output->at, 0);
    if (outputs[i] != NULL) memcpy(outputs[i], value, (size_t)output->bytes);
    if (output->must_be_finite && !is_finite(value, output->bytes)) status = kNotFinite;
  }
  return status;
}

/// Of the first step that failed, the lowest task's fault.
static int status_of_fault(struct gradus_context* c) {
  const struct chain* chain = &c->program->chains[c->failed_chain];
  for (int64_t s = 0; s < chain->step_count; ++s) {
    for (int64_t i = 0; i < c->threads; ++i) {
      const uint64_t fault = worker_of(c, i)->faults[s];
      if (fault == 0) continue;
      c->place = chain->steps[s].place;
      return fault >> 56 == 1 ? kDivisionByZero : kIndexOutOfRange;
    }
  }
  return kIndexOutOfRange;
}

int gradus_run(struct gradus_context* c, int64_t function, int64_t examples, void* state,
               const void* const* inputs, void* const* outputs) {
  if ((uintptr_t)state % kAlignment != 0) return kMisaligned;
  c->program = NULL;
  for (int64_t i = 0; i < c->variant->program_count; ++i) {
    const struct program* program = &c->variant->programs[i];
    if (program->function == function && program->examples == examples) c->program = program;
  }
  if (c->program == NULL) return kNoSuchBatch;
  c->state = state;
  c->place = NULL;
  take_inputs(c, inputs);
  store(&c->failed_turn, kNever);
  wait_for_all(c);
  run_program(c, worker_of(c, 0));
  wait_for_all(c);
  if (c->failed_turn != kNever) return status_of_fault(c);
  return give_outputs(c, outputs);
}

// -- The order of an epoch ------------------------------------------------------------------------

// As runtime/random_stream.cpp and base/hash.h: the order in which `gradus train` shuffles.

static uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

static uint64_t shuffle_key(uint64_t seed) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char* letter = "shuffle"; *letter != 0; ++letter) {
    hash = (hash ^ (unsigned char)*letter) * 0x100000001B3u;
  }
  hash = mix(hash);
  return mix(hash ^ (seed + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2)));
}

struct stream {
  uint64_t key, epoch, count;
  uint32_t words[4];
};

static uint32_t next_word(struct stream* s) {
  if (s->count % 4 == 0) {
    const uint64_t block = s->count / 4;
    uint32_t x[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)s->epoch,
                     (uint32_t)(s->epoch >> 32)};
    uint32_t k0 = (uint32_t)s->key, k1 = (uint32_t)(s->key >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
      x[0] = (uint32_t)(p1 >> 32) ^ x[1] ^ k0;
      x[1] = (uint32_t)p1;
      x[2] = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
      x[3] = (uint32_t)p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; ++i) s->words[i] = x[i];
  }
  return s->words[s->count++ % 4];
}

static uint32_t below(struct stream* s, uint32_t bound) {
  const uint32_t rejected = (0u - bound) % bound;
  uint64_t product = 0;
  do {
    product = (uint64_t)next_word(s) * bound;
  } while ((uint32_t)product < rejected);
  return (uint32_t)(product >> 32);
}

void gradus_shuffle(int64_t seed, int64_t epoch, uint32_t examples, uint32_t* order) {
  struct stream s = {.key = shuffle_key((uint64_t)seed), .epoch = (uint64_t)epoch};
  for (uint32_t i = 0; i < examples; ++i) order[i] = i;
  for (uint32_t i = examples; i > 1; --i) {
    const uint32_t other = below(&s, i);
    const uint32_t mine = order[i - 1];
    order[i - 1] = order[other];
    order[other] = mine;
  }
}
