//! From a batch to its jobs.

use std::time::Duration;

use fleet::batch::{BatchState, Expanded, Stage};
use fleet::manifest::Manifest;

use super::chain::Lease;
use super::publish::Jobs;
use super::source::{self, Refusal, reason};
use super::trouble::Trouble;
use super::{finish, items, tell};
use crate::census::Census;
use crate::objects;

/// When a batch is looked at for the first time after its jobs were published.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Lists the photos unless that was done, publishes the jobs of those that have no result, and arms finalise.
pub(super) async fn expand(lease: Lease<'_>) -> Result<(), Trouble> {
    let Some((mut lease, manifest)) = open(lease).await? else {
        return Ok(());
    };
    let home = lease.shared.buckets.home();
    if home.head(&lease.keys.cancelled()).await?.is_some() {
        return lease.arm(Stage::Finalise, None).await;
    }
    let (expanded, census) = match recall(&lease).await? {
        Some(expanded) => (expanded, Census::take(home, &lease.keys).await?),
        None => match list(&mut lease, &manifest).await {
            Ok(expanded) => (expanded, Census::default()),
            Err(Refusal::Trouble(trouble)) => return Err(trouble),
            Err(Refusal::Reason(reason)) => return finish::fail(lease, Some(&manifest), reason).await,
        },
    };
    tell(&lease, BatchState::Running).await;
    publish(lease, &manifest, &expanded, &census).await
}

/// The batch of a chain that has work to do; `None` when it has none, and ended here.
pub(super) async fn open(lease: Lease<'_>) -> Result<Option<(Lease<'_>, Manifest)>, Trouble> {
    let home = lease.shared.buckets.home();
    let manifest: Option<Manifest> = match objects::read(home, &lease.keys.manifest()).await {
        Ok(manifest) => manifest,
        Err(error) if error.is_damage() => {
            let reason = reason("damaged_manifest", format!("{error}. Submit the batch again."));
            return finish::fail(lease, None, reason).await.map(|()| None);
        }
        Err(error) => return Err(error.into()),
    };
    let Some(manifest) = manifest else {
        tracing::info!("the batch was deleted");
        return lease.end().await.map(|()| None);
    };
    // A coordinator was stopped between the last document and the end of the chain.
    if let Some(finished) = objects::read(home, &lease.keys.finished()).await? {
        return finish::close(lease, Some(&manifest), &finished)
            .await
            .map(|()| None);
    }
    Ok(Some((lease, manifest)))
}

/// What an earlier expansion found.
pub(super) async fn recall(lease: &Lease<'_>) -> Result<Option<Expanded>, Trouble> {
    Ok(objects::read(lease.shared.buckets.home(), &lease.keys.expanded()).await?)
}

async fn list(lease: &mut Lease<'_>, manifest: &Manifest) -> Result<Expanded, Refusal> {
    let (shared, keys) = (lease.shared, lease.keys.clone());
    let home = shared.buckets.home();
    let max_photos = shared.config.coordinator.max_photos;
    let already = async {
        match home.head(&keys.expanded()).await? {
            Some(_) => Err(Trouble::Superseded),
            None => Ok(()),
        }
    };
    let work = async {
        match source::items(&shared.buckets, &keys, &manifest.source, max_photos).await? {
            Some(items) => items::write(home, &keys, items, max_photos, already).await,
            None => items::count(home, &keys, max_photos).await,
        }
    };
    match lease.keep(work).await {
        Ok(expanded) => {
            objects::write(home, &keys.expanded(), &expanded).await?;
            Ok(expanded)
        }
        // A message that came twice was faster: there is one list of items, and it is theirs.
        Err(refusal) => match recall(lease).await {
            Ok(Some(expanded)) => Ok(expanded),
            _ => Err(refusal),
        },
    }
}

/// Publishes the jobs of photos that `census` has not, and arms finalise.
pub(super) async fn publish(
    mut lease: Lease<'_>,
    manifest: &Manifest,
    expanded: &Expanded,
    census: &Census,
) -> Result<(), Trouble> {
    let progress = &lease.shared.progress;
    progress.seed(&lease.tenant, lease.batch, expanded.photos, census);
    let keys = lease.keys.clone();
    let mut jobs = Jobs::new(&lease, manifest, expanded);
    let published = lease.keep(jobs.publish(&keys, &census.done)).await?;
    tracing::info!(photos = expanded.photos, published, "batch expanded");
    lease.marker.done = census.done.len();
    lease.marker.since_ms = lease.shared.clock.now_ms();
    finish::look_again(lease, FIRST_LOOK).await
}
