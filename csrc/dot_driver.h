/* One descriptor against a few others at scattered places, and the loops of compare_maps. An Isa prepares a descriptor
 * once (Isa::Single) and multiplies it with one after another.
 */
#ifndef LOCALMATCH_DOT_DRIVER_H
#define LOCALMATCH_DOT_DRIVER_H

#include <algorithm>
#include <cstdint>

#include "best.h"
#include "isa.h"

namespace {

/* Hands scores of rows to `take(score, number)` in order, four products at a time. */
template <class Isa, class Take>
class Scorer {
public:
    Scorer(const typename Isa::Single &own, Take take) : own_(own), take_(take) {}

    void add(const int8_t *row, int32_t number) {
        rows_[waiting_] = row;
        numbers_[waiting_] = number;
        if (++waiting_ == 4) {
            int32_t scores[4];
            own_.dot4(rows_, scores);
            for (int i = 0; i < 4; ++i) take_(scores[i], numbers_[i]);
            waiting_ = 0;
        }
    }
    void finish() {
        for (int i = 0; i < waiting_; ++i) take_(own_.dot(rows_[i]), numbers_[i]);
        waiting_ = 0;
    }

private:
    const typename Isa::Single &own_;
    Take take_;
    const int8_t *rows_[4];
    int32_t numbers_[4];
    int waiting_ = 0;
};

/* One row of query cells: each looks around the reference cell that its alignment maps it to. */
template <class Isa>
void compare_unit(const localmatch::CompareArguments &a, int64_t alignment, int64_t y) {
    const int32_t *m = a.affine + alignment * 6;
    const int64_t side = 2 * a.radius + 1;
    for (int64_t x = 0; x < a.width; ++x) {
        const int64_t at = (alignment * a.height + y) * a.width + x;
        const int64_t cx = (m[0] * x + m[1] * y + m[2] + 32768) >> 16, cy = (m[3] * x + m[4] * y + m[5] + 32768) >> 16;
        uint64_t best = 0; /* score and place in one: random scores would mislead a branch */
        const int64_t x0 = std::max(cx - a.radius, int64_t{0}), x1 = std::min(cx + a.radius, a.reference_width - 1);
        const int64_t y0 = std::max(cy - a.radius, int64_t{0}), y1 = std::min(cy + a.radius, a.reference_height - 1);
        if (x0 <= x1 && y0 <= y1) {
            const typename Isa::Single own(a.query + (y * a.width + x) * a.dimension, a.dimension);
            const auto keep = [&](int32_t score, int32_t place) {
                best = std::max(best, localmatch::pack_row(score, place));
            };
            Scorer<Isa, decltype(keep)> scorer(own, keep);
            for (int64_t v = y0; v <= y1; ++v) {
                const int8_t *row = a.reference + v * a.reference_width * a.dimension;
                const int64_t place = (v - cy + a.radius) * side - cx + a.radius;
                for (int64_t u = x0; u <= x1; ++u) scorer.add(row + u * a.dimension, static_cast<int32_t>(place + u));
            }
            scorer.finish();
        }
        unpack(best, a.score + at, a.offset + at);
    }
}

}  // namespace
#endif
