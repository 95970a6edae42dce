//! Memory of large results, used again. A training step makes the same tensors as the step before; fresh memory for each would be
//! mapped, zeroed and unmapped by the system, which took a tenth of a step.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::Mutex;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Bytes, TensorData};
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, DType};

/// From so many numbers on a buffer is worth keeping.
const LEAST: usize = 1 << 14;

/// Numbers that wait at most, 2 GiB; beyond, a buffer goes back to the system.
const MOST: usize = 1 << 29;

/// Buffers that no tensor uses, by length.
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

/// `n` numbers for a result that writes them all: what they are is unspecified.
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

/// `n` zeros.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    let mut values = buffer(n);
    values.fill(0.0);
    values
}

/// A tensor whose memory comes back when it is dropped.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    if values.len() < LEAST {
        return FlexTensor::from_data(TensorData::new(values, shape));
    }
    let length = size_of_val(&values[..]);
    // SAFETY: the controller holds `length` initialised bytes.
    let bytes = unsafe { Bytes::from_controller(Box::new(Recycled(values)), length) };
    FlexTensor::from_data(TensorData::from_bytes(bytes, shape, DType::F32))
}

/// The memory of a tensor.
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
        // SAFETY: the caller writes initialised bytes only, as the trait demands.
        Ok(unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
        // SAFETY: initialised bytes are bytes that may be so.
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
