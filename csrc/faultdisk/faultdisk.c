/* faultdisk.c: see faultdisk.h. */
#include "faultdisk.h"

#include <errno.h>
#include <link.h>
#include <time.h>

#include "store.h"

#define STACKS_MAX 16384   /* a power of two, and many more than there are */
#define NOTED_MAX 200      /* failing calls whose stacks are read */
#define STALL_NS 250000000 /* longer than a transaction waits in C for others to become durable */

/* The kinds of calls in the order of the table. The clocks are left out: they cannot fail. */
typedef enum {
    OPEN,
    CLOSE,
    READ,
    WRITE,
    SYNC,
    OPEN_DIRECTORY,
    SYNC_DIRECTORY,
    WRITE_BACK,
    ALLOCATE,
    FREE_SPACE,
    TRUNCATE,
    SIZE,
    RENAME,
    UNLINK,
    MAKE_DIRECTORY,
    LIST,
    LOCK,
    UNLOCK,
    IS_LOCKED,
    IDENTITY,
    SELF,
    RANDOM,
    WATCH,
    WAIT_CHANGE,
    ALLOCATE_MEMORY,
    FREE_MEMORY,
} fault_kind;

static const char *const kind_names[] = {
    "open",           "close",          "read",       "write",       "sync",
    "open_directory", "sync_directory", "write_back", "allocate",    "free_space",
    "truncate",       "size",           "rename",     "unlink",      "make_directory",
    "list",           "lock",           "unlock",     "is_locked",   "identity",
    "self",           "random",         "watch",      "wait_change", "allocate_memory",
    "free_memory"};
_Static_assert(sizeof kind_names / sizeof *kind_names == AUL_FAULT_KINDS, "a name for each kind");

aul_disk *aul_disk_system(void);

/* Entries of a hash table; an entry belongs to a stack once that is set, and stays. */
typedef struct {
    _Atomic u64 stack, calls, failed;
    u32 kind, depth;
    u64 frames[AUL_FAULT_FRAMES];
} stack_entry;

static stack_entry stacks[STACKS_MAX];
static aul_fault fault;           /* set while no store works */
static _Atomic bool armed, going; /* a fault is set; its first call has failed */
static _Atomic u64 calls[AUL_FAULT_KINDS], bytes_moved[AUL_FAULT_KINDS], failed_calls;
static _Atomic int64_t files_open, memory_used;
static _Atomic u64 time_passed;
static aul_disk *system_disk;
static uintptr_t module_start, module_end;

/* Stacks */

static int find_module(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size, (void)argument;
    uintptr_t here = (uintptr_t)&fault;
    uintptr_t start = UINTPTR_MAX, end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (from < start) start = from;
        if (from + info->dlpi_phdr[i].p_memsz > end) end = from + info->dlpi_phdr[i].p_memsz;
    }
    if (here < start || here >= end) return 0;
    module_start = info->dlpi_addr;
    module_end = end;
    return 1;
}

/* The return addresses inside the module: from the frame given on, which is an entry's. */
static u32 read_stack(const uintptr_t *frame, u64 frames[AUL_FAULT_FRAMES]) {
    u32 depth = 0;
    while (depth < AUL_FAULT_FRAMES) {
        uintptr_t back = frame[1];
        if (back < module_start || back >= module_end) break;
        frames[depth++] = back - module_start;
        frame = (const uintptr_t *)frame[0];
    }
    return depth;
}

static u64 hash_stack(fault_kind kind, const u64 *frames, u32 depth) {
    u64 hash = (0xcbf29ce484222325ull ^ kind) * 0x100000001b3ull;
    for (u32 i = 0; i < depth; i++) {
        hash = (hash ^ frames[i]) * 0x100000001b3ull;
        hash ^= hash >> 29;
    }
    return hash ? hash : 1;
}

/* The entry of the stack, made when it is new; counts the call. */
static stack_entry *note_call(fault_kind kind, const uintptr_t *frame, u64 *occurrence) {
    u64 frames[AUL_FAULT_FRAMES];
    u32 depth = read_stack(frame, frames);
    u64 stack = hash_stack(kind, frames, depth);
    for (u64 at = stack;; at++) {
        stack_entry *entry = &stacks[at % STACKS_MAX];
        u64 there = 0;
        if (atomic_compare_exchange_strong(&entry->stack, &there, stack)) {
            entry->kind = kind;
            entry->depth = depth;
            memcpy(entry->frames, frames, sizeof frames);
        } else if (there != stack) {
            continue;
        }
        *occurrence = atomic_fetch_add(&entry->calls, 1) + 1;
        return entry;
    }
}

/* Whether this call is to fail, and how. */
static int strike(fault_kind kind, const uintptr_t *frame) {
    u64 occurrence;
    bool later = atomic_load_explicit(&going, memory_order_acquire);
    bool strikes = later && fault.kinds >> kind & 1;
    /* An interruption that never ends is asked for again a million times: some are enough. */
    if (strikes && atomic_fetch_add(&failed_calls, 1) > NOTED_MAX) return fault.error;
    stack_entry *entry = note_call(kind, frame, &occurrence);
    if (!later && atomic_load(&armed) && atomic_load(&entry->stack) == fault.stack &&
        occurrence == fault.occurrence) {
        atomic_fetch_add(&failed_calls, 1);
        atomic_store(&going, true);
        strikes = true;
    }
    if (!strikes) return 0;
    atomic_fetch_add(&entry->failed, 1);
    return fault.error;
}

#define STRIKE(kind) strike((kind), __builtin_frame_address(0))
/* The errno value where a short result is asked of a call that has none. */
#define ERROR(failed) ((failed) < 0 ? EIO : (failed))

static void passed(fault_kind kind, u64 bytes) {
    atomic_fetch_add_explicit(&calls[kind], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes_moved[kind], bytes, memory_order_relaxed);
}

/* The entries. Each is on its own frame, the chain above it begins with its caller. */

static int fault_open(void *context, const char *path, int flags, int *file) {
    int failed = STRIKE(OPEN), opened;
    if (failed && !fault.after) return ERROR(failed);
    passed(OPEN, 0);
    int status = system_disk->open(context, path, flags, &opened);
    if (status) return status;
    if (failed) { /* a file that is made and not given */
        system_disk->close(context, opened);
        return ERROR(failed);
    }
    atomic_fetch_add(&files_open, 1);
    *file = opened;
    return 0;
}

static int fault_close(void *context, int file) {
    int failed = STRIKE(CLOSE); /* told, the file is closed all the same */
    passed(CLOSE, 0);
    atomic_fetch_sub(&files_open, 1);
    int status = system_disk->close(context, file);
    return failed ? ERROR(failed) : status;
}

static int fault_read(void *context, int file, void *buffer, size_t bytes, u64 offset,
                      size_t *done) {
    int failed = STRIKE(READ);
    bool half = failed == AUL_FAULT_SHORT || fault.after;
    if (failed && !half) return ERROR(failed);
    if (failed && bytes > 1) bytes /= 2;
    int status = system_disk->read(context, file, buffer, bytes, offset, done);
    passed(READ, status ? 0 : *done);
    return failed > 0 ? failed : status;
}

static int fault_write(void *context, int file, const void *data, size_t bytes, u64 offset,
                       size_t *done) {
    int failed = STRIKE(WRITE);
    if (failed == AUL_FAULT_NOTHING) {
        *done = 0;
        return 0;
    }
    if (failed > 0 && !fault.after) return failed;
    if (failed && bytes > 1) bytes /= 2;
    int status = system_disk->write(context, file, data, bytes, offset, done);
    passed(WRITE, status ? 0 : *done);
    return failed > 0 ? failed : status;
}

static int fault_sync(void *context, int file) {
    int failed = STRIKE(SYNC);
    if (failed == AUL_FAULT_STALL) {
        struct timespec stall = {.tv_nsec = STALL_NS};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &stall, NULL);
        failed = 0;
    }
    if (failed && !fault.after) return ERROR(failed);
    passed(SYNC, 0);
    int status = system_disk->sync(context, file);
    return failed ? ERROR(failed) : status;
}

static int fault_open_directory(void *context, const char *path, int *directory) {
    int failed = STRIKE(OPEN_DIRECTORY);
    if (failed) return ERROR(failed);
    passed(OPEN_DIRECTORY, 0);
    int status = system_disk->open_directory(context, path, directory);
    if (!status) atomic_fetch_add(&files_open, 1);
    return status;
}

static int fault_sync_directory(void *context, int directory) {
    int failed = STRIKE(SYNC_DIRECTORY);
    if (failed && !fault.after) return ERROR(failed);
    passed(SYNC_DIRECTORY, 0);
    int status = system_disk->sync_directory(context, directory);
    return failed ? ERROR(failed) : status;
}

static int fault_write_back(void *context, int file, u64 offset, u64 bytes, bool wait) {
    int failed = STRIKE(WRITE_BACK);
    if (failed) return ERROR(failed);
    passed(WRITE_BACK, 0);
    return system_disk->write_back(context, file, offset, bytes, wait);
}

static int fault_allocate(void *context, int file, u64 bytes) {
    int failed = STRIKE(ALLOCATE);
    if (failed && !fault.after) return ERROR(failed);
    if (failed && bytes > 1) bytes /= 2; /* some file systems keep what they got */
    passed(ALLOCATE, 0);
    int status = system_disk->allocate(context, file, bytes);
    return failed ? ERROR(failed) : status;
}

static int fault_free_space(void *context, int file, u64 *bytes) {
    int failed = STRIKE(FREE_SPACE);
    if (failed) return ERROR(failed);
    passed(FREE_SPACE, 0);
    return system_disk->free_space(context, file, bytes);
}

static int fault_truncate(void *context, int file, u64 bytes) {
    int failed = STRIKE(TRUNCATE);
    if (failed && !fault.after) return ERROR(failed);
    passed(TRUNCATE, 0);
    int status = system_disk->truncate(context, file, bytes);
    return failed ? ERROR(failed) : status;
}

static int fault_size(void *context, int file, u64 *bytes) {
    int failed = STRIKE(SIZE);
    if (failed) return ERROR(failed);
    passed(SIZE, 0);
    return system_disk->size(context, file, bytes);
}

static int fault_rename(void *context, const char *from, const char *to) {
    int failed = STRIKE(RENAME);
    if (failed && !fault.after) return ERROR(failed);
    passed(RENAME, 0);
    int status = system_disk->rename(context, from, to);
    return failed ? ERROR(failed) : status;
}

static int fault_unlink(void *context, const char *path) {
    int failed = STRIKE(UNLINK);
    if (failed && !fault.after) return ERROR(failed);
    passed(UNLINK, 0);
    int status = system_disk->unlink(context, path);
    return failed ? ERROR(failed) : status;
}

static int fault_make_directory(void *context, const char *path) {
    int failed = STRIKE(MAKE_DIRECTORY);
    if (failed && !fault.after) return ERROR(failed);
    passed(MAKE_DIRECTORY, 0);
    int status = system_disk->make_directory(context, path);
    return failed ? ERROR(failed) : status;
}

/* A listing that ends early: every other name is told, then it fails. */
typedef struct {
    int (*name)(void *argument, const char *name);
    void *argument;
    u32 seen;
} listing;

static int tell_half(void *argument, const char *name) {
    listing *half = argument;
    return half->seen++ % 2 ? 0 : half->name(half->argument, name);
}

static int fault_list(void *context, const char *path, int (*name)(void *, const char *),
                      void *argument) {
    int failed = STRIKE(LIST);
    listing half = {name, argument, 0};
    if (failed > 0 && !fault.after) return failed;
    passed(LIST, 0);
    if (!failed) return system_disk->list(context, path, name, argument);
    int status = system_disk->list(context, path, tell_half, &half);
    return status ? status : ERROR(failed);
}

static int fault_lock(void *context, int file) {
    int failed = STRIKE(LOCK);
    if (failed && !fault.after) return ERROR(failed);
    passed(LOCK, 0);
    int status = system_disk->lock(context, file);
    return failed ? ERROR(failed) : status;
}

static int fault_unlock(void *context, int file) {
    int failed = STRIKE(UNLOCK);
    if (failed) return ERROR(failed);
    passed(UNLOCK, 0);
    return system_disk->unlock(context, file);
}

static bool fault_is_locked(void *context, int file) {
    if (STRIKE(IS_LOCKED)) return false; /* it could not be found out */
    passed(IS_LOCKED, 0);
    return system_disk->is_locked(context, file);
}

static int fault_identity(void *context, const char *path, u64 *device, u64 *inode) {
    int failed = STRIKE(IDENTITY);
    if (failed) return ERROR(failed);
    passed(IDENTITY, 0);
    return system_disk->identity(context, path, device, inode);
}

static int fault_self(void *context, aul_lock_holder *self) {
    int failed = STRIKE(SELF);
    if (failed) return ERROR(failed);
    passed(SELF, 0);
    return system_disk->self(context, self);
}

static int fault_random(void *context, void *buffer, size_t bytes) {
    int failed = STRIKE(RANDOM);
    if (failed) return ERROR(failed);
    passed(RANDOM, 0);
    return system_disk->random(context, buffer, bytes);
}

static int fault_watch(void *context, const char *path, void **watch) {
    int failed = STRIKE(WATCH);
    if (failed) return ERROR(failed);
    passed(WATCH, 0);
    return system_disk->watch(context, path, watch);
}

static int fault_wait_change(void *context, void *watch, u64 ns) {
    int failed = STRIKE(WAIT_CHANGE);
    if (failed) return ERROR(failed);
    passed(WAIT_CHANGE, 0);
    return system_disk->wait_change(context, watch, ns);
}

static void *fault_allocate_memory(void *context, size_t bytes) {
    if (STRIKE(ALLOCATE_MEMORY)) return NULL;
    passed(ALLOCATE_MEMORY, bytes);
    void *memory = system_disk->allocate_memory(context, bytes);
    if (memory) atomic_fetch_add(&memory_used, 1);
    return memory;
}

static void fault_free_memory(void *context, void *memory) {
    passed(FREE_MEMORY, 0);
    if (memory) atomic_fetch_sub(&memory_used, 1);
    system_disk->free_memory(context, memory);
}

static u64 fault_monotonic(void *context) {
    return system_disk->monotonic(context) + atomic_load(&time_passed);
}

static aul_disk disk;

__attribute__((constructor)) static void make_table(void) {
    system_disk = aul_disk_system();
    dl_iterate_phdr(find_module, NULL);
    disk = *system_disk; /* and with it the time of day */
    disk.monotonic = fault_monotonic;
    disk.open = fault_open;
    disk.close = fault_close;
    disk.read = fault_read;
    disk.write = fault_write;
    disk.sync = fault_sync;
    disk.open_directory = fault_open_directory;
    disk.sync_directory = fault_sync_directory;
    disk.write_back = fault_write_back;
    disk.allocate = fault_allocate;
    disk.free_space = fault_free_space;
    disk.truncate = fault_truncate;
    disk.size = fault_size;
    disk.rename = fault_rename;
    disk.unlink = fault_unlink;
    disk.make_directory = fault_make_directory;
    disk.list = fault_list;
    disk.lock = fault_lock;
    disk.unlock = fault_unlock;
    disk.is_locked = fault_is_locked;
    disk.identity = fault_identity;
    disk.self = fault_self;
    disk.random = fault_random;
    if (disk.watch) disk.watch = fault_watch;
    disk.wait_change = fault_wait_change;
    disk.allocate_memory = fault_allocate_memory;
    disk.free_memory = fault_free_memory;
}

aul_disk *aul_disk_posix(void) { return &disk; }

/* What the tests call */

const char *aul_fault_kind(uint32_t kind) {
    return kind < AUL_FAULT_KINDS ? kind_names[kind] : NULL;
}

void aul_fault_threads(int threads) { disk.threads = threads != 0; }

void aul_fault_set(const aul_fault *chosen) {
    atomic_store(&armed, false);
    atomic_store(&going, false);
    fault = *chosen;
    atomic_store(&armed, chosen->stack != 0);
}

void aul_fault_count(aul_fault_counts *out) {
    for (int kind = 0; kind < AUL_FAULT_KINDS; kind++) {
        out->calls[kind] = atomic_load(&calls[kind]);
        out->bytes[kind] = atomic_load(&bytes_moved[kind]);
    }
    out->files = atomic_load(&files_open);
    out->memory = atomic_load(&memory_used);
    out->failed = atomic_load(&failed_calls);
}

size_t aul_fault_stacks(aul_fault_stack *out, size_t capacity) {
    size_t count = 0;
    for (size_t i = 0; i < STACKS_MAX; i++) {
        const stack_entry *entry = &stacks[i];
        if (!atomic_load(&entry->stack)) continue;
        if (count < capacity) {
            aul_fault_stack *to = &out[count];
            to->stack = atomic_load(&entry->stack);
            to->calls = atomic_load(&entry->calls);
            to->failed = atomic_load(&entry->failed);
            to->kind = entry->kind;
            to->depth = entry->depth;
            memcpy(to->frames, entry->frames, sizeof to->frames);
        }
        count++;
    }
    return count;
}

int aul_fault_keep(aul_store *store, uint32_t seconds) {
    if (aul_store_enter(store, NULL)) return 0;
    atomic_fetch_add(&time_passed, seconds * 1000000000ull);
    bool again = aul_keeper_work(store);
    aul_store_leave(store);
    return again;
}

#ifdef AUL_COVERAGE
void __gcov_dump(void);
void aul_fault_leave(void) { __gcov_dump(); }
#else
void aul_fault_leave(void) {}
#endif
