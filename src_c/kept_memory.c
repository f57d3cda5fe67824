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
#define MOST_BLOCKS 16
/* From this size on a heap may give memory back to the system as soon as it is freed. */
#define SMALLEST ((size_t)1 << 17)
/* Smaller ones are not offered to the system, which takes a tenth of the time that they are computed in, and make no room. */
#define OFFERED ((size_t)1 << 22)

typedef struct {
    size_t length;
} block;

/* The oldest first. */
static block *kept[MOST_BLOCKS];
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

/* So that large results never have more memory than without all this. */
static void make_room(void) {
    for (int i = 0; i < kept_blocks;) {
        if (kept[i]->length < OFFERED)
            ++i;
        else
            drop(i);
    }
}

static block *map(size_t length) {
    char *start = mmap(NULL, length + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    size_t before = (HUGE - (size_t)start % HUGE) % HUGE;
    if (before) munmap(start, before);
    munmap(start + before + length, HUGE - before);
    block *made = (block *)(start + before);
    madvise(made, length, MADV_HUGEPAGE);
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
        if (length >= OFFERED) make_room();
        found = map(length);
    }
    return found ? (char *)found + HEADER : NULL;
}

void fx_memory_free(void *context, void *memory, size_t size) {
    (void)context;
    (void)size;
    if (!memory) return;
    block *freed = (block *)((char *)memory - HEADER);
    if (freed->length > most_bytes) {
        munmap(freed, freed->length);
        return;
    }
    while (kept_blocks == MOST_BLOCKS || kept_bytes + freed->length > most_bytes) drop(0);
    kept[kept_blocks++] = freed;
    kept_bytes += freed->length;
#ifdef MADV_FREE
    /* The system may take it whenever memory is short; the page of the header is not offered. */
    if (freed->length >= OFFERED) madvise((char *)freed + PAGE, freed->length - PAGE, MADV_FREE);
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
    while (kept_bytes > most_bytes) drop(0);
    return before;
}

int fx_memory_serves(size_t size) { return size >= (most_bytes < OFFERED ? OFFERED : SMALLEST); }

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
