//! A cache of packed weights that the threads and micro-batches of a training step share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use burn::backend::flex::FlexTensor;

use super::super::as_slice;
use super::{Matrix, Packed, Side};

/// Address and shape `[o, k]` of a weight, and whether it is packed for the backward pass.
type Key = (usize, [usize; 2], bool);

#[derive(Default)]
struct Shared {
    /// Number of live [`SharedWeights`] guards.
    scopes: usize,
    /// Packed weights, with the tensors whose addresses are in the keys: holding them keeps the addresses unique.
    packed: HashMap<Key, (FlexTensor, Arc<Packed>)>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

fn with_shared<T>(f: impl FnOnce(&mut Shared) -> T) -> T {
    let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
    f(shared.get_or_insert_default())
}

/// A guard during whose lifetime each weight is packed once for all threads. No weight may be changed in place meanwhile.
#[derive(Debug)]
pub struct SharedWeights(());

/// Shares packed weights between threads until the guard is dropped.
#[must_use]
pub fn share_packed_weights() -> SharedWeights {
    with_shared(|shared| shared.scopes += 1);
    SharedWeights(())
}

impl Drop for SharedWeights {
    fn drop(&mut self) {
        with_shared(|shared| {
            shared.scopes -= 1;
            if shared.scopes == 0 {
                shared.packed.clear();
            }
        });
    }
}

/// Returns a contiguous weight `[o, k]` packed as the right operand of `x w^T`, or with `backward` of `g w`.
pub(crate) fn packed_weight(weight: &FlexTensor, size: [usize; 2], backward: bool) -> Arc<Packed> {
    let values = as_slice(weight);
    let key = (values.as_ptr().addr(), size, backward);
    let found = with_shared(|shared| shared.packed.get(&key).map(|(_, packed)| packed.clone()));
    if let Some(found) = found {
        return found;
    }
    let [o, k] = size;
    let mut packed = Packed::default();
    if backward {
        packed.pack(Side::Right, Matrix::Columns(values, k), [k, o])
    } else {
        packed.pack(Side::Right, Matrix::Rows(values, k), [o, k])
    }
    let packed = Arc::new(packed);
    with_shared(|shared| {
        if shared.scopes > 0 {
            let entry = (weight.clone(), packed.clone());
            shared.packed.insert(key, entry);
        }
    });
    packed
}
