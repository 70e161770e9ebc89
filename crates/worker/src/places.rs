//! Who may go to the engine next.

use queue::Lane;
use tokio::sync::{Semaphore, SemaphorePermit};

/// As many places as the engine has.
///
/// Those who wait are served in order, except that of the bulk lane only one waits at a time: an express photo goes
/// before all others of them.
#[derive(Debug)]
pub(crate) struct Places {
    places: Semaphore,
    bulk: tokio::sync::Mutex<()>,
    count: u32,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Places {
    /// For an engine that takes `count` photos.
    pub(crate) fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(u32::MAX / 8);
        Self {
            places: Semaphore::new(count as usize),
            bulk: tokio::sync::Mutex::default(),
            count,
        }
    }

    /// Waits for a place, or for all of them: `alone`, nothing else is with the engine. Cancel-safe.
    pub(crate) async fn enter(&self, lane: Lane, alone: bool) -> Place<'_> {
        let _turn = match lane {
            Lane::Express => None,
            _ => Some(self.bulk.lock().await),
        };
        let count = if alone { self.count } else { 1 };
        // The semaphore is never closed.
        let permit = self.places.acquire_many(count).await.ok();
        Place { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::task::yield_now;

    use super::*;

    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn express_passes_all_of_bulk_but_one() {
        let places = Arc::new(Places::new(2));
        let first = places.enter(Lane::Bulk, false).await;
        let second = places.enter(Lane::Bulk, false).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, lane) in [
            ("bulk 1", Lane::Bulk),
            ("bulk 2", Lane::Bulk),
            ("bulk 3", Lane::Bulk),
            ("express", Lane::Express),
        ] {
            let (places, order) = (Arc::clone(&places), Arc::clone(&order));
            tokio::spawn(async move {
                let _place = places.enter(lane, false).await;
                order.lock().unwrap().push(name);
                yield_now().await;
            });
            settle().await;
        }
        drop(first);
        settle().await;
        drop(second);
        settle().await;
        assert_eq!(*order.lock().unwrap(), ["bulk 1", "express", "bulk 2", "bulk 3"]);
    }

    #[tokio::test]
    async fn who_is_alone_has_no_company() {
        let places = Places::new(3);
        let one = places.enter(Lane::Bulk, false).await;
        let mut alone = Box::pin(places.enter(Lane::Bulk, true));
        assert!(futures_util::poll!(&mut alone).is_pending(), "somebody is there");
        drop(one);
        let alone = alone.await;
        let mut other = Box::pin(places.enter(Lane::Express, false));
        assert!(futures_util::poll!(&mut other).is_pending());
        drop(alone);
        other.await;
    }
}
