/* Every kernel of this CPU, each instruction set, against loops that nobody can get wrong. Prints what it ran; exit code 1
 * when a result differs. Run on emulated CPUs by run.sh: the library must not touch an instruction that they do not have.
 */
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "../../csrc/localmatch.h"

namespace {

std::mt19937 generator(1);
int failures = 0;

std::vector<int8_t> bytes(int64_t count) {
    std::uniform_int_distribution<int> any(-128, 127);
    std::vector<int8_t> values(static_cast<size_t>(count));
    for (auto &value : values) value = static_cast<int8_t>(any(generator));
    return values;
}

int32_t dot(const int8_t *a, const int8_t *b, int64_t dimension) {
    int32_t total = 0;
    for (int64_t d = 0; d < dimension; ++d) total += a[d] * b[d];
    return total;
}

void expect(bool holds, const char *what, int64_t isa) {
    if (holds) return;
    std::printf("FAILED %s, instruction set %d\n", what, static_cast<int>(isa));
    ++failures;
}

void check_match(int64_t isa, int64_t dimension) {
    const int64_t queries = 37, segments = 3, offsets[] = {0, 50, 50, 161};
    const auto query = bytes(queries * dimension), rows = bytes(161 * dimension);
    std::vector<int32_t> best(segments * queries), index(best.size()), second(best.size()), mutual(161);
    expect(lm_match_topk(query.data(), queries, rows.data(), dimension, offsets, segments, isa, 2, best.data(),
                         index.data(), second.data(), mutual.data()) == LM_OK, "match_topk", isa);
    for (int64_t s = 0; s < segments; ++s) {
        for (int64_t q = 0; q < queries; ++q) {
            int32_t high = INT32_MIN, low = INT32_MIN, where = -1;
            for (int64_t r = offsets[s]; r < offsets[s + 1]; ++r) {
                const int32_t score = dot(&query[q * dimension], &rows[r * dimension], dimension);
                if (score > high) {
                    low = high;
                    high = score;
                    where = static_cast<int32_t>(r);
                } else if (score > low) {
                    low = score;
                }
            }
            const int64_t at = s * queries + q;
            expect(best[at] == high && index[at] == where && second[at] == low, "match_topk", isa);
        }
    }
    for (int64_t r = 0; r < 161; ++r) {
        int32_t high = INT32_MIN, who = -1;
        for (int64_t q = 0; q < queries; ++q) {
            const int32_t score = dot(&query[q * dimension], &rows[r * dimension], dimension);
            if (score > high) high = score, who = static_cast<int32_t>(q);
        }
        expect(mutual[r] == who, "match_topk mutual", isa);
    }
}

void check_float(int64_t isa) {
    const int64_t dimension = 20, queries = 9, offsets[] = {0, 77};
    std::uniform_real_distribution<float> any(-1, 1);
    std::vector<float> query(queries * dimension), rows(77 * dimension), best(queries), second(queries);
    std::vector<int32_t> index(queries);
    for (auto *values : {&query, &rows}) {
        for (auto &value : *values) value = any(generator);
    }
    expect(lm_match_topk_float(query.data(), queries, rows.data(), dimension, offsets, 1, isa, 1, best.data(),
                               index.data(), second.data(), nullptr) == LM_OK, "match_topk_float", isa);
    for (int64_t q = 0; q < queries; ++q) {
        double high = -1e9;
        for (int64_t r = 0; r < 77; ++r) {
            double score = 0;
            for (int64_t d = 0; d < dimension; ++d) score += double{query[q * dimension + d]} * rows[r * dimension + d];
            if (score > high) high = score;
        }
        expect(best[q] > high - 1e-5 && best[q] < high + 1e-5 && second[q] <= best[q], "match_topk_float", isa);
    }
}

void check_rerank(int64_t isa, int64_t dimension) {
    const int64_t queries = 5, width = 30;
    const auto query = bytes(queries * dimension), table = bytes(100 * dimension);
    std::vector<int32_t> candidates(queries * width), score(queries), index(queries);
    for (size_t i = 0; i < candidates.size(); ++i) candidates[i] = static_cast<int32_t>(i * 37 % 101) - 1;
    expect(lm_rerank_topk(query.data(), queries, dimension, candidates.data(), width, nullptr, 0,
                          table.data(), 1, isa, 2, score.data(), index.data()) == LM_OK, "rerank_topk", isa);
    for (int64_t q = 0; q < queries; ++q) {
        int32_t high = INT32_MIN, row = -1;
        for (int64_t c = 0; c < width; ++c) {
            const int32_t other = candidates[q * width + c];
            if (other < 0) continue;
            const int32_t found = dot(&query[q * dimension], &table[other * dimension], dimension);
            if (found > high || (found == high && other < row)) high = found, row = other;
        }
        expect(score[q] == high && index[q] == row, "rerank_topk", isa);
    }
    /* The same rows as runs of one row, and one run over all. */
    std::vector<int64_t> each(101);
    for (size_t i = 0; i < each.size(); ++i) each[i] = static_cast<int64_t>(i);
    std::vector<int32_t> again(queries), same(queries);
    expect(lm_rerank_topk(query.data(), queries, dimension, candidates.data(), width, each.data(), 100, table.data(), 1,
                          isa, 2, again.data(), same.data()) == LM_OK, "rerank_topk of runs", isa);
    expect(again == score && same == index, "rerank_topk of runs", isa);
}

void check_compare(int64_t isa, int64_t dimension) {
    const int32_t affine[] = {65536, 0, -65536, 0, 65536, 2 * 65536};
    const auto query = bytes(6 * 7 * dimension), reference = bytes(8 * 9 * dimension);
    std::vector<int32_t> score(42), offset(42);
    expect(lm_compare_maps(query.data(), 6, 7, dimension, reference.data(), 8, 9, affine, 1, 1, isa, 2, score.data(),
                           offset.data()) == LM_OK, "compare_maps", isa);
    for (int64_t y = 0; y < 6; ++y) {
        for (int64_t x = 0; x < 7; ++x) {
            int32_t high = INT32_MIN;
            for (int64_t v = y + 1; v <= y + 3; ++v) {
                for (int64_t u = x - 2; u <= x; ++u) {
                    if (u < 0 || u >= 9 || v >= 8) continue;
                    const int32_t found = dot(&query[(y * 7 + x) * dimension], &reference[(v * 9 + u) * dimension], dimension);
                    if (found > high) high = found;
                }
            }
            expect(score[y * 7 + x] == high, "compare_maps", isa);
        }
    }
}

void check_convolve(int64_t isa, int64_t stride) {
    const int64_t inputs = 8, outputs = 24, height = 5, width = 37;
    const int64_t down = (height + stride - 1) / stride, across = (width + stride - 1) / stride;
    const auto raw = bytes(inputs * height * width), weights = bytes(outputs * inputs * 9);
    const std::vector<uint8_t> image(raw.begin(), raw.end());
    const std::vector<int32_t> bias(outputs, 5000);
    const std::vector<float> scale(outputs, 1.0f / 512);
    std::vector<uint8_t> found(outputs * down * across);
    expect(lm_convolve(image.data(), inputs, height, width, weights.data(), outputs, bias.data(), scale.data(), stride, isa,
                       2, found.data()) == LM_OK, "convolve", isa);
    for (int64_t o = 0; o < outputs; ++o) {
        for (int64_t y = 0; y < down; ++y) {
            for (int64_t x = 0; x < across; ++x) {
                int32_t sum = 5000;
                for (int64_t i = 0; i < inputs * 9; ++i) {
                    const int64_t c = i / 9, v = y * stride + i / 3 % 3 - 1, u = x * stride + i % 3 - 1;
                    if (v < 0 || v >= height || u < 0 || u >= width) continue;
                    sum += weights[o * inputs * 9 + i] * image[((c / 4 * height + v) * width + u) * 4 + c % 4];
                }
                const float value = std::nearbyint(static_cast<float>(sum) / 512);
                const int32_t expected = value < 0 ? 0 : value > 255 ? 255 : static_cast<int32_t>(value);
                expect(found[((o / 4 * down + y) * across + x) * 4 + o % 4] == expected, "convolve", isa);
            }
        }
    }
}

/* Kernels that the compiler vectorises: that they run at all, and one value that is known. */
void check_clones() {
    std::vector<uint8_t> image(40 * 30), inside(image.size(), 1);
    for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 7919 % 251);
    std::vector<int32_t> zncc(image.size());
    expect(lm_local_zncc(image.data(), image.data(), inside.data(), 30, 40, 3, 2, zncc.data()) == LM_OK, "local_zncc", -1);
    for (int32_t value : zncc) expect(value == 16384, "local_zncc", -1);
    const int64_t offsets[] = {0, 1};
    const int32_t xy[] = {16 * 20 + 8, 16 * 15 + 8}, radius[] = {8}, evidence[] = {200};
    std::vector<int32_t> heat(1200), winner(1200);
    expect(lm_splat_evidence(offsets, 1, xy, radius, evidence, 30, 40, 2, heat.data(), winner.data()) == LM_OK, "splat", -1);
    expect(heat[15 * 40 + 20] == 200 * 1024 && winner[15 * 40 + 20] == 0 && winner[0] == -1, "splat_evidence", -1);
}

}  // namespace

int main() {
    for (int64_t isa = LM_ISA_GENERIC; isa <= LM_ISA_AVX512; ++isa) {
        if (!lm_supports(isa)) continue;
        for (int64_t dimension : {4, 20, 64, 128}) {
            check_match(isa, dimension);
            check_rerank(isa, dimension);
            check_compare(isa, dimension);
        }
        check_float(isa);
        for (int64_t stride : {1, 2}) check_convolve(isa, stride);
        std::printf("instruction set %d: checked\n", static_cast<int>(isa));
    }
    check_clones();
    std::printf("%d failures\n", failures);
    return failures != 0;
}
