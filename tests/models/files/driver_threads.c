/* The driver of artefacts around a program made by hand: threads meet often, and in the end two of
   them raise a fault. To be built with -fsanitize=thread. */

#include <stdio.h>

#include "codegen/artefact_driver.c"

enum { kTasks = 64, kRounds = 500 };

/* Every task reads what another has written in the step before. */
static void shuffle(void* const* buffers, void* scratch, int64_t first, int64_t last,
                    uint64_t* fault) {
  (void)fault;
  const int64_t* from = buffers[0];
  int64_t* to = buffers[1];
  for (int64_t i = first; i < last; ++i) {
    *(int64_t*)scratch = from[(i * 7 + 3) % kTasks];
    to[i] = *(int64_t*)scratch + 1;
  }
}

static void add_one(void* const* buffers, void* scratch, int64_t first, int64_t last,
                    uint64_t* fault) {
  (void)scratch, (void)fault;
  for (int64_t i = first; i < last; ++i) ((int64_t*)buffers[1])[i] = ((int64_t*)buffers[0])[i] + 1;
}
static void add_one_to_pairs(void* const* buffers, void* scratch, int64_t first, int64_t last,
                             uint64_t* fault) {
  add_one(buffers, scratch, 2 * first, 2 * last, fault);
}

static void fault_in_the_end(void* const* buffers, void* scratch, int64_t first, int64_t last,
                             uint64_t* fault) {
  (void)scratch;
  const int64_t* rounds = buffers[0];
  for (int64_t i = first; i < last; ++i) {
    if (rounds[0] < kRounds || *fault != 0) continue;
    if (i == 5) *fault = 1ull << 56;
    if (i == 40) *fault = 2ull << 56;
  }
}

static const struct buffer there[] = {{kArena, 0}, {kArena, 8 * kTasks}};
static const struct buffer back[] = {{kArena, 8 * kTasks}, {kArena, 0}};
static const struct step steps[] = {
    {shuffle, there, 2, kTasks, ""},
    {shuffle, back, 2, kTasks, ""},
    {fault_in_the_end, back, 2, kTasks, "the end"},
};
/* Each unit of the second step reads what the same unit of the first has written. */
static const struct step neighbours[] = {
    {add_one, there, 2, kTasks, ""},
    {add_one_to_pairs, back, 2, kTasks / 2, ""},
    {add_one, there, 2, kTasks, ""},
};
static const struct chain chains[] = {
    {&steps[0], 1, kTasks, kTasks},   {&steps[1], 1, kTasks, kTasks}, {&steps[0], 1, kTasks, 1},
    {&steps[1], 1, kTasks, 1},        {&steps[0], 1, kTasks, 1},      {&steps[1], 1, kTasks, kTasks},
    {&steps[2], 1, kTasks, kTasks},   {neighbours, 3, kTasks / 2, kTasks},
    {&steps[1], 1, kTasks, 1},
};
static const struct program program = {.chains = chains,
                                       .chain_count = sizeof chains / sizeof *chains};
const struct variant gradus_variants[] = {{.name = "any",
                                           .programs = &program,
                                           .program_count = 1,
                                           .arena_bytes = 16 * kTasks,
                                           .scratch_bytes = 64,
                                           .buffer_count = 6}};
const int64_t gradus_variant_count = 1;

int main(void) {
  for (int32_t threads = 1; threads <= 7; threads += 2) {
    struct gradus_context* context;
    if (gradus_open(&context, threads) != kOk) return 1;
    for (int i = 0; i < 2 * kTasks; ++i) ((int64_t*)context->arena)[i] = 0;
    int status = kOk, runs = 0;
    while (status == kOk) {
      status = gradus_run(context, 0, 0, NULL, NULL, NULL);
      ++runs;
    }
    printf("%d runs, %s, %s\n", runs, gradus_describe(status), gradus_place(context));
    gradus_close(context);
  }
  return 0;
}
