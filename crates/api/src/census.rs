//! Which photos of a batch have a result: by listing, never by counting as they come.

use std::sync::Arc;

use fleet::batch::Counts;
use fleet::layout::{BatchKeys, index_of};
use futures_util::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;
use store::{Store, StoreError};

/// The results that a listing found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Census {
    /// Photos with a result.
    pub(crate) done: RoaringBitmap,
    /// Photos that are marked as failed, with a result or (while a retry takes them up) without.
    pub(crate) failed: RoaringBitmap,
}

impl Census {
    /// Lists results, then failures: a failed result is written after its marker, so none is taken for a good one.
    pub(crate) async fn take(store: &Arc<dyn Store>, keys: &BatchKeys) -> Result<Self, StoreError> {
        Ok(Self {
            done: indices(store, &keys.results()).await?,
            failed: indices(store, &keys.failures()).await?,
        })
    }

    /// Of a batch with so many photos.
    pub(crate) fn counts(&self, photos: u64) -> Counts {
        let failed = self.done.intersection_len(&self.failed);
        Counts {
            photos,
            ok: self.done.len() - failed,
            failed,
        }
    }
}

async fn indices(store: &Arc<dyn Store>, prefix: &str) -> Result<RoaringBitmap, StoreError> {
    let mut found = RoaringBitmap::new();
    let mut objects = store.objects(prefix, None).boxed();
    while let Some(object) = objects.try_next().await? {
        if let Some(index) = index_of(&object.key).and_then(|index| u32::try_from(index).ok()) {
            found.insert(index);
        }
    }
    Ok(found)
}
