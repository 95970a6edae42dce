//! Runtime SIMD dispatch: each loop is compiled for several vector widths, and the widest that the CPU supports is chosen at run time.

/// Defines functions whose bodies are compiled for AVX-512, for AVX2 and for the baseline CPU.
macro_rules! simd_dispatch {
    ($($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $output:ty)? $body:block)*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name($($argument: $kind),*) $(-> $output)? {
            #[inline(always)]
            fn body($($argument: $kind),*) $(-> $output)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn dispatched($($argument: $kind),*) $(-> $output)? { body($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn wider($($argument: $kind),*) $(-> $output)? { body($($argument),*) }
                if std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the CPU has these features.
                    return unsafe { dispatched($($argument),*) };
                }
                if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                    // SAFETY: the CPU has these features.
                    return unsafe { wider($($argument),*) };
                }
            }
            body($($argument),*)
        }
    )*};
}
pub(super) use simd_dispatch;

/// Number of independent partial sums, so that the compiler vectorises a reduction.
pub(super) const LANES: usize = 16;

/// Returns the dot product of two rows.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = std::iter::zip(a_chunks.remainder(), b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    total(sums) + rest
}

/// Returns the sum of a row.
#[inline(always)]
pub(super) fn sum(a: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for a in chunks {
        for i in 0..LANES {
            sums[i] += a[i];
        }
    }
    total(sums) + rest
}

#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Returns the mean and `1 / sqrt(variance + epsilon)` of a row.
#[inline(always)]
pub(super) fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    let mut squares = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder().iter();
    let rest: f32 = rest.map(|x| (x - mean) * (x - mean)).sum();
    for x in chunks {
        for i in 0..LANES {
            squares[i] += (x[i] - mean) * (x[i] - mean);
        }
    }
    let variance = (sum(&squares) + rest) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Returns e^x within three units in the last place. It has no branches, so that the compiler vectorises it (the polynomial of
/// Cephes' expf). `x` is clamped to -87..=88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting this number rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    // The low bits of `rounded` hold the integer `n`.
    let exponent = rounded
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    y * f32::from_bits(exponent << 23)
}
