//! Which batches need not be done any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet::ids::{BatchId, Tenant};
use fleet::layout::BatchKeys;
use store::Store;
use tokio::time::Instant;

/// How long an answer of the bucket holds: the marker is looked up this often for a batch, not for every photo.
const HOLDS: Duration = Duration::from_secs(5);
/// Batches that are remembered; the oldest answers go first.
const REMEMBERED: usize = 1024;

/// What is known of batches: from commands at once, from the marker in the bucket for those who missed the command.
#[derive(Debug, Default)]
pub(crate) struct CancelledBatches {
    known: Mutex<HashMap<(Tenant, BatchId), Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    cancelled: bool,
    since: Instant,
}

impl CancelledBatches {
    /// Somebody said so.
    pub(crate) fn add(&self, tenant: Tenant, batch: BatchId) {
        self.remember(tenant, batch, true);
    }

    /// Whether the batch is cancelled. When the bucket does not tell, it is not.
    pub(crate) async fn contains(&self, home: &dyn Store, tenant: &Tenant, batch: BatchId) -> bool {
        let known = self.known().get(&(tenant.clone(), batch)).copied();
        if let Some(known) = known
            && known.since.elapsed() < HOLDS
        {
            return known.cancelled;
        }
        match home.head(&BatchKeys::new(tenant, batch).cancelled()).await {
            Ok(marker) => {
                self.remember(tenant.clone(), batch, marker.is_some());
                marker.is_some()
            }
            Err(error) => {
                tracing::debug!(%batch, %error, "whether the batch is cancelled is not known");
                false
            }
        }
    }

    fn remember(&self, tenant: Tenant, batch: BatchId, cancelled: bool) {
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.retain(|_, known| known.since.elapsed() < HOLDS);
        }
        if known.len() < REMEMBERED {
            let since = Instant::now();
            known.insert((tenant, batch), Known { cancelled, since });
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Tenant, BatchId), Known>> {
        // Each change is complete before its guard goes.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let batches = CancelledBatches::default();
        assert!(!batches.contains(&home, &tenant, batch).await);

        let marker = BatchKeys::new(&tenant, batch).cancelled();
        home.put(&marker, Bytes::new(), "text/plain").await.unwrap();
        tokio::time::advance(HOLDS).await;
        assert!(batches.contains(&home, &tenant, batch).await);

        let other = BatchId::from(ulid::Ulid::from_parts(1, 3));
        assert!(!batches.contains(&home, &tenant, other).await);
        batches.add(tenant.clone(), other);
        assert!(
            batches.contains(&home, &tenant, other).await,
            "a command counts at once"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let batches = CancelledBatches::default();
        for n in 0..2 * REMEMBERED as u128 {
            batches.add(Tenant::local(), BatchId::from(ulid::Ulid::from_parts(1, n)));
        }
        assert_eq!(batches.known().len(), REMEMBERED);
    }
}
