//! A pool that recycles the memory of large tensors. Every training step allocates tensors of the same sizes; mapping, zeroing and
//! unmapping fresh memory for them took a tenth of a step.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::Mutex;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Bytes, TensorData};
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, DType};

/// Minimum length of a pooled buffer, in f32 values.
const LEAST: usize = 1 << 14;

/// Maximum number of f32 values in the pool (2 GiB). Beyond it, buffers are freed.
const MOST: usize = 1 << 29;

/// Unused buffers by length.
#[derive(Default)]
struct Free {
    buffers: HashMap<usize, Vec<Vec<f32>>>,
    numbers: usize,
}

static FREE: Mutex<Option<Free>> = Mutex::new(None);

fn with_free<T>(f: impl FnOnce(&mut Free) -> T) -> T {
    let mut free = FREE.lock().unwrap_or_else(|e| e.into_inner());
    f(free.get_or_insert_default())
}

/// Returns `n` values of unspecified content, for a result that overwrites all of them.
pub(super) fn buffer(n: usize) -> Vec<f32> {
    let found = (n >= LEAST).then(|| {
        with_free(|free| {
            let found = free.buffers.get_mut(&n)?.pop()?;
            free.numbers -= n;
            Some(found)
        })
    });
    found.flatten().unwrap_or_else(|| vec![0.0; n])
}

/// Returns `n` zeros.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    let mut values = buffer(n);
    values.fill(0.0);
    values
}

/// Returns a tensor whose memory returns to the pool when it is dropped.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    if values.len() < LEAST {
        return FlexTensor::from_data(TensorData::new(values, shape));
    }
    let length = size_of_val(&values[..]);
    // SAFETY: the controller holds `length` initialised bytes.
    let bytes = unsafe { Bytes::from_controller(Box::new(Recycled(values)), length) };
    FlexTensor::from_data(TensorData::from_bytes(bytes, shape, DType::F32))
}

/// Tensor memory that returns to the pool on drop.
struct Recycled(Vec<f32>);

impl Drop for Recycled {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        with_free(|free| {
            if free.numbers + values.len() <= MOST {
                free.numbers += values.len();
                free.buffers.entry(values.len()).or_default().push(values);
            }
        });
    }
}

impl AllocationController for Recycled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        // SAFETY: the trait requires the caller to write initialised bytes only.
        Ok(unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
        // SAFETY: initialised bytes are valid as `MaybeUninit` bytes.
        Ok(unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let n = LEAST + 12_345;
        let first = tensor(buffer(n), [n]);
        let place = first.as_slice::<f32>().map(<[f32]>::as_ptr);
        let copy = first.clone();
        drop(first);
        assert_ne!(place, Some(buffer(n).as_ptr()), "a copy still reads it");
        drop(copy);
        let again = buffer(n);
        assert_eq!(place, Some(again.as_ptr()));
        assert!(zeros(n).iter().all(|x| *x == 0.0));
    }
}
