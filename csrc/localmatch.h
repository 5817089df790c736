/* The C ABI of localmatch's CPU kernels: the contract between Python and C++.
 *
 * Pointers are to contiguous arrays that the caller owns, already checked for shape and type. Functions return
 * LM_OK or an error code; they never throw, print or keep state. No torch and no Python header is needed, so that
 * one library serves every version of both. Integer arithmetic only: results are the same bits on every machine
 * and at every thread count.
 */
#ifndef LOCALMATCH_H
#define LOCALMATCH_H

#include <stdint.h>

#if defined(_WIN32)
#define LM_API __declspec(dllexport)
#else
#define LM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum lm_status { LM_OK = 0, LM_BAD_ARGUMENT = 1, LM_OUT_OF_MEMORY = 2 };

/* Changes whenever a signature below does; Python refuses a library of another number. */
LM_API int32_t lm_abi_version(void);

/* null: copies `count` values. The template of a kernel: see CONTRIBUTING.md. */
LM_API int32_t lm_null(const int32_t *input, int64_t count, int32_t *output);

/* vote_peaks: evidence of votes into overlapping bins of (log-scale, shift y, shift x), one histogram a group, and the
 * strongest local maxima of each. Defined in plain torch by localmatch/kernels/vote.py.
 *
 *   offsets          [groups + 1]  votes of group g are offsets[g] .. offsets[g + 1]
 *   query_patch      [votes]
 *   reference_patch  [votes]
 *   query_xy         [votes, 2]    1/16 px
 *   reference_xy     [votes, 2]    1/16 px
 *   level            [votes]       half-octave steps of the scale ratio, 0 .. levels - 1
 *   weight           [votes]       >= 0
 *   inverse_ratio    [levels]      Q16: 65536 / ratio of each log-scale bin
 *   half_bin         half the side of a shift bin, 1/16 px
 *   score            [groups, peaks]     filled with 0 where a group has fewer peaks
 *   bin              [groups, peaks, 3]  likewise
 */
LM_API int32_t lm_vote_peaks(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                             const int64_t *reference_patch, const int32_t *query_xy, const int32_t *reference_xy,
                             const int32_t *level, const int32_t *weight, const int32_t *inverse_ratio,
                             int64_t levels, int64_t half_bin, int64_t peaks, int64_t threads, int64_t *score,
                             int32_t *bin);

#ifdef __cplusplus
}
#endif
#endif
