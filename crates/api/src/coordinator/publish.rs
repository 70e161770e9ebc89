//! Jobs for the photos that have no result, in confirmed windows.

use fleet::batch::Expanded;
use fleet::job::Job;
use fleet::manifest::{Item, Manifest};
use futures_util::{Stream, TryStreamExt};
use queue::{Destination, Lane, Message};
use roaring::RoaringBitmap;

use super::chain::{Lease, traced};
use super::items;
use super::trouble::Trouble;
use crate::shared::Shared;

/// Jobs published in one call, about 1 MB.
const WINDOW: usize = 1_000;

/// Photos of one batch whose way is kept in traces, about: a trace with every photo of a big set is none that anybody
/// could look at.
const TRACED: u64 = 200;

/// Everything about a batch's jobs that is the same in all of them.
pub(super) struct Jobs<'a> {
    shared: &'a Shared,
    template: Job,
    lane: Lane,
    /// Of so many photos one is traced.
    one_of: u64,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(lease: &Lease<'a>, manifest: &Manifest, expanded: &Expanded) -> Self {
        Self {
            shared: lease.shared,
            template: Job {
                tenant: lease.tenant.clone(),
                batch: lease.batch,
                item: Item {
                    index: 0,
                    key: String::new(),
                    bucket: None,
                    size: None,
                    etag: None,
                    group: None,
                    sha256: None,
                    archive: None,
                },
                options: manifest.options.clone(),
                digest: manifest.digest.clone(),
                published_ms: 0,
            },
            one_of: expanded.photos.div_ceil(TRACED).max(1),
            lane: if expanded.express {
                Lane::Express
            } else {
                Lane::Bulk
            },
        }
    }

    /// Publishes the photos that are not `done`, and tells how many they were. Reading goes on while the broker
    /// confirms the window before.
    pub(super) async fn publish(
        &mut self,
        keys: &fleet::layout::BatchKeys,
        done: &RoaringBitmap,
    ) -> Result<u64, Trouble> {
        let (shared, lane) = (self.shared, self.lane);
        let mut items = std::pin::pin!(items::read(shared.buckets.home(), keys));
        let mut published = 0;
        let mut window = self.window(&mut items, done).await?;
        while !window.is_empty() {
            let publish = async {
                let to = Destination::Lane(lane);
                Ok::<_, Trouble>(shared.queue.publish(to, &window).await?)
            };
            let ((), next) = tokio::try_join!(publish, self.window(&mut items, done))?;
            published += window.len() as u64;
            window = next;
        }
        Ok(published)
    }

    async fn window(
        &mut self,
        items: &mut (impl Stream<Item = Result<Item, Trouble>> + Unpin),
        done: &RoaringBitmap,
    ) -> Result<Vec<Message>, Trouble> {
        let mut window = Vec::new();
        let kept = trace::traceparent();
        let quiet = kept.as_deref().map(trace::unsampled);
        while window.len() < WINDOW {
            let Some(item) = items.try_next().await? else {
                break;
            };
            if u32::try_from(item.index).is_ok_and(|index| done.contains(index)) {
                continue;
            }
            let traceparent = match item.index % self.one_of {
                0 => &kept,
                _ => &quiet,
            };
            self.template.item = item;
            self.template.published_ms = self.shared.clock.now_ms();
            window.push(traced(Message::json(&self.template)?, traceparent.as_deref()));
        }
        Ok(window)
    }
}
