/* Items dealt out to threads. Each has a range of its own, the same in every call of that size, since its part of the arrays
   may still be in its processor's cache; who is done goes on with what others have not begun. */
#ifndef FX_TEAM_H
#define FX_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

/* Written to by one thread, as long as all have work: on a cache line of its own. */
typedef struct {
    _Alignas(64) _Atomic ptrdiff_t next;
    ptrdiff_t end;
    int passed; /* how many ranges, from its own on, this thread has found done */
} fx_hand;

static inline void fx_deal(fx_hand *hands, int threads, ptrdiff_t items) {
    ptrdiff_t each = items / threads, more = items % threads, start = 0;
    for (int i = 0; i < threads; ++i) {
        atomic_init(&hands[i].next, start);
        start += each + (i < more);
        hands[i].end = start;
        hands[i].passed = 0;
    }
}

/* The next item for a thread, or -1. */
static inline ptrdiff_t fx_take(fx_hand *hands, int threads, int thread) {
    for (int *passed = &hands[thread].passed; *passed < threads; ++*passed) {
        fx_hand *hand = &hands[(thread + *passed) % threads];
        ptrdiff_t item = atomic_fetch_add_explicit(&hand->next, 1, memory_order_relaxed);
        if (item < hand->end) return item;
    }
    return -1;
}

#endif
