/* Votes into overlapping (log-scale, shift) bins and their peaks. The definition is localmatch/kernels/vote.py.
 *
 * A group's histogram is sparse (a few hundred votes in millions of possible bins), so it is a hash table of the bins that
 * were voted for. Votes are taken patch by patch, each patch's heaviest first: then a patch's first vote in a bin is the
 * one that counts. Bins are looked at from the heaviest down, so only few are compared with their neighbours.
 */
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "localmatch.h"
#include "parallel.h"

namespace {

constexpr int kCoordinateBits = 24, kBinsOfVote = 8;
constexpr int64_t kCoordinateBias = int64_t{1} << (kCoordinateBits - 1);

uint64_t pack(int64_t level, int64_t y, int64_t x) {
    return (static_cast<uint64_t>(level + 1) << (2 * kCoordinateBits)) |
           (static_cast<uint64_t>(y + kCoordinateBias) << kCoordinateBits) |
           static_cast<uint64_t>(x + kCoordinateBias);
}

int64_t floor_div(int64_t value, int64_t divisor) {
    return value / divisor - (value % divisor != 0 && value < 0);
}

struct Votes {
    const int64_t *offsets;
    const int32_t *query_patch;
    const int64_t *reference_patch;
    const int32_t *query_xy, *reference_xy, *level, *weight, *inverse_ratio;
    int64_t half_bin;
};

/* The bins of one group; kept by a thread from group to group. */
class Histogram {
public:
    void fill(const Votes &votes, int64_t group) {
        first_ = votes.offsets[group];
        count_ = votes.offsets[group + 1] - first_;
        clear();
        for (int64_t i = 0; i < count_; ++i) find_bins(votes, i);
        by_query_.assign(keys_.size(), 0);
        by_reference_.assign(keys_.size(), 0);
        sum_once(votes.query_patch + first_, votes.weight + first_, by_query_);
        sum_once(votes.reference_patch + first_, votes.weight + first_, by_reference_);
        for (size_t b = 0; b < keys_.size(); ++b) by_query_[b] = std::min(by_query_[b], by_reference_[b]);
    }

    /* The strongest local maxima, by falling score and rising key. */
    void peaks(int64_t most, int64_t *score, int32_t *bin) {
        order_.resize(keys_.size());
        std::iota(order_.begin(), order_.end(), 0);
        const auto weaker = [this](int32_t a, int32_t b) {
            return by_query_[a] != by_query_[b] ? by_query_[a] < by_query_[b] : keys_[a] > keys_[b];
        };
        std::make_heap(order_.begin(), order_.end(), weaker);
        int64_t found = 0;
        for (auto end = order_.end(); found < most && end != order_.begin() && by_query_[order_.front()] > 0;) {
            const int32_t b = order_.front();
            std::pop_heap(order_.begin(), end--, weaker);
            if (is_peak(b)) write(b, score + found, bin + 3 * found), ++found;
        }
        std::fill(score + found, score + most, 0);
        std::fill(bin + 3 * found, bin + 3 * most, 0);
    }

private:
    void clear() {
        size_t capacity = 16;
        shift_ = 60;
        while (capacity < static_cast<size_t>(2 * kBinsOfVote * count_)) capacity *= 2, --shift_;
        slots_.assign(capacity, -1);
        keys_.clear();
        bins_.clear();
    }

    size_t slot(uint64_t key) const {
        size_t at = static_cast<size_t>(key * 0x9e3779b97f4a7c15u >> shift_);
        while (slots_[at] >= 0 && keys_[slots_[at]] != key) at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void find_bins(const Votes &votes, int64_t i) {
        const int64_t at = first_ + i;
        for (int32_t l = votes.level[at] - 1; l <= votes.level[at]; ++l) {
            int64_t corner[2];
            for (int axis = 0; l >= 0 && axis < 2; ++axis) {
                const int64_t scaled = votes.reference_xy[2 * at + axis] * int64_t{votes.inverse_ratio[l]};
                corner[axis] = floor_div(((scaled + 32768) >> 16) - votes.query_xy[2 * at + axis], votes.half_bin);
            }
            for (int overlap = 0; overlap < 4; ++overlap) {
                if (l < 0) {
                    bins_.push_back(-1);
                    continue;
                }
                const uint64_t key = pack(l, corner[1] - overlap / 2, corner[0] - overlap % 2);
                int32_t &b = slots_[slot(key)];
                if (b < 0) {
                    b = static_cast<int32_t>(keys_.size());
                    keys_.push_back(key);
                }
                bins_.push_back(b);
            }
        }
    }

    template <class Patch>
    void sum_once(const Patch *patch, const int32_t *weight, std::vector<int64_t> &sums) {
        order_.resize(static_cast<size_t>(count_));
        std::iota(order_.begin(), order_.end(), 0);
        std::sort(order_.begin(), order_.end(), [=](int32_t a, int32_t b) {
            return patch[a] != patch[b] ? patch[a] < patch[b] : weight[a] > weight[b];
        });
        last_.assign(keys_.size(), -1);
        int64_t number = -1;
        for (size_t k = 0; k < order_.size(); ++k) {
            if (k == 0 || patch[order_[k]] != patch[order_[k - 1]]) ++number;
            for (int j = 0; j < kBinsOfVote; ++j) {
                const int32_t b = bins_[static_cast<size_t>(order_[k]) * kBinsOfVote + j];
                if (b < 0 || last_[b] == number) continue;
                last_[b] = number;
                sums[b] += weight[order_[k]];
            }
        }
    }

    /* Among the 26 neighbours; of equal ones the lowest key is the peak. */
    bool is_peak(int32_t b) const {
        for (int64_t offset = 0; offset < 27; ++offset) {
            const int64_t level = offset / 9 - 1, y = offset / 3 % 3 - 1, x = offset % 3 - 1;
            const uint64_t key = keys_[b] + (static_cast<uint64_t>(level) << (2 * kCoordinateBits)) +
                                 (static_cast<uint64_t>(y) << kCoordinateBits) + static_cast<uint64_t>(x);
            const int32_t other = slots_[slot(key)];
            if (other < 0 || other == b) continue;
            if (by_query_[other] > by_query_[b] || (by_query_[other] == by_query_[b] && key < keys_[b])) return false;
        }
        return true;
    }

    void write(int32_t b, int64_t *score, int32_t *bin) const {
        const int64_t key = static_cast<int64_t>(keys_[b]), mask = (int64_t{1} << kCoordinateBits) - 1;
        *score = by_query_[b];
        bin[0] = static_cast<int32_t>((key >> (2 * kCoordinateBits)) - 1);
        bin[1] = static_cast<int32_t>(((key >> kCoordinateBits) & mask) - kCoordinateBias);
        bin[2] = static_cast<int32_t>((key & mask) - kCoordinateBias);
    }

    int64_t first_ = 0, count_ = 0;
    int shift_ = 60;                 /* of a hash, so that it falls into the table */
    std::vector<int32_t> slots_;     /* hash table: number of a bin, -1 where free */
    std::vector<uint64_t> keys_;     /* of each bin */
    std::vector<int32_t> bins_;      /* of each vote, eight; -1 for levels below the lowest */
    std::vector<int32_t> order_;
    std::vector<int64_t> last_;      /* the patch that voted last in a bin */
    std::vector<int64_t> by_query_, by_reference_;
};

}  // namespace

extern "C" int32_t lm_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                                const int64_t *reference_patch, const int32_t *query_xy, const int32_t *reference_xy,
                                const int32_t *level, const int32_t *weight, const int32_t *inverse_ratio,
                                int64_t levels, int64_t half_bin, int64_t peaks, int64_t threads, int64_t *score,
                                int32_t *bin) {
    if (groups < 0 || levels < 1 || half_bin < 1 || peaks < 0) return LM_BAD_ARGUMENT;
    const Votes votes{offsets,      query_patch, reference_patch, query_xy, reference_xy,
                      level,        weight,      inverse_ratio,   half_bin};
    return localmatch::parallel_for(groups, threads, [=](int64_t group) {
        thread_local Histogram histogram;
        histogram.fill(votes, group);
        histogram.peaks(peaks, score + group * peaks, bin + 3 * group * peaks);
    });
}
