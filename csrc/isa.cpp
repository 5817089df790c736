#include "isa.h"

#include "localmatch.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace localmatch {

const Kernels *kernels_for(int64_t isa) {
    switch (isa) {
        case LM_ISA_GENERIC: return kernels_generic();
#if defined(__x86_64__)
        case LM_ISA_AVX2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kernels_avx2() : nullptr;
        case LM_ISA_AVX512:
            return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
                       ? kernels_avx512()
                       : nullptr;
#elif defined(__aarch64__) && defined(__linux__)
        case LM_ISA_NEON: return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? kernels_neon() : nullptr;
#elif defined(__aarch64__)
        case LM_ISA_NEON: return kernels_neon(); /* all Apple silicon */
#endif
        default: return nullptr;
    }
}

}  // namespace localmatch

extern "C" int32_t lm_supports(int64_t isa) { return localmatch::kernels_for(isa) != nullptr; }
