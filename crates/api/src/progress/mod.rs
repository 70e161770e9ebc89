//! How far batches are: counted from the bucket, kept fresh by events, so that asking costs no listing.
//!
//! A batch that somebody asked about is *tracked*: which of its photos have a result, as a set of indices (10,000
//! photos are a few kilobytes), and the few documents that say what state it is in. Events put photos into the set;
//! because they may be lost, an answer from memory that is some seconds old has the bucket looked at again behind it.

mod rate;
#[cfg(test)]
mod tests;
mod tracked;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet::api::BatchStatus;
use fleet::event::Event;
use fleet::ids::{BatchId, Tenant};
use fleet::layout::BatchKeys;
use lru::LruCache;
use store::Buckets;
use tokio::sync::{Notify, watch};

use self::tracked::{Facts, Tracked};
use crate::census::Census;
use crate::clock::Clock;
use crate::objects::ObjectError;

/// Batches kept in memory beside those that somebody watches: a few megabytes.
const TRACKED: usize = 500;

type Key = (Tenant, BatchId);

/// What is known of the batches that somebody asked about.
#[derive(Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    buckets: Buckets,
    clock: Arc<dyn Clock>,
    tracked: Mutex<LruCache<Key, Tracked>>,
    complete: Mutex<VecDeque<Key>>,
    completed: Notify,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("tracked", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// Of nothing yet.
    pub fn new(buckets: Buckets, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                buckets,
                clock,
                tracked: Mutex::new(LruCache::unbounded()),
                complete: Mutex::default(),
                completed: Notify::new(),
            }),
        }
    }

    /// The batch as it stands; `None` when there is no such batch. From memory when it was asked about before; events
    /// and a look at the bucket every few seconds keep that fresh.
    ///
    /// # Errors
    /// When the bucket had to be asked and does not answer, or holds something damaged.
    pub async fn status(&self, tenant: &Tenant, batch: BatchId) -> Result<Option<BatchStatus>, ObjectError> {
        let key = (tenant.clone(), batch);
        let loading = {
            let now = self.inner.clock.now_ms();
            let mut all = self.lock();
            let tracked = entry(&mut all, &key);
            if let Some(status) = tracked.status(tenant, batch, now) {
                if tracked.begin_refresh(now) {
                    self.refresh_behind(key);
                }
                return Ok(Some(status));
            }
            Arc::clone(&tracked.loading)
        };
        // Whoever asks meanwhile waits for one look instead of taking its own.
        let _alone = loading.lock().await;
        loop {
            if let Some(known) = self.known(&key) {
                return Ok(Some(known));
            }
            // What is forgotten while it is loaded is no batch that is not there: look again.
            if !self.load(&key).await? {
                return Ok(None);
            }
        }
    }

    fn known(&self, key: &Key) -> Option<BatchStatus> {
        let now = self.inner.clock.now_ms();
        self.lock().get(key)?.status(&key.0, key.1, now)
    }

    /// Changes whenever [`status`](Self::status) may answer differently than before. Ask for the status now and then
    /// even if nothing changes: that is what has the bucket looked at again.
    pub fn changes(&self, tenant: &Tenant, batch: BatchId) -> watch::Receiver<u64> {
        entry(&mut self.lock(), &(tenant.clone(), batch)).changes()
    }

    /// Takes in what was said on the events fanout.
    pub fn record(&self, event: &Event) {
        let now = self.inner.clock.now_ms();
        match event {
            Event::Photo {
                tenant,
                batch,
                index,
                outcome,
                ..
            } => {
                let key = (tenant.clone(), *batch);
                let complete = match self.lock().peek_mut(&key) {
                    Some(tracked) => tracked.photo(*index, *outcome, now),
                    None => false,
                };
                if complete {
                    self.report(key);
                }
            }
            Event::Batch { tenant, batch, state } => {
                if let Some(tracked) = self.lock().peek_mut(&(tenant.clone(), *batch)) {
                    tracked.reached(*state);
                }
            }
            Event::Heartbeat(_) | Event::Unload { .. } | Event::Answer { .. } => {}
        }
    }

    /// Forgets what was remembered: the batch was changed from this process (submitted, cancelled, retried, deleted).
    pub fn invalidate(&self, tenant: &Tenant, batch: BatchId) {
        if let Some(tracked) = self.lock().peek_mut(&(tenant.clone(), batch)) {
            tracked.forget();
        }
    }

    /// Takes in what a coordinator counted in the bucket, of a batch with so many photos.
    pub(crate) fn seed(&self, tenant: &Tenant, batch: BatchId, photos: u64, census: &Census) {
        let now = self.inner.clock.now_ms();
        entry(&mut self.lock(), &(tenant.clone(), batch)).counted(photos, census.clone(), now);
    }

    /// Whether every photo of a batch that was [seeded](Self::seed) has a result.
    pub(crate) fn is_complete(&self, tenant: &Tenant, batch: BatchId) -> bool {
        let key = (tenant.clone(), batch);
        self.lock().peek(&key).is_some_and(Tracked::is_complete)
    }

    /// Has [`next_complete`](Self::next_complete) tell when the batch's last result is heard of before `until_ms` of
    /// Unix time; afterwards somebody else looks at it.
    pub(crate) fn report_completion(&self, tenant: &Tenant, batch: BatchId, until_ms: u64) {
        let key = (tenant.clone(), batch);
        let complete = self
            .lock()
            .peek_mut(&key)
            .is_some_and(|tracked| tracked.report_until(until_ms));
        if complete {
            self.report(key);
        }
    }

    /// The next batch whose last result was heard of. Cancel-safe.
    pub(crate) async fn next_complete(&self) -> Key {
        loop {
            let next = self.complete().pop_front();
            if let Some(key) = next {
                return key;
            }
            self.inner.completed.notified().await;
        }
    }

    fn report(&self, key: Key) {
        self.complete().push_back(key);
        self.inner.completed.notify_one();
    }

    fn refresh_behind(&self, key: Key) {
        let progress = self.clone();
        tokio::spawn(async move {
            if let Err(error) = progress.load(&key).await {
                tracing::warn!(tenant = %key.0, batch = %key.1, %error, "a batch could not be counted again");
            }
        });
    }

    /// Looks at the bucket, and takes in what was found unless the batch was changed meanwhile.
    async fn load(&self, key: &Key) -> Result<bool, ObjectError> {
        let (ticket, manifest) = {
            let mut all = self.lock();
            let tracked = entry(&mut all, key);
            (tracked.begin_load(), tracked.manifest())
        };
        let keys = BatchKeys::new(&key.0, key.1);
        let found = Facts::read(self.inner.buckets.home(), &keys, key, manifest).await;
        let now = self.inner.clock.now_ms();
        let mut all = self.lock();
        let tracked = entry(&mut all, key);
        match found {
            Ok(Some((facts, census))) => {
                tracked.loaded(ticket, facts, census, now);
                Ok(true)
            }
            Ok(None) => {
                tracked.vanished(ticket);
                if !tracked.is_watched() {
                    all.pop(key);
                }
                Ok(false)
            }
            Err(error) => {
                tracked.failed(ticket);
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Key, Tracked>> {
        // Each change is complete before its guard goes.
        self.inner.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self) -> MutexGuard<'_, VecDeque<Key>> {
        self.inner.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of `key`, made if need be. Makes room among those that nobody watches.
fn entry<'a>(all: &'a mut LruCache<Key, Tracked>, key: &Key) -> &'a mut Tracked {
    if !all.contains(key) {
        for _ in 0..all.len() {
            if all.len() < TRACKED {
                break;
            }
            if let Some((key, tracked)) = all.pop_lru()
                && tracked.is_watched()
            {
                // Its turn to go comes again; by then perhaps nobody watches.
                all.push(key, tracked);
            }
        }
    }
    all.get_or_insert_mut(key.clone(), Tracked::default)
}
