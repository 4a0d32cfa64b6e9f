/* replay.c: runs a fuzz target over inputs that are kept, without libFuzzer.
 *
 *   replay [--seeds DIRECTORY] [FILE or DIRECTORY]...
 *
 * The seeds that the engine makes are run first; with --seeds they are written there, too. An input
 * that fails ends the program as it would end libFuzzer; the last line printed names it. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"

#define STUCK_SECONDS 60

int LLVMFuzzerTestOneInput(const u8 *data, size_t bytes);

static u8 input[AUL_FUZZ_INPUT_MAX];
static size_t inputs;
static char name[4096];

static void run(size_t bytes) {
    u8 *exact = malloc(bytes + !bytes); /* so that the sanitizer knows where it ends */
    if (!exact) abort();
    memcpy(exact, input, bytes);
    fprintf(stderr, "%s\r", name);
    alarm(STUCK_SECONDS);
    LLVMFuzzerTestOneInput(exact, bytes);
    alarm(0);
    free(exact);
    inputs++;
}

static bool write_seed(const char *directory, size_t n, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%zu", directory, n);
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(input, 1, bytes, file) == bytes;
    if (file && fclose(file)) written = false;
    if (!written) perror(path);
    return written;
}

static bool run_seeds(const char *directory) {
    size_t bytes;
    for (size_t n = 0; (bytes = aul_fuzz_seed(n, input)); n++) {
        if (directory && !write_seed(directory, n, bytes)) return false;
        snprintf(name, sizeof name, "seed %zu", n);
        run(bytes);
    }
    return true;
}

static bool run_file(const char *path) {
    snprintf(name, sizeof name, "%s", path);
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(input, 1, sizeof input, file) : 0;
    bool whole = file && !ferror(file) && fgetc(file) == EOF;
    if (!whole) fprintf(stderr, "%s: cannot be read, or is too long\n", path);
    if (file) fclose(file);
    if (whole) run(bytes);
    return whole;
}

static bool run_path(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) return run_file(path);
    bool well = true;
    for (struct dirent *entry; well && (entry = readdir(directory));) {
        char inside[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        well = run_file(inside);
    }
    closedir(directory);
    return well;
}

int main(int count, char **arguments) {
    int first = count > 2 && strcmp(arguments[1], "--seeds") == 0 ? 3 : 1;
    bool well = run_seeds(first == 3 ? arguments[2] : NULL);
    for (int i = first; i < count && well; i++) well = run_path(arguments[i]);
    fprintf(stderr, "\n");
    printf("%zu inputs\n", inputs);
    return well ? 0 : 1;
}
