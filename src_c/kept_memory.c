/* For madvise. */
#define _DEFAULT_SOURCE
#include "kept_memory.h"

#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Blocks are made of pages, the largest that any system has, and stand on huge ones. */
#define PAGE ((size_t)1 << 16)
#define HUGE ((size_t)1 << 21)
/* What a block says of itself stands before the memory that is given out. */
#define HEADER ((size_t)64)
/* From this size on a heap may give memory back to the system as soon as it is freed. */
#define SMALLEST ((size_t)1 << 17)
/* From this size on a block is large: it makes room for others, and while it is kept the system may take its memory. To offer
   that would take a tenth of the time that a small one is computed in. */
#define LARGE ((size_t)1 << 22)
/* Of either kind. */
#define MOST_BLOCKS 16

typedef struct {
    size_t length;
} block;

/* The oldest first. */
static block *kept[2 * MOST_BLOCKS];
static int kept_blocks;
static size_t kept_bytes, most_bytes;

static block *take(int i) {
    block *taken = kept[i];
    kept_bytes -= taken->length;
    memmove(kept + i, kept + i + 1, (size_t)(--kept_blocks - i) * sizeof *kept);
    return taken;
}

static void drop(int i) {
    block *dropped = take(i);
    munmap(dropped, dropped->length);
}

static int is_large(const block *of) { return of->length >= LARGE; }

/* The oldest large block or the oldest small one, or -1; and how many of the kind there are. */
static int find_oldest(int large, int *count) {
    int oldest = -1;
    *count = 0;
    for (int i = kept_blocks - 1; i >= 0; --i) {
        if (is_large(kept[i]) != large) continue;
        oldest = i;
        ++*count;
    }
    return oldest;
}

/* Less than a large block is not worth the trouble. */
static size_t limit(void) { return most_bytes < LARGE ? 0 : most_bytes; }

/* Whether a block may be kept, when the oldest have been dropped for it: of its kind first, and no large one for a small one. */
static int has_room_for(const block *freed) {
    int large = is_large(freed), oldest, count;
    if (freed->length > limit()) return 0;
    while ((oldest = find_oldest(large, &count)) >= 0 && (count == MOST_BLOCKS || kept_bytes + freed->length > limit()))
        drop(oldest);
    while (large && kept_bytes + freed->length > limit()) drop(0);
    return kept_bytes + freed->length <= limit();
}

static block *map(size_t length) {
    size_t more = length < HUGE ? 0 : HUGE;
    char *start = mmap(NULL, length + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    size_t before = more ? (HUGE - (size_t)start % HUGE) % HUGE : 0;
    if (before) munmap(start, before);
    if (more) munmap(start + before + length, more - before);
    block *made = (block *)(start + before);
    if (more) madvise(made, length, MADV_HUGEPAGE);
    made->length = length;
    return made;
}

void *fx_memory_malloc(void *context, size_t size) {
    (void)context;
    if (size > (size_t)-1 / 2) return NULL;
    size_t length = (size + HEADER + PAGE - 1) / PAGE * PAGE;
    int best = -1;
    for (int i = 0; i < kept_blocks; ++i) {
        size_t has = kept[i]->length;
        /* A quarter may be wasted. */
        if (has >= length && has - length <= length / 4 && (best < 0 || has < kept[best]->length)) best = i;
    }
    block *found;
    if (best >= 0) {
        found = take(best);
    } else {
        /* So that large results never have more memory than without all this. */
        int oldest, count;
        while (length >= LARGE && (oldest = find_oldest(1, &count)) >= 0) drop(oldest);
        found = map(length);
    }
    return found ? (char *)found + HEADER : NULL;
}

void fx_memory_free(void *context, void *memory, size_t size) {
    (void)context;
    (void)size;
    if (!memory) return;
    block *freed = (block *)((char *)memory - HEADER);
    if (!has_room_for(freed)) {
        munmap(freed, freed->length);
        return;
    }
    kept[kept_blocks++] = freed;
    kept_bytes += freed->length;
#ifdef MADV_FREE
    /* The system may take it whenever memory is short; the page of the header is not offered. */
    if (is_large(freed)) madvise((char *)freed + PAGE, freed->length - PAGE, MADV_FREE);
#endif
}

void *fx_memory_realloc(void *context, void *memory, size_t size) {
    if (!memory) return fx_memory_malloc(context, size);
    size_t had = ((block *)((char *)memory - HEADER))->length - HEADER;
    if (size <= had) return memory;
    void *moved = fx_memory_malloc(context, size);
    if (!moved) return NULL;
    memcpy(moved, memory, had);
    fx_memory_free(context, memory, had);
    return moved;
}

size_t fx_memory_keep(size_t most) {
    size_t before = most_bytes;
    most_bytes = most;
    while (kept_bytes > limit()) drop(0);
    return before;
}

int fx_memory_serves(size_t size) { return size >= (limit() ? SMALLEST : LARGE); }

size_t fx_memory_default(void) {
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    double share = pages > 0 && bytes > 0 ? (double)pages / 16.0 * (double)bytes : 0.0;
    struct rlimit limit;
    /* What is kept counts there, and the system cannot take it back. */
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur != RLIM_INFINITY) return 0;
    return share < 0x1p30 ? (size_t)share : (size_t)1 << 30;
}

#else

void *fx_memory_malloc(void *context, size_t size) {
    (void)context;
    return malloc(size);
}
void fx_memory_free(void *context, void *memory, size_t size) {
    (void)context;
    (void)size;
    free(memory);
}
void *fx_memory_realloc(void *context, void *memory, size_t size) {
    (void)context;
    return realloc(memory, size);
}
size_t fx_memory_keep(size_t most) {
    (void)most;
    return 0;
}
int fx_memory_serves(size_t size) {
    (void)size;
    return 0;
}
size_t fx_memory_default(void) { return 0; }

#endif

void *fx_memory_calloc(void *context, size_t count, size_t size) {
    if (size && count > (size_t)-1 / size) return NULL;
    void *memory = fx_memory_malloc(context, count * size);
    if (memory) memset(memory, 0, count * size);
    return memory;
}
