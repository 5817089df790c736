/* compare_maps: the units of work. The definition is localmatch/kernels/compare.py. */
#include "isa.h"
#include "localmatch.h"
#include "parallel.h"

extern "C" int32_t lm_compare_maps(const int8_t *query, int64_t height, int64_t width, int64_t dimension,
                                   const int8_t *reference, int64_t reference_height, int64_t reference_width,
                                   const int32_t *affine, int64_t alignments, int64_t radius, int64_t isa,
                                   int64_t threads, int32_t *score, int32_t *offset) {
    const localmatch::Kernels *kernels = localmatch::kernels_for(isa);
    if (height < 0 || width < 0 || dimension < 4 || dimension % 4 || reference_height < 0 || reference_width < 0 ||
        alignments < 0 || radius < 0 || !kernels) {
        return LM_BAD_ARGUMENT;
    }
    const localmatch::CompareArguments arguments{query,           height, width,  dimension, reference, reference_height,
                                                 reference_width, affine, radius, score,     offset};
    return localmatch::parallel_for(alignments * height, threads, [&](int64_t i) {
        kernels->compare(arguments, i / height, i % height);
    });
}
