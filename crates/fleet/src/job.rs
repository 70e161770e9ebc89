//! What coordinators tell workers, and each other.

use serde::{Deserialize, Serialize};

use crate::ids::{BatchId, Tenant};
use crate::lifecycle::Order;
use crate::manifest::{BatchOptions, Item};
use crate::result::Digest;

/// One photo to analyse: a message on the bulk or the express lane. It says everything that a worker needs, so that a
/// worker reads no manifest. `(batch, item.index)` decides where the result goes: doing a job twice writes the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Whose.
    pub tenant: Tenant,
    /// Of which batch.
    pub batch: BatchId,
    /// The photo.
    pub item: Item,
    /// What is to be done with it.
    pub options: BatchOptions,
    /// What the batch pinned: a worker with another bundle leaves the job to others.
    pub digest: Digest,
    /// When it was published, milliseconds of Unix time.
    pub published_ms: u64,
}

/// A message on the control lane, for whichever coordinator takes it. Every one may come twice, or again after it was
/// half done, and is then harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Control {
    /// List the photos, write the items, publish the jobs that have no result yet, then arm `Finalise`.
    Expand {
        /// Whose.
        tenant: Tenant,
        /// Which batch.
        batch: BatchId,
        /// See [`Active::chain`](crate::batch::Active::chain).
        chain: String,
    },
    /// Write the documents if every photo has a result, else come back later.
    Finalise {
        /// Whose.
        tenant: Tenant,
        /// Which batch.
        batch: BatchId,
        /// See [`Active::chain`](crate::batch::Active::chain).
        chain: String,
    },
    /// Take up the failed photos once more.
    Retry {
        /// Whose.
        tenant: Tenant,
        /// Which batch.
        batch: BatchId,
        /// See [`Active::chain`](crate::batch::Active::chain).
        chain: String,
    },
    /// Tell the batch's webhook that it is finished.
    Notify {
        /// Whose.
        tenant: Tenant,
        /// Which batch.
        batch: BatchId,
        /// Which delivery this is, the same in every try of it (`webhook-id`).
        id: String,
        /// Tries before this one.
        tries: u32,
        /// Not before this, milliseconds of Unix time: a delay may be longer than the broker's longest.
        #[serde(default)]
        due_ms: u64,
    },
}

/// An operator's or a coordinator's word to all workers, on the fleet fanout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Jobs of this batch need not be done any more. The marker in the bucket says so, too, to who did not hear it.
    Cancel {
        /// Whose.
        tenant: Tenant,
        /// Which batch.
        batch: BatchId,
    },
    /// What is to become of the models.
    Models {
        /// What answers refer to ([`Event::Answer`](crate::event::Event::Answer)).
        id: String,
        /// The worker that is meant; absent: all.
        #[serde(default)]
        worker: Option<String>,
        /// What to do.
        order: Order,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_say_what_to_do_first() {
        let control = Control::Expand {
            tenant: Tenant::local(),
            batch: "01KB2Z3C9Q4T7V8W5X6Y0A1B2C".parse().unwrap(),
            chain: "c".into(),
        };
        let text = serde_json::to_string(&control).unwrap();
        assert_eq!(
            text,
            r#"{"do":"expand","tenant":"local","batch":"01KB2Z3C9Q4T7V8W5X6Y0A1B2C","chain":"c"}"#
        );
        assert_eq!(serde_json::from_str::<Control>(&text).unwrap(), control);
        assert!(serde_json::from_str::<Control>(r#"{"do":"expand","tenant":"../x"}"#).is_err());
    }
}
