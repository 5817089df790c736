/* Votes into overlapping (log-scale, shift) bins and their peaks. The definition is localmatch/kernels/vote.py.
 *
 * A group's histogram is sparse (a few hundred votes in millions of possible bins), so it is a sorted list of
 * (bin, weight) and not an array: eight entries a vote, summed by runs.
 */
#include <algorithm>
#include <cstdint>
#include <vector>

#include "localmatch.h"
#include "parallel.h"

namespace {

constexpr int kCoordinateBits = 24;
constexpr int64_t kCoordinateBias = int64_t{1} << (kCoordinateBits - 1);

struct Entry {
    uint64_t bin;
    int64_t patch;
    int64_t weight;
};

struct Bin {
    uint64_t key;
    int64_t score;
};

uint64_t pack(int64_t level, int64_t y, int64_t x) {
    return (static_cast<uint64_t>(level + 1) << (2 * kCoordinateBits)) |
           (static_cast<uint64_t>(y + kCoordinateBias) << kCoordinateBits) |
           static_cast<uint64_t>(x + kCoordinateBias);
}

int64_t floor_div(int64_t value, int64_t divisor) {
    return value / divisor - (value % divisor != 0 && value < 0);
}

/* Sum over bins of the heaviest vote of each patch: one vote a patch a bin. */
std::vector<Bin> sum_by_bin(std::vector<Entry> &entries) {
    std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) {
        if (a.bin != b.bin) return a.bin < b.bin;
        if (a.patch != b.patch) return a.patch < b.patch;
        return a.weight > b.weight;
    });
    std::vector<Bin> bins;
    for (size_t i = 0; i < entries.size(); ++i) {
        const Entry &entry = entries[i];
        const bool new_bin = i == 0 || entries[i - 1].bin != entry.bin;
        if (new_bin) bins.push_back({entry.bin, 0});
        if (new_bin || entries[i - 1].patch != entry.patch) bins.back().score += entry.weight;
    }
    return bins;
}

int64_t score_at(const std::vector<Bin> &bins, uint64_t key) {
    auto found = std::lower_bound(bins.begin(), bins.end(), key, [](const Bin &b, uint64_t k) { return b.key < k; });
    return found != bins.end() && found->key == key ? found->score : 0;
}

/* Local maxima among the 26 neighbours; of equal neighbours the lowest key is the peak. */
std::vector<Bin> local_maxima(const std::vector<Bin> &bins) {
    std::vector<Bin> maxima;
    for (const Bin &bin : bins) {
        bool peak = bin.score > 0;
        for (int64_t offset = 0; peak && offset < 27; ++offset) {
            const int64_t level = offset / 9 - 1, y = offset / 3 % 3 - 1, x = offset % 3 - 1;
            const uint64_t key = bin.key + (static_cast<uint64_t>(level) << (2 * kCoordinateBits)) +
                                 (static_cast<uint64_t>(y) << kCoordinateBits) + static_cast<uint64_t>(x);
            if (key == bin.key) continue;
            const int64_t other = score_at(bins, key);
            peak = key < bin.key ? bin.score > other : bin.score >= other;
        }
        if (peak) maxima.push_back(bin);
    }
    return maxima;
}

}  // namespace

extern "C" int32_t lm_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                                 const int64_t *reference_patch, const int32_t *query_xy,
                                 const int32_t *reference_xy, const int32_t *level, const int32_t *weight,
                                 const int32_t *inverse_ratio, int64_t levels, int64_t half_bin, int64_t peaks,
                                 int64_t threads, int64_t *score, int32_t *bin) {
    if (groups < 0 || levels < 1 || half_bin < 1 || peaks < 0) return LM_BAD_ARGUMENT;
    return localmatch::parallel_for(groups, threads, [=](int64_t group) {
        std::vector<Entry> by_query, by_reference;
        const int64_t first = offsets[group], last = offsets[group + 1];
        by_query.reserve(static_cast<size_t>(8 * (last - first)));
        by_reference.reserve(by_query.capacity());
        for (int64_t i = first; i < last; ++i) {
            for (int32_t l = std::max(level[i] - 1, 0); l <= level[i]; ++l) {
                int64_t corner[2];
                for (int axis = 0; axis < 2; ++axis) {
                    const int64_t scaled = reference_xy[2 * i + axis] * int64_t{inverse_ratio[l]};
                    corner[axis] = floor_div(((scaled + 32768) >> 16) - query_xy[2 * i + axis], half_bin);
                }
                for (int overlap = 0; overlap < 4; ++overlap) {
                    const uint64_t key = pack(l, corner[1] - overlap / 2, corner[0] - overlap % 2);
                    by_query.push_back({key, query_patch[i], weight[i]});
                    by_reference.push_back({key, reference_patch[i], weight[i]});
                }
            }
        }
        std::vector<Bin> bins = sum_by_bin(by_query);
        const std::vector<Bin> other = sum_by_bin(by_reference);
        for (size_t b = 0; b < bins.size(); ++b) bins[b].score = std::min(bins[b].score, other[b].score);
        std::vector<Bin> maxima = local_maxima(bins);
        std::sort(maxima.begin(), maxima.end(), [](const Bin &a, const Bin &b) {
            return a.score != b.score ? a.score > b.score : a.key < b.key;
        });
        const int64_t mask = (int64_t{1} << kCoordinateBits) - 1;
        for (int64_t k = 0; k < peaks; ++k) {
            const bool real = static_cast<size_t>(k) < maxima.size();
            const int64_t key = real ? static_cast<int64_t>(maxima[static_cast<size_t>(k)].key) : 0;
            const int64_t at = group * peaks + k;
            score[at] = real ? maxima[static_cast<size_t>(k)].score : 0;
            bin[3 * at] = real ? static_cast<int32_t>((key >> (2 * kCoordinateBits)) - 1) : 0;
            bin[3 * at + 1] = real ? static_cast<int32_t>(((key >> kCoordinateBits) & mask) - kCoordinateBias) : 0;
            bin[3 * at + 2] = real ? static_cast<int32_t>((key & mask) - kCoordinateBias) : 0;
        }
    });
}
