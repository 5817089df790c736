/* vote_topk on a GPU: a warp a group of few votes, else a block a group and a thread each bin of each vote. The definition
 * is localmatch/kernels/vote.py.
 *
 * A group's table is in shared memory where it fits. A vote counts in a bin unless a heavier one of its patch's list is in
 * that bin, too. Lists and tables fill in any order, but sums and maxima of integers do not depend on it, so results are
 * the same bits every time.
 */
#include "vote_few.h"
#include "vote_table.h"

namespace {

constexpr int kThreads = 1024, kBlocks = 8, kNeighbours = 26;
/* What blocks have of shared memory besides the votes of theirs. */
constexpr int kStaticBytes = 6 << 10;

/* The key of one of a vote's eight bins; kEmpty below the lowest level. */
__device__ Word key_of(const Votes &v, int64_t i, int which) {
    const Bin last = bin_of(v, i, which / kOverlap);
    return last.level < 0 ? kEmpty : key_of(one_of(last, which % kOverlap));
}

/* Whether a vote is the heaviest of its patch in a bin; of equal ones the first. */
__device__ bool counts(const Group &g, const Chains &c, const int32_t *weight, int32_t vote, int32_t slot) {
    for (int32_t other = c.owner[vote]; other >= 0; other = c.next[other]) {
        if (weight[other] < weight[vote] || (weight[other] == weight[vote] && other >= vote)) continue;
        for (int j = 0; j < kBins; ++j) {
            if (g.slots[other * kBins + j] == slot) return false;
        }
    }
    return true;
}

/* Whether a bin beats another that it touches: by its sum, of equal ones by its lower key. */
__device__ bool beats(const Group &g, int32_t a, int32_t b) {
    return g.by_query[a] != g.by_query[b] ? g.by_query[a] > g.by_query[b] : g.key[a] < g.key[b];
}

/* Whether one of a bin's 26 neighbours beats it. */
__device__ bool beaten(const Group &g, int32_t slot, int32_t neighbour) {
    const int32_t offset = neighbour < 13 ? neighbour : neighbour + 1;
    const int64_t level = offset / 9 - 1, y = offset / 3 % 3 - 1, x = offset % 3 - 1;
    const Word key = g.key[slot] + ((Word)level << (2 * kCoordinateBits)) + ((Word)y << kCoordinateBits) + (Word)x;
    const int32_t other = find(g.key, kBinSlots * g.votes, key);
    return other >= 0 && beats(g, other, slot);
}

__device__ void clear(const Group &g) {
    for (int32_t s = (int32_t)threadIdx.x; s < kBinSlots * g.votes; s += (int32_t)blockDim.x) {
        g.key[s] = kEmpty;
        g.by_query[s] = g.by_reference[s] = 0;
    }
    for (int32_t s = (int32_t)threadIdx.x; s < kPatchSlots * g.votes; s += (int32_t)blockDim.x) {
        g.query.heads[s] = g.reference.heads[s] = -1;
    }
    for (int32_t i = (int32_t)threadIdx.x; i < g.votes; i += (int32_t)blockDim.x) g.query.next[i] = g.reference.next[i] = -1;
    __syncthreads();
}

__device__ void fill(const Votes &v, const Group &g) {
    for (int32_t i = (int32_t)threadIdx.x; i < (kBins + 2) * g.votes; i += (int32_t)blockDim.x) {
        if (i < kBins * g.votes) {
            const Word key = key_of(v, g.first + i / kBins, i % kBins);
            g.slots[i] = key == kEmpty ? -1 : insert(g.key, kBinSlots * g.votes, key);
        } else if (i < (kBins + 1) * g.votes) {
            chain(v.query_patch + g.first, i - kBins * g.votes, g.votes, g.query);
        } else {
            chain(v.reference_patch + g.first, i - (kBins + 1) * g.votes, g.votes, g.reference);
        }
    }
    __syncthreads();
    const int32_t *weight = v.weight + g.first;
    for (int32_t i = (int32_t)threadIdx.x; i < kBins * g.votes; i += (int32_t)blockDim.x) {
        const int32_t vote = i / kBins, slot = g.slots[i];
        if (slot < 0) continue;
        if (counts(g, g.query, weight, vote, slot)) atomicAdd(g.by_query + slot, (Word)weight[vote]);
        if (counts(g, g.reference, weight, vote, slot)) atomicAdd(g.by_reference + slot, (Word)weight[vote]);
    }
    __syncthreads();
}

/* Lists the peaks, in any order. The four bins of a vote at one level touch each other, so at most one of them is a
 * peak, and only that has to be compared with its other neighbours.
 */
__device__ void find_peaks(const Group &g, int32_t *found) {
    Word *out = g.by_reference; /* from here on, whether a bin cannot be a peak any more */
    for (int32_t s = (int32_t)threadIdx.x; s < kBinSlots * g.votes; s += (int32_t)blockDim.x) {
        g.by_query[s] = g.by_query[s] < g.by_reference[s] ? g.by_query[s] : g.by_reference[s];
        out[s] = g.by_query[s] == 0;
    }
    if (threadIdx.x == 0) *found = 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < kBins * g.votes; i += (int32_t)blockDim.x) {
        const int32_t *slots = g.slots + i / kOverlap * kOverlap, slot = g.slots[i];
        for (int j = 0; slot >= 0 && j < kOverlap; ++j) {
            if (beats(g, slots[j], slot)) out[slot] = 1;
        }
    }
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < kBins * g.votes; i += (int32_t)blockDim.x) {
        const int32_t slot = g.slots[i];
        if (slot >= 0 && atomicExch(out + slot, 1) == 0) g.peaks[atomicAdd(found, 1)] = slot;
    }
    __syncthreads();
    const int32_t listed = *found;
    for (int32_t i = (int32_t)threadIdx.x; i < listed; i += (int32_t)blockDim.x) out[g.peaks[i]] = 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < kNeighbours * listed; i += (int32_t)blockDim.x) {
        const int32_t slot = g.peaks[i / kNeighbours];
        if (beaten(g, slot, i % kNeighbours)) out[slot] = 1;
    }
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < listed; i += (int32_t)blockDim.x) {
        if (out[g.peaks[i]]) g.peaks[i] = -1;
    }
    __syncthreads();
}

/* Groups of more than `above` and at most `most` votes, in shared memory or, where scratch is given, in that. */
struct Share {
    int64_t groups, above, most;
    Word *scratch;
};

/* Writes the strongest peaks, each to its rank: a warp counts those that beat it. */
__device__ void report(const Group &g, int32_t listed, int64_t group, const Peaks &out) {
    const Warp w = this_warp();
    for (int32_t i = w.number; i - w.number < listed; i += w.all) {
        const int32_t slot = i < listed ? g.peaks[i] : -1;
        int32_t stronger = slot < 0 ? INT_MAX : 0;
        for (int32_t j = w.lane; j - w.lane < listed && stronger < out.most; j += w.lanes) {
            const int32_t other = j < listed ? g.peaks[j] : -1;
            stronger += __popc(__ballot_sync(~0u, other >= 0 && other != slot && beats(g, other, slot)));
        }
        if (w.lane == 0 && slot >= 0) put(out, group, stronger, g.by_query[slot], bin_of(g.key[slot]));
    }
    __syncthreads();
}

__global__ void many_kernel(Votes v, Share share, Peaks out) {
    LM_SHARED_ARRAY(Word, pool);
    __shared__ int32_t mine[kThreads], count, found;
    lm_let_next_launch_begin();
    const int64_t stride = gridDim.x;
    /* Each thread looks at a group, to see whether it has a size of this launch. */
    for (int64_t base = blockIdx.x; base < share.groups; base += stride * blockDim.x) {
        if (threadIdx.x == 0) count = 0;
        __syncthreads();
        const int64_t group = base + stride * threadIdx.x;
        if (group < share.groups) {
            const int64_t votes = v.offsets[group + 1] - v.offsets[group];
            if (votes > share.above && votes <= share.most) mine[atomicAdd(&count, 1)] = (int32_t)threadIdx.x;
        }
        __syncthreads();
        for (int32_t i = 0; i < count; ++i) {
            const int64_t chosen = base + stride * mine[i], first = v.offsets[chosen];
            const int32_t votes = (int32_t)(v.offsets[chosen + 1] - first);
            Word *words = share.scratch ? share.scratch + kWords * first : pool;
            const Group g = laid_out(first, votes, words);
            put_none(out, chosen, (int32_t)threadIdx.x, (int32_t)blockDim.x);
            clear(g);
            fill(v, g);
            find_peaks(g, &found);
            report(g, found, chosen, out);
        }
        __syncthreads();
    }
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                                            const int64_t *reference_patch, const int32_t *query_xy,
                                            const int32_t *reference_xy, const int32_t *level, const int32_t *weight,
                                            const int32_t *inverse_ratio, int64_t half_bin, int64_t peaks,
                                            int64_t longest, int64_t *scratch, int64_t *score, int32_t *bin,
                                            int64_t stream) {
    if (groups < 0 || half_bin < 1 || half_bin > INT32_MAX || peaks < 0 || longest > kMostVotes) return LM_BAD_ARGUMENT;
    if (groups == 0 || peaks == 0) return LM_OK;
    int32_t bytes = 0, processors = 0;
    const int32_t error = lm_device(&bytes, &processors);
    if (error) return LM_CUDA_ERROR + error;
    const Votes v = {offsets,      query_patch, reference_patch, query_xy, reference_xy,
                     level,        weight,      inverse_ratio,   (int32_t)half_bin};
    /* The largest groups without shared memory, others with as much as they need, and beside these the small ones. */
    const int64_t vote_bytes = kWords * (int64_t)sizeof(Word), most = (bytes - kStaticBytes) / vote_bytes;
    const int32_t status = lm_allow_shared(many_kernel, most * vote_bytes);
    if (status) return LM_CUDA_ERROR + status;
    const Share middle = {groups, kFew, most, nullptr}, large = {groups, most, INT64_MAX, (Word *)scratch};
    const Peaks out = {peaks, score, bin};
    const int64_t blocks = groups < kBlocks * processors ? groups : kBlocks * processors;
    const int64_t shared = (longest < most ? longest : most) * vote_bytes;
    if (longest > most) LM_LAUNCH_SHARED(many_kernel, blocks, kThreads, 0, stream, v, large, out);
    const int64_t few_blocks = (groups + kWarps - 1) / kWarps;
    if (longest > kFew) {
        LM_LAUNCH_SHARED(many_kernel, blocks, kThreads, shared, stream, v, middle, out);
        LM_LAUNCH_BESIDE(few_kernel, few_blocks, kWarps * kWarp, stream, v, groups, out);
    } else { /* not beside what comes before this call, which may write the votes */
        LM_LAUNCH(few_kernel, few_blocks, kWarps * kWarp, stream, v, groups, out);
    }
    return lm_launched();
}
