/* Memory of results: what was freed last is kept and given out again, since a page that the system gives anew costs
   about as much as computing what goes into it. */
#ifndef FX_KEPT_MEMORY_H
#define FX_KEPT_MEMORY_H

#include <stddef.h>

/* What numpy asks of an allocator; all of it is called with the interpreter's lock held. */
void *fx_memory_malloc(void *context, size_t size);
void *fx_memory_calloc(void *context, size_t count, size_t size);
void *fx_memory_realloc(void *context, void *memory, size_t size);
void fx_memory_free(void *context, void *memory, size_t size);

/* The most that is kept, in bytes; what is above is given back at once. Returns what it was. Nothing is ever kept where
   the system has no such memory as is needed for it. */
size_t fx_memory_keep(size_t most);

/* Whether a result of this size is to come from here. */
int fx_memory_serves(size_t size);

/* A sixteenth of the machine's memory, at most 1 GiB; nothing where the process may have only so much of it. */
size_t fx_memory_default(void);

#endif
