/* crash_model.c: see crash_model.h. */
#include "crash_model.h"

#include <stdlib.h>

#define ARENA_BYTES (1u << 20)

static const u8 zeros[AUL_MODEL_PAGE_SIZE];

typedef struct arena {
    struct arena *older;
    size_t used;
    u8 bytes[ARENA_BYTES];
} arena;

static arena *pages;
static u64 page_count;

static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

static u8 *new_page(const u8 *like) {
    if (!pages || pages->used + AUL_MODEL_PAGE_SIZE > ARENA_BYTES) {
        arena *fresh = must(malloc(sizeof *fresh));
        fresh->older = pages;
        fresh->used = 0;
        pages = fresh;
    }
    u8 *page = pages->bytes + pages->used;
    pages->used += AUL_MODEL_PAGE_SIZE;
    page_count++;
    memcpy(page, like, AUL_MODEL_PAGE_SIZE);
    return page;
}

u64 aul_model_page_count(void) { return page_count; }

void aul_model_forget_pages(u64 but) {
    while (page_count > but) {
        u64 here = pages->used / AUL_MODEL_PAGE_SIZE, gone = aul_min(here, page_count - but);
        pages->used -= gone * AUL_MODEL_PAGE_SIZE;
        page_count -= gone;
        if (pages->used) continue;
        arena *older = pages->older;
        free(pages);
        pages = older;
    }
}

void aul_model_init(aul_model *model) {
    *model = (aul_model){.capacity = 64, .count = 1};
    model->states = must(calloc(model->capacity, sizeof *model->states));
    for (u32 i = 0; i < AUL_MODEL_PAGES; i++) model->states[0].pages[i] = zeros;
}

void aul_model_free(aul_model *model) {
    free(model->states);
    model->states = NULL;
}

void aul_model_copy(const aul_model *from, aul_model *to) {
    *to = *from;
    to->capacity = from->count + 8;
    to->states = must(malloc(to->capacity * sizeof *to->states));
    memcpy(to->states, from->states, from->count * sizeof *to->states);
}

aul_model_state *aul_model_top(const aul_model *model) { return &model->states[model->count - 1]; }

const aul_model_state *aul_model_at(const aul_model *model, u64 lsn) {
    size_t low = 0, high = model->count - 1;
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (model->states[middle].lsn <= lsn)
            low = middle;
        else
            high = middle - 1;
    }
    return &model->states[low];
}

aul_model_state *aul_model_push(aul_model *model) {
    if (model->count == model->capacity) {
        model->capacity *= 2;
        model->states = must(realloc(model->states, model->capacity * sizeof *model->states));
    }
    model->states[model->count] = model->states[model->count - 1];
    aul_model_state *state = &model->states[model->count++];
    state->parent = model->count - 2;
    state->serial = ++model->serials;
    state->touched = state->kind = state->branch = 0;
    state->pending = false;
    return state;
}

aul_model_state *aul_model_push_control(aul_model *model, u32 kind, u64 lsn, u64 time_ns) {
    aul_model_state *state = aul_model_push(model);
    state->kind = kind;
    state->first_lsn = state->lsn = lsn;
    state->time_ns = time_ns;
    state->durable = 0;
    return state;
}

void aul_model_branch(aul_model *model, aul_model_state *state, u32 branch, size_t parent) {
    const aul_model_state *from = &model->states[parent];
    state->branch = branch;
    state->run = state->lsn;
    state->parent = parent;
    state->end_pages = from->end_pages;
    state->written = from->written;
    memcpy(state->pages, from->pages, sizeof state->pages);
}

/* Short ones and long ones: what has them is of many sizes. */
const char *aul_model_name(u32 name, size_t *bytes) {
    static const u8 sizes[AUL_MODEL_NAMES] = {1, 3, 8, 9, 33, 80, 160, 255};
    static char texts[AUL_MODEL_NAMES][256];
    char *text = texts[name];
    *bytes = sizes[name];
    if (text[0]) return text;
    memset(text, 'x', *bytes);
    text[0] = (char)('a' + name);
    return text;
}

u32 aul_model_find_name(const char *bytes, size_t count) {
    u32 name = 0;
    for (size_t own; name < AUL_MODEL_NAMES; name++) {
        const char *text = aul_model_name(name, &own);
        if (own == count && memcmp(text, bytes, count) == 0) break;
    }
    return name;
}

const aul_model_state *aul_model_maker(const aul_model_state *state, u32 name) {
    while (state->kind != AUL_RESTORE_POINT || state->name != name) state--;
    return state;
}

aul_model_between aul_model_compare(const aul_model *model, const aul_model_state *a,
                                    const aul_model_state *b) {
    aul_model_between between = {0};
    const aul_model_state *on_a = a, *on_b = b;
    while (on_a != on_b) { /* a state's parent is older than it */
        const aul_model_state **newer = on_a > on_b ? &on_a : &on_b;
        between.only_a += newer == &on_a;
        between.only_b += newer == &on_b;
        between.touched |= (*newer)->touched;
        *newer = &model->states[(*newer)->parent];
    }
    for (u32 page = 0; page < AUL_MODEL_PAGES; page++)
        if (memcmp(a->pages[page], b->pages[page], AUL_MODEL_PAGE_SIZE) != 0)
            between.different |= 1u << page;
    return between;
}

void aul_model_cut(aul_model *model, u64 lsn) {
    while (aul_model_top(model)->lsn > lsn) {
        /* What was not logged yet has no LSN that anybody knows. */
        if (aul_model_top(model)->lsn <= model->issued)
            model->cut[model->cut_count++ % AUL_MODEL_CUT_MAX] = aul_model_top(model)->lsn;
        model->count--;
    }
}

void aul_model_change(aul_model_state *state, const aul_change *change) {
    if (change->kind == AUL_TRUNCATE) {
        for (u64 page = change->page; page < AUL_MODEL_PAGES; page++) {
            state->touched |= state->written & 1u << page;
            state->written &= ~(1u << page);
            state->pages[page] = zeros;
        }
        state->end_pages = aul_min(state->end_pages, change->page);
        return;
    }
    u8 *page = new_page(state->pages[change->page]);
    if (change->kind == AUL_WRITE || change->kind == AUL_IMAGE)
        memcpy(page + change->offset, change->data, change->length);
    else if (change->kind == AUL_MOVE)
        memmove(page + change->offset, page + change->extra, change->length);
    else
        memset(page + change->offset, (int)change->extra, change->length);
    state->pages[change->page] = page;
    state->touched |= 1u << change->page;
    state->written |= 1u << change->page;
    state->end_pages = aul_max(state->end_pages, change->page + 1);
}

static void choose_kind(aul_random *random, size_t bytes, bool tiny, aul_change *change) {
    static const u32 kinds[] = {AUL_WRITE, AUL_WRITE, AUL_WRITE,   AUL_WRITE, AUL_WRITE,
                                AUL_MOVE,  AUL_MOVE,  AUL_FILL,    AUL_FILL,  AUL_IMAGE,
                                AUL_IMAGE, AUL_IMAGE, AUL_TRUNCATE};
    change->kind = kinds[aul_random_below(random, sizeof kinds / sizeof *kinds)];
    if (bytes > 4 * AUL_MODEL_PAGE_SIZE && aul_random_chance(random, 75)) change->kind = AUL_IMAGE;
    if (bytes > 4 * AUL_MODEL_PAGE_SIZE && change->kind == AUL_TRUNCATE &&
        aul_random_chance(random, 70))
        change->kind = AUL_FILL;
    if (tiny) change->kind = AUL_FILL; /* many records, and few bytes */
}

/* One change, its data random bytes at `data`. */
static void choose(aul_random *random, size_t bytes, bool tiny, u8 *data, aul_change *change) {
    *change = (aul_change){.data = data};
    choose_kind(random, bytes, tiny, change);
    bool few = aul_random_chance(random, 40);
    change->page = aul_random_below(random, few ? 3 : AUL_MODEL_PAGES);
    if (change->kind == AUL_TRUNCATE) {
        change->page = aul_random_below(random, AUL_MODEL_PAGES + 1);
        return;
    }
    change->offset = (u32)aul_random_below(random, AUL_MODEL_PAGE_SIZE);
    change->length = 1 + (u32)aul_random_below(random, AUL_MODEL_PAGE_SIZE - change->offset);
    if (change->kind == AUL_IMAGE) {
        change->offset = 0;
        change->length = AUL_MODEL_PAGE_SIZE;
    }
    if (change->kind == AUL_MOVE)
        change->extra = (u32)aul_random_below(random, AUL_MODEL_PAGE_SIZE - change->length + 1);
    if (change->kind == AUL_FILL) change->extra = (u32)aul_random_below(random, 256);
    if (change->kind != AUL_WRITE && change->kind != AUL_IMAGE) return;
    change->data_bytes = change->length;
    for (u32 i = 0; i < change->length; i += 8) put64(data + i, aul_random_next(random));
}

/* Data that look like frames of this very log, and say that much was durable; only the checksum
 * of such a header, with its file and place, tells it from one. */
static void forge(const aul_model_state *state, aul_random *random, u8 *data, u32 bytes) {
    for (u32 at = 0; at + AUL_FRAME_HEADER <= bytes; at += AUL_FRAME_HEADER) {
        aul_frame frame = {.payload_bytes = 8 + (u32)aul_random_below(random, 500),
                           .first_lsn = state->first_lsn + 1000,
                           .epoch = state->epoch,
                           .durable_before = state->first_lsn + 900,
                           .records = 1,
                           .flags = AUL_FRAME_FIRST | AUL_FRAME_LAST};
        u8 id[AUL_ID_BYTES] = {0};
        aul_frame_encode(data + at, &frame, id, aul_random_next(random));
    }
}

size_t aul_model_random_changes(aul_model_state *state, aul_random *random, u8 *to, size_t bytes,
                                u64 *records) {
    size_t at = 0;
    bool tiny = aul_random_chance(random, 10), forged = aul_random_chance(random, 10);
    *records = 0;
    do {
        u8 data[AUL_MODEL_PAGE_SIZE + 8];
        aul_change change;
        choose(random, bytes, tiny, data, &change);
        if (forged) forge(state, random, data, change.data_bytes);
        aul_model_change(state, &change);
        memset(to + at, 0, AUL_CHANGE_HEADER);
        to[at] = (u8)change.kind;
        put16(to + at + 2, change.offset);
        put16(to + at + 4, change.length);
        put16(to + at + 6, change.extra);
        put64(to + at + 8, change.page);
        memcpy(to + at + AUL_CHANGE_HEADER, data, change.data_bytes);
        at += AUL_CHANGE_HEADER + change.data_bytes;
        ++*records;
    } while (at < bytes && *records < AUL_IN_FLIGHT_LSNS);
    return at;
}
