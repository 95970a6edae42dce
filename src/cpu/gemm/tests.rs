//! Compares products of random sizes with f64 sums of the same rounded operands.

use half::bf16;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::engine::{Engine, engine};
use super::pack::Side;
use super::product::{Matrix, Packed, long_product, multiply_on, rows_times};

/// Returns a random row-major matrix `[rows, columns]` and its transpose.
fn random(rng: &mut impl Rng, rows: usize, columns: usize) -> [Vec<f32>; 2] {
    let values: Vec<f32> = (0..rows * columns)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let transposed = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]);
    let transposed = transposed.collect();
    [values, transposed]
}

/// Returns `a b^T` of operands rounded to bf16.
fn expected([a, b]: [&[f32]; 2], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
    let mut c = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let products = (0..k).map(|q| round(a[i * k + q]) * round(b[j * k + q]));
            c.push(products.sum());
        }
    }
    c
}

fn check(c: &[f32], expected: impl Iterator<Item = f64>, k: usize, what: &str) {
    for (i, (ours, right)) in c.iter().zip(expected).enumerate() {
        // The error of an f32 sum of k products of at most 1.
        let most = 1e-6 * (k as f64).max(8.0);
        assert!(
            (f64::from(*ours) - right).abs() < most,
            "{what}, number {i}: {ours}, expected {right}"
        );
    }
}

/// Returns random sizes of a product, from 1 to `most` each, and its operands with their transposes.
fn cases(
    seed: u64,
    count: usize,
    most: usize,
) -> impl Iterator<Item = ([usize; 3], [[Vec<f32>; 2]; 2])> {
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(move |_| {
        let size = [0; 3].map(|_| rng.random_range(1..=most));
        let [m, n, k] = size;
        (size, [random(&mut rng, m, k), random(&mut rng, n, k)])
    })
}

fn layouts<'a>([a, b]: &'a [[Vec<f32>; 2]; 2], [m, n, k]: [usize; 3]) -> [[Matrix<'a>; 2]; 4] {
    let left = [Matrix::Rows(&a[0], k), Matrix::Columns(&a[1], m)];
    let right = [Matrix::Rows(&b[0], k), Matrix::Columns(&b[1], n)];
    [
        [left[0], right[0]],
        [left[0], right[1]],
        [left[1], right[0]],
        [left[1], right[1]],
    ]
}

fn seed() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

#[test]
fn products_of_any_size_and_layout() {
    if engine().is_none() {
        eprintln!("SKIPPED products in bf16: this CPU has no instructions for them");
        return;
    }
    for (size, operands) in cases(seed(), 40, 300) {
        let [m, n, k] = size;
        let right = expected([&operands[0][0], &operands[1][0]], size);
        for [a, b] in layouts(&operands, size) {
            let mut c = vec![f32::NAN; m * n];
            long_product(a, b, size, &mut c);
            check(
                &c,
                right.iter().copied(),
                k,
                &format!("long product {size:?}"),
            );
            let mut packed = Packed::default();
            packed.pack(Side::Right, b, [n, k]);
            c.fill(f32::NAN);
            let mut rows = 0;
            rows_times(a, m, &packed, &mut c, |first, panel| {
                assert_eq!(first, rows);
                rows += panel.len() / n;
                panel.iter_mut().for_each(|x| *x += 1.0);
            });
            assert_eq!(rows, m);
            check(
                &c,
                right.iter().map(|x| x + 1.0),
                k,
                &format!("rows times {size:?}"),
            );
        }
    }
}

/// Runs the tile instructions on this CPU if it has them, and emulates them otherwise.
#[test]
#[cfg(target_os = "linux")]
fn tiles_multiply_as_avx512_does() {
    let Some(engine) = engine() else {
        eprintln!("SKIPPED AMX: packing needs AVX-512 with BF16, which this CPU does not have");
        return;
    };
    if engine != Engine::Amx {
        println!("AMX is emulated");
        super::emulator::install();
    }
    for (size, operands) in cases(seed(), 12, 100) {
        let [m, n, k] = size;
        let right = expected([&operands[0][0], &operands[1][0]], size);
        for [a, b] in layouts(&operands, size) {
            let mut packed = [Packed::default(), Packed::default()];
            packed[0].pack(Side::Left, a, [m, k]);
            packed[1].pack(Side::Right, b, [n, k]);
            let stride = n + 3;
            let mut c = vec![0f32; m * stride];
            for (add, times) in [(false, 1.0), (true, 2.0)] {
                multiply_on(Engine::Amx, &packed[0], &packed[1], &mut c, stride, add);
                let rows: Vec<f32> = c
                    .chunks(stride)
                    .flat_map(|row| &row[..n])
                    .copied()
                    .collect();
                check(
                    &rows,
                    right.iter().map(|x| x * times),
                    2 * k,
                    &format!("AMX {size:?}"),
                );
            }
            assert!(
                c.chunks(stride)
                    .all(|row| row[n..].iter().all(|x| *x == 0.0))
            );
        }
    }
}
