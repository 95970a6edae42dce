//! In-place operations on flat tensors in CPU memory, and a parallel loop over them.

use std::sync::Mutex;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor};

use unireal::internals::cpu::gemm::engine;

/// Returns whether a tensor holds f32 values in CPU memory, without autodiff.
pub(super) fn on_cpu(tensor: &Tensor<1>) -> bool {
    tensor.device() == Device::flex() && tensor.dtype() == DType::F32 && !tensor.is_autodiff()
}

/// Returns the CPU backend's tensor, contiguous. The tensor must be [`on_cpu`].
pub(super) fn flex(tensor: Tensor<1>) -> FlexTensor {
    let tensor = tensor.try_into_primitive::<Flex>();
    let tensor = tensor.expect("a tensor on the CPU backend");
    if tensor.as_slice::<f32>().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The inverse of [`flex`].
pub(super) fn tensor(tensor: FlexTensor) -> Tensor<1> {
    Tensor::from_primitive::<Flex>(tensor)
}

/// Returns the values of a tensor from [`flex`].
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("contiguous 32-bit floats")
}

/// Returns the values of a tensor from [`flex`] mutably; copies them if another tensor shares them.
pub(super) fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let count = values(tensor).len();
    // Copy a view of a larger buffer.
    if tensor.layout().start_offset() != 0 || tensor.storage::<f32>().len() != count {
        *tensor = FlexTensor::from_data(tensor.clone().into_data());
    }
    tensor.storage_mut::<f32>()
}

/// Returns the sum of one parameter's gradients, and the sum of squares of that sum; `None` without gradients.
pub(super) fn sum(gradients: Vec<Tensor<1>>) -> Option<(Tensor<1>, f64)> {
    let mut rest = gradients.into_iter();
    let first = rest.next()?;
    let sum = rest.fold(first, |sum, gradient| {
        let gradient = gradient.to_device(&sum.device());
        add(sum, gradient)
    });
    Some(squares(sum))
}

/// Returns `a + b`; on the CPU, in place in `a`.
pub(super) fn add(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    if !on_cpu(&a) || !on_cpu(&b) {
        return a + b;
    }
    let (mut a, b) = (flex(a), flex(b));
    let pairs = values_mut(&mut a).iter_mut().zip(values(&b));
    pairs.for_each(|(a, b)| *a += b);
    tensor(a)
}

/// Returns `x * a + y * b`; on the CPU, in place in `x`.
pub(super) fn combine((x, a): (Tensor<1>, f32), (y, b): (&Tensor<1>, f32)) -> Tensor<1> {
    if !on_cpu(&x) || !on_cpu(y) {
        return x * a + y.clone() * b;
    }
    let (mut x, y) = (flex(x), flex(y.clone()));
    let pairs = values_mut(&mut x).iter_mut().zip(values(&y));
    pairs.for_each(|(x, y)| *x = *x * a + y * b);
    tensor(x)
}

/// Returns `average + (value - average) * weight`; on the CPU, in place in `average`.
pub(super) fn mix(average: Tensor<1>, value: Tensor<1>, weight: f32) -> Tensor<1> {
    if !on_cpu(&average) || !on_cpu(&value) {
        return average * (1.0 - weight) + value * weight;
    }
    let (mut average, value) = (flex(average), flex(value));
    let pairs = values_mut(&mut average).iter_mut().zip(values(&value));
    pairs.for_each(|(average, value)| *average += (value - *average) * weight);
    tensor(average)
}

/// Returns the tensor and its sum of squares.
pub(super) fn squares(flat: Tensor<1>) -> (Tensor<1>, f64) {
    if !on_cpu(&flat) {
        let sum = flat.clone().square().sum().into_scalar::<f32>();
        return (flat, f64::from(sum));
    }
    let flat = flex(flat);
    // Eight partial sums, so that the compiler vectorises the loop; in pieces, to limit the rounding error of millions of small values.
    let piece = |piece: &[f32]| {
        let mut sums = [0f32; 8];
        for eight in piece.chunks_exact(8) {
            std::iter::zip(&mut sums, eight).for_each(|(sum, x)| *sum += x * x);
        }
        let rest = piece.chunks_exact(8).remainder().iter().map(|x| x * x);
        f64::from(sums.into_iter().chain(rest).sum::<f32>())
    };
    let sum = values(&flat).chunks(4096).map(piece).sum();
    (tensor(flat), sum)
}

/// Applies `f` to items in parallel threads, starting with the costliest; returns the results in the order of the items. The
/// threads use the caller's precision.
pub(super) fn parallel<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    cost: impl Fn(&T) -> usize,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads < 2 {
        return items.into_iter().map(f).collect();
    }
    let mut queue: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    queue.sort_by_key(|(_, item)| cost(item));
    let queue = Mutex::new(queue);
    let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).pop();
    let precision = engine::precision();
    let work = || {
        let _precision = engine::scoped(precision);
        let mut done = Vec::new();
        while let Some((i, item)) = next() {
            done.push((i, f(item)));
        }
        done
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            let found = other.join();
            done.extend(found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(values: &[f32]) -> Tensor<1> {
        Tensor::from_data(values, &Device::flex())
    }

    fn read(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [1, 3] {
            let doubled = parallel(threads, items.clone(), |i| (i * 37) % 11, |i| 2 * i);
            assert_eq!(doubled, (0..100).map(|i| 2 * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sums_do_not_change_shared_tensors_and_views() {
        let whole = flat(&[1.0, 2.0, 3.0, 4.0]);
        let view = whole.clone().narrow(0, 1, 2);
        let (sum, squares) = sum(vec![view.clone(), flat(&[10.0, 20.0])]).unwrap();
        assert_eq!(read(sum), [12.0, 23.0]);
        assert_eq!(squares, 144.0 + 529.0);
        assert_eq!(read(mix(view.clone(), flat(&[4.0, 1.0]), 0.5)), [3.0, 2.0]);
        assert_eq!(read(view), [2.0, 3.0]);
        assert_eq!(read(whole), [1.0, 2.0, 3.0, 4.0]);
        assert!(super::sum(Vec::new()).is_none());
    }
}
