/* Marks a function that the compiler vectorises well: it is compiled for several x86 CPUs, and the loader chooses. */
#ifndef LOCALMATCH_CLONES_H
#define LOCALMATCH_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define LM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LM_CLONES
#endif

#endif
