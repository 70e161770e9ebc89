//! Batches whose control message was lost: their marker is not touched any more.

use std::time::Duration;

use fleet::batch::{Active, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::layout::{ACTIVE, active_key, active_of};
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::ActiveBatches;
use super::chain::begin_again;
use super::trouble::Trouble;
use crate::objects;
use crate::shared::Shared;

/// A marker that was not touched for so long belongs to nobody. More than twice the longest time between two touches,
/// the half minute between two looks at a running batch.
pub(super) const STALE: Duration = Duration::from_secs(120);
const PERIOD: Duration = Duration::from_secs(60);
/// Before the first sweep: what was forgotten while no coordinator ran has waited long enough.
const FIRST: Duration = Duration::from_secs(5);
/// Batches looked at at the same time.
const AT_A_TIME: usize = 8;

/// Sweeps about once a minute until `shutdown`.
pub(super) async fn run(shared: &Shared, shutdown: &CancellationToken) {
    let mut forgotten = shared.config.coordinator.volatile_queue;
    let mut period = FIRST;
    loop {
        // Several coordinators that were started together do not sweep together.
        let pause = if forgotten {
            Duration::ZERO
        } else {
            period.mul_f64(0.75 + fastrand::f64() / 2.0)
        };
        if shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
        match shutdown.run_until_cancelled(sweep(shared, forgotten)).await {
            None => return,
            Some(Ok(())) => {
                forgotten = false;
                period = PERIOD;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "could not look for forgotten batches");
                // A start that failed is tried again, soon.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Starts every batch that belongs to nobody; with `all`, every batch, from the beginning. Notes how many there are.
pub(super) async fn sweep(shared: &Shared, all: bool) -> Result<(), Trouble> {
    let active = shared
        .buckets
        .home()
        .objects(ACTIVE, None)
        .map_err(Trouble::from)
        .map_ok(|object| async move {
            match active_of(&object.key) {
                Some((tenant, batch)) => look(shared, &tenant, batch, all).await,
                None => Ok(None),
            }
        })
        .try_buffer_unordered(AT_A_TIME)
        .try_fold(ActiveBatches::default(), async |so_far, begun| {
            Ok(so_far.and(begun))
        })
        .await?;
    shared.coordinator.set_active(active);
    Ok(())
}

impl ActiveBatches {
    /// With one more; `None` is none. The time of one whose beginning nobody wrote down is 0.
    fn and(self, begun_ms: Option<u64>) -> Self {
        let Some(begun_ms) = begun_ms else {
            return self;
        };
        let known = (begun_ms > 0).then_some(begun_ms);
        Self {
            batches: self.batches + 1,
            oldest_ms: self.oldest_ms.into_iter().chain(known).min(),
        }
    }
}

/// When the batch was submitted; `None` when it is no longer active.
async fn look(shared: &Shared, tenant: &Tenant, batch: BatchId, all: bool) -> Result<Option<u64>, Trouble> {
    let marker = match objects::read::<Active>(shared.buckets.home(), &active_key(tenant, batch)).await {
        Ok(None) => return Ok(None),
        Ok(marker) => marker,
        Err(error) if error.is_damage() => None,
        Err(error) => return Err(error.into()),
    };
    let (stage, touched_ms, begun_ms, traceparent) = marker.map_or((Stage::Expand, 0, 0, None), |marker| {
        (
            marker.stage,
            marker.touched_ms,
            marker.begun_ms,
            marker.traceparent,
        )
    });
    let silent_ms = shared.clock.now_ms().saturating_sub(touched_ms);
    if !all && u128::from(silent_ms) < STALE.as_millis() {
        return Ok(Some(begun_ms));
    }
    // Jobs were in the queue, too.
    let stage = if all && stage == Stage::Finalise {
        Stage::Expand
    } else {
        stage
    };
    tracing::warn!(%tenant, %batch, ?stage, silent_ms, "nobody works on a batch: it is started again");
    begin_again(shared, tenant, batch, stage, traceparent, begun_ms).await?;
    Ok(Some(begun_ms))
}
