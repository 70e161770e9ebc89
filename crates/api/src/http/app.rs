//! What every handler has at hand.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use fleet::ids::{BatchId, Tenant};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::tickets::Tickets;
use crate::shared::Shared;

/// The state of the router.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) gate: Gate,
    pub(crate) tickets: Tickets,
    pub(crate) in_flight: InFlight,
    pub(crate) shutdown: CancellationToken,
}

/// How handlers take it.
pub(crate) type AppState = State<Arc<App>>;

/// Batches whose first request is being answered by this process. Another process that answers the same request at
/// the same time writes the same objects, so that nothing breaks when this is not known everywhere.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: Mutex<HashSet<(Tenant, BatchId)>>,
}

impl InFlight {
    /// `None` when the batch is in flight already; otherwise it is until the guard goes.
    pub(crate) fn enter(&self, tenant: &Tenant, batch: BatchId) -> Option<InFlightGuard<'_>> {
        let entry = (tenant.clone(), batch);
        let is_first = self.lock().insert(entry.clone());
        // Lazily: a guard that is made and dropped would end the other's flight.
        is_first.then(|| InFlightGuard { of: self, entry })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(Tenant, BatchId)>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the request.
#[derive(Debug)]
pub(crate) struct InFlightGuard<'a> {
    of: &'a InFlight,
    entry: (Tenant, BatchId),
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.of.lock().remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_in_flight_once() {
        let flights = InFlight::default();
        let (a, b): (Tenant, Tenant) = ("a".parse().unwrap(), "b".parse().unwrap());
        let batch = BatchId::of_key(&a, "k");
        let guard = flights.enter(&a, batch);
        assert!(guard.is_some() && flights.enter(&a, batch).is_none());
        assert!(flights.enter(&b, batch).is_some());
        drop(guard);
        assert!(flights.enter(&a, batch).is_some());
    }
}
