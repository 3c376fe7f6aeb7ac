// Generates with an artefact of `gradus compile --what generate`: prints the tokens that come after
// a prompt. MODEL_H is its header, the names of which begin with m.
//
//   generate WEIGHTS SEED LENGTH [SOURCE...] -- PROMPT...

#include MODEL_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static m_state state;
static int32_t source[M_STATE_BYTES / 4], prompt[M_STATE_BYTES / 4];

static void check(int32_t status) {
  if (status == M_OK) return;
  fprintf(stderr, "%s\n", m_describe(status));
  exit(1);
}

/// Where the bytes of a tensor begin in a safetensors file with this header.
static long begin_of(const char* header, const char* name) {
  char key[256];
  snprintf(key, sizeof key, "\"%s\":{", name);
  const char* at = strstr(header, key);
  if (at == NULL) return -1;
  at = strstr(at, "\"data_offsets\":[");
  return at == NULL ? -1 : strtol(at + strlen("\"data_offsets\":["), NULL, 10);
}

static void load(const char* path, int64_t seed) {
  FILE* file = fopen(path, "rb");
  uint64_t bytes = 0;
  if (file == NULL || fread(&bytes, sizeof bytes, 1, file) != 1) exit(2);
  char* header = calloc(bytes + 1, 1);
  if (header == NULL || fread(header, 1, bytes, file) != bytes) exit(2);
  for (size_t i = 0; i < M_STATE_ENTRIES; ++i) {
    const m_entry* entry = &m_entries[i];
    char* to = (char*)&state + entry->offset;
    if (strcmp(entry->name, "seed") == 0) memcpy(to, &seed, sizeof seed);
    if (strcmp(entry->kind, "parameter") != 0 && strcmp(entry->kind, "statistic") != 0) continue;
    const long begin = begin_of(header, entry->name);
    if (begin < 0 || fseek(file, (long)(sizeof bytes + bytes) + begin, SEEK_SET) != 0 ||
        fread(to, 1, (size_t)entry->bytes, file) != (size_t)entry->bytes) {
      exit(3);
    }
  }
  free(header);
  fclose(file);
}

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  load(argv[1], atoll(argv[2]));
  int i = 4, prompts = 0;
  for (int n = 0; i < argc && strcmp(argv[i], "--") != 0; ++i) source[n++] = atoi(argv[i]);
  for (++i; i < argc; ++i) prompt[prompts++] = atoi(argv[i]);
  m_context* context;
  check(m_open(&context, 2));
#ifdef ENCODES
  check(m_encode(context, &state, source));
#endif
  const int64_t last = prompts + atoll(argv[3]) - 1;
  int32_t token = 0;
  for (int64_t position = 0; position < last; ++position) {
    if (position < prompts) token = prompt[position];
    check(m_decode(context, &state, position, &token, NULL, &token));
    if (position + 1 >= prompts) printf("%" PRId32 " ", token);
  }
  m_close(context);
  return 0;
}
