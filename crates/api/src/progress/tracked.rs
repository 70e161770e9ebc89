//! What is remembered of one batch. Pure beside [`Facts::read`]: the time is passed in.

use std::sync::Arc;

use fleet::api::BatchStatus;
use fleet::batch::{Active, BatchState, Counts, Expanded, Finished, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::layout::{BatchKeys, active_key};
use fleet::manifest::{Manifest, Source};
use fleet::result::Outcome;
use report::ExportFormat;
use store::Store;
use tokio::sync::watch;

use super::rate::Rate;
use crate::census::Census;
use crate::objects::{self, ObjectError};

/// An answer from memory that is older has the bucket looked at again.
const FRESH_MS: u64 = 5_000;
/// The same of a finished batch, which changes only when it is retried or deleted from elsewhere.
const FRESH_FINISHED_MS: u64 = 30_000;

/// The documents that say what state a batch is in.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    manifest: Arc<Manifest>,
    active: bool,
    cancelled: bool,
    expanded: Option<Expanded>,
    finished: Option<Finished>,
}

impl Facts {
    /// Reads them, and lists the results of a batch that has any to come; `None` when there is no such batch.
    pub(super) async fn read(
        home: &Arc<dyn Store>,
        keys: &BatchKeys,
        (tenant, batch): &(Tenant, BatchId),
        known: Option<Arc<Manifest>>,
    ) -> Result<Option<(Self, Option<Census>)>, ObjectError> {
        let manifest_key = keys.manifest();
        let manifest = match known {
            // It never changes, but a batch may be deleted.
            Some(manifest) => home.head(&manifest_key).await?.map(|_| manifest),
            None => objects::read(home, &manifest_key).await?.map(Arc::new),
        };
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        let mut finished: Option<Finished> = objects::read(home, &keys.finished()).await?;
        let marker = active_key(tenant, *batch);
        if finished.is_some() {
            let active = match objects::read::<Active>(home, &marker).await {
                Err(error) if error.is_damage() => None,
                active => active?,
            };
            // What it says is over, and about to be removed.
            finished = finished.filter(|_| active.is_none_or(|active| active.stage != Stage::Retry));
        }
        let mut facts = Self {
            manifest,
            active: false,
            cancelled: false,
            expanded: None,
            finished,
        };
        if facts.finished.is_some() {
            return Ok(Some((facts, None)));
        }
        facts.expanded = objects::read(home, &keys.expanded()).await?;
        facts.active = home.head(&marker).await?.is_some();
        facts.cancelled = home.head(&keys.cancelled()).await?.is_some();
        let census = match facts.expanded {
            Some(_) => Some(Census::take(home, keys).await?),
            None => None,
        };
        Ok(Some((facts, census)))
    }
}

/// One batch.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    facts: Option<Facts>,
    photos: Option<u64>,
    census: Census,
    /// What events said since a look at the bucket began: it may or may not have seen that.
    meanwhile: Census,
    looked_ms: u64,
    is_looking: bool,
    /// Rises when the batch is changed: a look that began before is worth nothing.
    generation: u64,
    rate: Rate,
    report_until_ms: Option<u64>,
    version: watch::Sender<u64>,
    pub(super) loading: Arc<tokio::sync::Mutex<()>>,
}

/// Says which state of affairs a look at the bucket began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Tracked {
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.version.receiver_count() > 0
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn manifest(&self) -> Option<Arc<Manifest>> {
        self.facts.as_ref().map(|facts| Arc::clone(&facts.manifest))
    }

    /// Whether it is time to look at the bucket again, and nobody does; the caller does.
    pub(super) fn begin_refresh(&mut self, now_ms: u64) -> bool {
        let finished = self.facts.as_ref().is_some_and(|facts| facts.finished.is_some());
        let fresh = if finished { FRESH_FINISHED_MS } else { FRESH_MS };
        if self.is_looking || now_ms.saturating_sub(self.looked_ms) < fresh {
            return false;
        }
        self.is_looking = true;
        true
    }

    pub(super) fn begin_load(&mut self) -> Ticket {
        self.is_looking = true;
        self.meanwhile = Census::default();
        Ticket(self.generation)
    }

    pub(super) fn failed(&mut self, ticket: Ticket) {
        if ticket == Ticket(self.generation) {
            self.is_looking = false;
        }
    }

    pub(super) fn vanished(&mut self, ticket: Ticket) {
        if ticket == Ticket(self.generation) {
            self.forget();
        }
    }

    pub(super) fn loaded(&mut self, ticket: Ticket, facts: Facts, census: Option<Census>, now_ms: u64) {
        if ticket != Ticket(self.generation) {
            return;
        }
        if let Some(expanded) = &facts.expanded {
            self.counted(expanded.photos, census.unwrap_or_default(), now_ms);
        }
        self.looked_ms = now_ms;
        self.is_looking = false;
        self.facts = Some(facts);
        self.changed();
    }

    /// Takes in a count of the bucket, and adds what events said since it began.
    pub(super) fn counted(&mut self, photos: u64, mut census: Census, now_ms: u64) {
        census.done |= &self.meanwhile.done;
        census.failed -= &self.meanwhile.done;
        census.failed |= &self.meanwhile.failed;
        let known = self.photos == Some(photos);
        let new = census.done.len().saturating_sub(self.census.done.len());
        if known && new > 0 {
            self.rate.add(new, now_ms);
        }
        self.photos = Some(photos);
        self.census = census;
        self.changed();
    }

    /// A photo has its result. Tells whether it was the last and somebody wants to know.
    pub(super) fn photo(&mut self, index: u64, outcome: Outcome, now_ms: u64) -> bool {
        let Ok(index) = u32::try_from(index) else {
            return false;
        };
        for census in [&mut self.census, &mut self.meanwhile] {
            match outcome {
                Outcome::Ok => census.failed.remove(index),
                Outcome::Failed => census.failed.insert(index),
            };
        }
        self.meanwhile.done.insert(index);
        if self.census.done.insert(index) {
            self.rate.add(1, now_ms);
        }
        self.changed();
        self.is_complete() && self.report_until_ms.take_if(|until| now_ms < *until).is_some()
    }

    /// Somebody said that the batch reached `state`.
    pub(super) fn reached(&mut self, state: BatchState) {
        if state == BatchState::Expanding {
            // Its failures are taken up once more.
            for census in [&mut self.census, &mut self.meanwhile] {
                census.done -= &census.failed;
                census.failed.clear();
            }
        }
        if state != BatchState::Finalising {
            self.look_again();
        }
        self.changed();
    }

    fn look_again(&mut self) {
        self.facts = None;
        self.looked_ms = 0;
        self.is_looking = false;
        self.generation += 1;
    }

    pub(super) fn forget(&mut self) {
        self.photos = None;
        self.census = Census::default();
        self.meanwhile = Census::default();
        self.look_again();
        self.changed();
    }

    pub(super) fn is_complete(&self) -> bool {
        self.photos.is_some_and(|photos| self.census.done.len() >= photos)
    }

    /// Wants to know of the last result before `until_ms`; `true` when it is there already.
    pub(super) fn report_until(&mut self, until_ms: u64) -> bool {
        let complete = self.is_complete();
        self.report_until_ms = (!complete).then_some(until_ms);
        complete
    }

    /// `None` before the bucket was looked at.
    pub(super) fn status(&self, tenant: &Tenant, batch: BatchId, now_ms: u64) -> Option<BatchStatus> {
        let facts = self.facts.as_ref()?;
        let manifest = &facts.manifest;
        let state = self.state(facts);
        let counts = match &facts.finished {
            Some(finished) => finished.counts,
            None => self
                .photos
                .map_or(Counts::default(), |photos| self.census.counts(photos)),
        };
        let rate = match state {
            BatchState::Running => self.rate.per_second(now_ms),
            _ => None,
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let eta_seconds = rate.map(|rate| counts.photos.saturating_sub(counts.done()) as f64 / rate);
        let has_documents =
            facts.expanded.is_some() || facts.finished.as_ref().is_some_and(|f| f.counts.photos > 0);
        Some(BatchStatus {
            id: batch,
            tenant: tenant.clone(),
            name: manifest.name.clone(),
            state,
            created_at: manifest.created_at.clone(),
            finished_at: facts.finished.as_ref().map(|finished| finished.at.clone()),
            counts,
            rate,
            eta_seconds,
            reason: facts
                .finished
                .as_ref()
                .and_then(|finished| finished.reason.clone()),
            options: manifest.options.clone(),
            bundle: manifest.bundle.clone(),
            digest: manifest.digest.clone(),
            exports: match has_documents {
                true => ExportFormat::ALL
                    .iter()
                    .map(|format| format.file_name().to_owned())
                    .collect(),
                false => Vec::new(),
            },
        })
    }

    fn state(&self, facts: &Facts) -> BatchState {
        if let Some(finished) = &facts.finished {
            finished.state
        } else if facts.cancelled || self.is_complete() {
            BatchState::Finalising
        } else if facts.expanded.is_some() {
            BatchState::Running
        } else if facts.manifest.source == Source::Upload && !facts.active {
            BatchState::Uploading
        } else {
            BatchState::Expanding
        }
    }
}
