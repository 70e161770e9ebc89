//! The fleet's own bucket, and those that photos may be read from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::port::Store;

/// Every store that a role may use, by name.
#[derive(Clone)]
pub struct Buckets {
    home: Arc<dyn Store>,
    sources: BTreeMap<String, Arc<dyn Store>>,
}

impl Buckets {
    /// With `home` as the fleet's own store, where everything is written, and no other.
    pub fn new(home: Arc<dyn Store>) -> Self {
        Self {
            home,
            sources: BTreeMap::new(),
        }
    }

    /// Photos may be read from `store`, too, under the name `bucket`.
    #[must_use]
    pub fn with_source(mut self, bucket: impl Into<String>, store: Arc<dyn Store>) -> Self {
        self.sources.insert(bucket.into(), store);
        self
    }

    /// The fleet's own.
    pub fn home(&self) -> &Arc<dyn Store> {
        &self.home
    }

    /// Where a photo is: `None` names the fleet's own. No answer means that nobody allowed that bucket.
    pub fn of(&self, bucket: Option<&str>) -> Option<&Arc<dyn Store>> {
        match bucket {
            None => Some(&self.home),
            Some(name) => self.sources.get(name),
        }
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("sources", &self.sources.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
