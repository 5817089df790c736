/* splat_evidence: a band of rows of one map after another, so that what is summed stays in the cache and the winner of
 * each pixel is found on the way. The definition is localmatch/kernels/splat.py.
 */
#include <algorithm>
#include <cstdint>
#include <vector>

#include "clones.h"
#include "localmatch.h"
#include "parallel.h"

namespace {

constexpr int64_t kBand = 16;   /* rows a unit */
constexpr int32_t kSubpixel = 16; /* of positions */

/* Tent of height 32 over `radius` px around a centre, at the centre of each pixel first .. first + count. */
LM_CLONES void tent(int32_t centre, int32_t radius, int64_t first, int64_t count, int32_t *weight) {
    const int32_t reach = kSubpixel * radius, slope = (32 << 16) / reach;
    for (int64_t i = 0; i < count; ++i) {
        const int32_t away = kSubpixel * static_cast<int32_t>(first + i) + kSubpixel / 2 - centre;
        const int32_t left = reach - (away < 0 ? -away : away);
        weight[i] = (left > 0 ? left : 0) * slope >> 16;
    }
}

LM_CLONES void add(int32_t *row, const int32_t *weight, int64_t count, int32_t factor) {
    for (int64_t i = 0; i < count; ++i) row[i] += weight[i] * factor;
}

LM_CLONES void contest(const int32_t *heat, int64_t count, int32_t map, int32_t *best, int32_t *winner) {
    for (int64_t i = 0; i < count; ++i) {
        winner[i] = heat[i] > best[i] ? map : winner[i];
        best[i] = heat[i] > best[i] ? heat[i] : best[i];
    }
}

/* Pixels whose centres a tent may reach, within [0, limit). */
void extent(int32_t centre, int32_t radius, int64_t low, int64_t high, int64_t *first, int64_t *last) {
    *first = std::max<int64_t>(centre / kSubpixel - radius - 1, low);
    *last = std::min<int64_t>(centre / kSubpixel + radius + 2, high);
}

}  // namespace

extern "C" int32_t lm_splat_evidence(const int64_t *offsets, int64_t maps, const int32_t *xy, const int32_t *radius,
                                     const int32_t *evidence, int64_t height, int64_t width, int64_t threads,
                                     int32_t *heat, int32_t *winner) {
    if (maps < 0 || height < 0 || width < 0) return LM_BAD_ARGUMENT;
    return localmatch::parallel_for((height + kBand - 1) / kBand, threads, [=](int64_t band) {
        const int64_t top = band * kBand, bottom = std::min(top + kBand, height);
        std::vector<int32_t> across(static_cast<size_t>(width)), best(static_cast<size_t>((bottom - top) * width));
        int32_t down[kBand];
        std::fill(winner + top * width, winner + bottom * width, -1);
        for (int64_t map = 0; map < maps; ++map) {
            int32_t *rows = heat + (map * height + top) * width;
            std::fill(rows, rows + (bottom - top) * width, 0);
            for (int64_t i = offsets[map]; i < offsets[map + 1]; ++i) {
                int64_t x0, x1, y0, y1;
                extent(xy[2 * i + 1], radius[i], top, bottom, &y0, &y1);
                extent(xy[2 * i], radius[i], 0, width, &x0, &x1);
                if (y0 >= y1 || x0 >= x1) continue;
                tent(xy[2 * i], radius[i], x0, x1 - x0, across.data());
                tent(xy[2 * i + 1], radius[i], y0, y1 - y0, down);
                for (int64_t y = y0; y < y1; ++y) {
                    add(rows + (y - top) * width + x0, across.data(), x1 - x0, evidence[i] * down[y - y0]);
                }
            }
            contest(rows, (bottom - top) * width, static_cast<int32_t>(map), best.data(), winner + top * width);
        }
    });
}
