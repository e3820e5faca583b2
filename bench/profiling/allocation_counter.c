/* Counts what a Python program allocates, for the price of an addition each; allocations.py
   builds this and loads it in front of the interpreter (LD_PRELOAD).

   Two numbers, in a file of shared memory named by the process's id:
   - blocks of memory asked of the interpreter's allocators, resizing included;
   - objects made, by type. Many kinds come from a list of free ones and need no block, so they are
     counted where their first reference is. Only an interpreter whose library lets itself be
     interposed shows them; in others the numbers stay 0. */

#define _GNU_SOURCE
#include <Python.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* allocations.py knows this layout. */
enum { TYPES = 1024, NAME_BYTES = 48 };

static struct counts {
    uint64_t blocks;
    uint64_t objects; /* Of all types, also of those that found no place below. */
    struct of_type {
        uint64_t made;
        uint64_t type; /* Its address; 0 where the place is free. */
        char name[NAME_BYTES];
    } types[TYPES];
} uncounted, *counts = &uncounted;

/* The library is also loaded in front of programs that are not Python. */
#pragma weak PyMem_GetAllocator
#pragma weak PyMem_SetAllocator

/* Each domain's own allocator, to which ours pass the work on. */
static PyMemAllocatorEx memory, object;

static void (*new_reference)(PyObject *);

static void count_type(PyTypeObject *type) {
    const uint64_t key = (uintptr_t)type;
    uint64_t step;
    for (step = 0; step < TYPES; step++) {
        struct of_type *place = &counts->types[(key / 64 + step) % TYPES];
        if (place->type == 0) {
            place->type = key;
            strncpy(place->name, type->tp_name, NAME_BYTES - 1);
        }
        if (place->type == key) {
            place->made++;
            return;
        }
    }
}

void _Py_NewReference(PyObject *made) {
    counts->objects++;
    count_type(Py_TYPE(made));
    new_reference(made);
}

static void *count_malloc(void *context, size_t size) {
    const PyMemAllocatorEx *own = context;
    counts->blocks++;
    return own->malloc(own->ctx, size);
}

static void *count_calloc(void *context, size_t number, size_t size) {
    const PyMemAllocatorEx *own = context;
    counts->blocks++;
    return own->calloc(own->ctx, number, size);
}

static void *count_realloc(void *context, void *block, size_t size) {
    const PyMemAllocatorEx *own = context;
    counts->blocks++;
    return own->realloc(own->ctx, block, size);
}

static void pass_free(void *context, void *block) {
    const PyMemAllocatorEx *own = context;
    own->free(own->ctx, block);
}

static void count_domain(PyMemAllocatorDomain domain, PyMemAllocatorEx *own) {
    PyMemAllocatorEx counting = {own, count_malloc, count_calloc, count_realloc, pass_free};
    PyMem_GetAllocator(domain, own);
    PyMem_SetAllocator(domain, &counting);
}

static void share_counts(const char *folder) {
    char path[4096];
    void *shared;
    int file;
    snprintf(path, sizeof path, "%s/%ld", folder, (long)getpid());
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    if (ftruncate(file, sizeof *counts) == 0) {
        shared = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED)
            counts = shared;
    }
    close(file);
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("POLEVPN_TRIO_ALLOCATION_COUNTS");
    *(void **)&new_reference = dlsym(RTLD_NEXT, "_Py_NewReference");
    if (folder == NULL || PyMem_GetAllocator == NULL || PyMem_SetAllocator == NULL)
        return;
    share_counts(folder);
    count_domain(PYMEM_DOMAIN_MEM, &memory);
    count_domain(PYMEM_DOMAIN_OBJ, &object);
}
