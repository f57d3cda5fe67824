/* Items that threads take in their order, and end in their order: what one has is added up the same however many there are.
   Nobody waits for an item that nobody has begun. */
#ifndef FX_TURNS_H
#define FX_TURNS_H

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>

typedef struct {
    _Alignas(64) _Atomic ptrdiff_t next;
    ptrdiff_t end;
    _Alignas(64) _Atomic ptrdiff_t ended;
} fx_turns;

static inline void fx_begin_turns(fx_turns *turns, ptrdiff_t items) {
    atomic_init(&turns->next, 0);
    turns->end = items;
    atomic_init(&turns->ended, 0);
}

/* The next item, or -1. */
static inline ptrdiff_t fx_take_turn(fx_turns *turns) {
    ptrdiff_t item = atomic_fetch_add_explicit(&turns->next, 1, memory_order_relaxed);
    return item < turns->end ? item : -1;
}

/* Until all items before this one have ended. */
static inline void fx_await_turn(fx_turns *turns, ptrdiff_t item) {
    while (atomic_load_explicit(&turns->ended, memory_order_acquire) < item) sched_yield();
}

static inline void fx_end_turn(fx_turns *turns, ptrdiff_t item) {
    atomic_store_explicit(&turns->ended, item + 1, memory_order_release);
}

#endif
