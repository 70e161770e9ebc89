//! Failed photos taken up once more.

use fleet::batch::BatchState;
use fleet::layout::index_of;
use futures_util::TryStreamExt;

use super::chain::Lease;
use super::expand::{self, recall};
use super::tell;
use super::trouble::Trouble;
use crate::census::Census;
use crate::objects;

/// Failures whose results are removed at the same time.
const AT_A_TIME: usize = 16;

/// Removes what says that the batch is finished, then every failure: result, then marker. Only then the photos
/// without a result are published, so that no worker writes a new failure while the old ones are being removed. A
/// retry that was stopped anywhere goes on when its message comes again: what has no result is published.
pub(super) async fn retry(mut lease: Lease<'_>) -> Result<(), Trouble> {
    let shared = lease.shared;
    let home = shared.buckets.home();
    let keys = lease.keys.clone();
    let (Some(manifest), Some(expanded)) = (
        objects::read(home, &keys.manifest()).await?,
        recall(&lease).await?,
    ) else {
        return lease.end().await;
    };
    home.delete(&keys.finished()).await?;
    shared.progress.invalidate(&lease.tenant, lease.batch);
    tell(&lease, BatchState::Expanding).await;
    let remove = async {
        home.objects(&keys.failures(), None)
            .map_err(Trouble::from)
            .try_for_each_concurrent(AT_A_TIME, |marker| {
                let keys = &keys;
                async move {
                    if let Some(index) = index_of(&marker.key) {
                        home.delete(&keys.result(index)).await?;
                    }
                    Ok(home.delete(&marker.key).await?)
                }
            })
            .await
    };
    lease.keep(remove).await?;
    home.delete_below(&keys.report("")).await?;
    let census = Census::take(home, &keys).await?;
    expand::publish(lease, &manifest, &expanded, &census).await
}
