//! Which batches need not be done any more: cancelled ones, and those that were deleted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet::ids::{BatchId, Tenant};
use fleet::layout::BatchKeys;
use store::{Store, StoreError};
use tokio::time::Instant;

/// How long an answer of the bucket holds: it is asked this often for a batch, not for every photo.
const HOLDS: Duration = Duration::from_secs(5);
/// Batches that are remembered; the oldest answers go first.
const REMEMBERED: usize = 1024;

/// What is known of batches: from commands at once, from the bucket for those who missed the command.
#[derive(Debug, Default)]
pub(crate) struct UnwantedBatches {
    known: Mutex<HashMap<(Tenant, BatchId), Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    unwanted: bool,
    since: Instant,
}

impl UnwantedBatches {
    /// Somebody said so.
    pub(crate) fn add(&self, tenant: Tenant, batch: BatchId) {
        self.remember(tenant, batch, true);
    }

    /// Whether nobody wants the batch's results any more. When the bucket does not tell, somebody does.
    pub(crate) async fn contains(&self, home: &dyn Store, tenant: &Tenant, batch: BatchId) -> bool {
        let known = self.known().get(&(tenant.clone(), batch)).copied();
        if let Some(known) = known
            && known.since.elapsed() < HOLDS
        {
            return known.unwanted;
        }
        match ask(home, &BatchKeys::new(tenant, batch)).await {
            Ok(unwanted) => {
                self.remember(tenant.clone(), batch, unwanted);
                unwanted
            }
            Err(error) => {
                tracing::debug!(%batch, %error, "whether the batch is cancelled is not known");
                false
            }
        }
    }

    fn remember(&self, tenant: Tenant, batch: BatchId, unwanted: bool) {
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.retain(|_, known| known.since.elapsed() < HOLDS);
        }
        if known.len() < REMEMBERED {
            let since = Instant::now();
            known.insert((tenant, batch), Known { unwanted, since });
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Tenant, BatchId), Known>> {
        // Each change is complete before its guard goes.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(home: &dyn Store, keys: &BatchKeys) -> Result<bool, StoreError> {
    let cancelled = home.head(&keys.cancelled()).await?.is_some();
    Ok(cancelled || home.head(&keys.manifest()).await?.is_none())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::FolderStore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_marker_is_seen_and_commands_are_quicker() {
        let folder = tempfile::tempdir().unwrap();
        let home = FolderStore::new(folder.path());
        let (tenant, batch) = (Tenant::local(), BatchId::from(ulid::Ulid::from_parts(1, 2)));
        let batches = UnwantedBatches::default();
        let manifest = |batch| BatchKeys::new(&tenant, batch).manifest();
        let put = async |key: String| home.put(&key, Bytes::new(), "text/plain").await.unwrap();
        put(manifest(batch)).await;
        assert!(!batches.contains(&home, &tenant, batch).await);

        let marker = BatchKeys::new(&tenant, batch).cancelled();
        put(marker).await;
        assert!(!batches.contains(&home, &tenant, batch).await, "the answer holds");
        tokio::time::advance(HOLDS).await;
        assert!(batches.contains(&home, &tenant, batch).await);

        let other = BatchId::from(ulid::Ulid::from_parts(1, 3));
        put(manifest(other)).await;
        assert!(!batches.contains(&home, &tenant, other).await);
        batches.add(tenant.clone(), other);
        assert!(
            batches.contains(&home, &tenant, other).await,
            "a command counts at once"
        );
    }

    #[tokio::test]
    async fn a_batch_that_was_deleted_is_unwanted() {
        let folder = tempfile::tempdir().unwrap();
        let home = FolderStore::new(folder.path());
        let batch = BatchId::from(ulid::Ulid::from_parts(1, 2));
        let batches = UnwantedBatches::default();
        assert!(batches.contains(&home, &Tenant::local(), batch).await);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let batches = UnwantedBatches::default();
        for n in 0..2 * REMEMBERED as u128 {
            batches.add(Tenant::local(), BatchId::from(ulid::Ulid::from_parts(1, n)));
        }
        assert_eq!(batches.known().len(), REMEMBERED);
    }
}
