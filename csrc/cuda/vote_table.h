/* What vote_topk keeps of a group of votes: its bins as a hash table, and the votes of each patch as a linked list. */
#ifndef LOCALMATCH_CUDA_VOTE_TABLE_H
#define LOCALMATCH_CUDA_VOTE_TABLE_H

#include <limits.h>

#include "vote_bins.h"

namespace {

/* Slots a vote, so that tables are half full at most. */
constexpr int kBinSlots = 2 * kBins, kPatchSlots = 2;
/* Scratch memory of a vote: three words a slot of its bins, and 32-bit numbers. Python allocates as much. */
constexpr int kWords = 3 * kBinSlots + (2 * kBins + 2 * kPatchSlots + 4) / 2;
/* Slots of a group are numbered in 32 bits. */
constexpr int kMostVotes = INT32_MAX / kBinSlots;

/* Votes of the same patch: `owner` of each is the first that came, from which `next` leads through all. */
struct Chains {
    int32_t *owner, *next, *heads;
};

/* What a block keeps of its group; votes and slots are numbered from 0 within it. */
struct Group {
    int64_t first;
    int32_t votes;
    Word *key, *by_query, *by_reference;
    int32_t *slots; /* [votes, 8] of each vote's bins, -1 below the lowest level */
    int32_t *peaks; /* slots of the peaks, at most as many as bins */
    Chains query, reference;
};

__device__ Group laid_out(int64_t first, int32_t votes, Word *words) {
    const int64_t slots = kBinSlots * (int64_t)votes;
    int32_t *numbers = (int32_t *)(words + 3 * slots);
    int32_t *query = numbers + slots, *reference = query + (kPatchSlots + 2) * (int64_t)votes;
    return {first,   votes,
            words,   words + slots,
            words + 2 * slots,
            numbers, numbers + slots / 2,
            {query, query + votes, query + 2 * (int64_t)votes},
            {reference, reference + votes, reference + 2 * (int64_t)votes}};
}

__device__ int32_t home(Word key, int32_t capacity) {
    const uint32_t hash = ((uint32_t)key ^ (uint32_t)(key >> 29)) * 0x9e3779b1u;
    return (int32_t)(((Word)hash * (uint32_t)capacity) >> 32);
}

__device__ int32_t insert(Word *keys, int32_t capacity, Word key) {
    int32_t at = home(key, capacity);
    for (;; at = at + 1 < capacity ? at + 1 : 0) {
        const Word seen = atomicCAS(keys + at, kEmpty, key);
        if (seen == kEmpty || seen == key) return at;
    }
}

/* The slot of a key, -1 where nobody voted for it. */
__device__ int32_t find(const Word *keys, int32_t capacity, Word key) {
    int32_t at = home(key, capacity);
    while (keys[at] != key) {
        if (keys[at] == kEmpty) return -1;
        at = at + 1 < capacity ? at + 1 : 0;
    }
    return at;
}

template <class Patch>
__device__ void chain(const Patch *patch, int32_t vote, int32_t votes, const Chains &c) {
    const int32_t capacity = kPatchSlots * votes;
    int32_t at = home((Word)patch[vote], capacity);
    for (;; at = at + 1 < capacity ? at + 1 : 0) {
        const int32_t seen = atomicCAS(c.heads + at, -1, vote);
        if (seen >= 0 && patch[seen] != patch[vote]) continue;
        c.owner[vote] = seen < 0 ? vote : seen;
        if (seen >= 0) c.next[vote] = atomicExch(c.next + seen, vote);
        return;
    }
}

}  // namespace

#endif
