//! Keeps a session up, for as long as it takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backon::{ExponentialBuilder, Retryable};
use futures_util::{Stream, StreamExt, stream};
use lapin::Event;

use super::Shared;
use super::session::{Link, Session};
use crate::port::{Connection, QueueError};

/// Tells everybody that `session` is up.
pub(super) fn announce(shared: &Shared, session: Arc<Session>) {
    shared.link.send_replace(Link::Up(session));
    shared
        .connection
        .send_replace(Connection::Connected { blocked: None });
}

/// Runs until the queue is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let up = match &*shared.link.borrow() {
        Link::Up(session) => Some(Arc::clone(session)),
        Link::Down | Link::Closed => None,
    };
    let mut session = up;
    let closed = shared.closed.clone();
    let sessions = async {
        loop {
            if let Some(current) = session.take() {
                watch(&shared, &current).await;
                current.fail();
                // Half of it may still stand, and the broker would wait for ever for what is unacknowledged there.
                tokio::spawn(async move { current.close().await });
                tracing::warn!(broker = %shared.config.url, "connection to the broker lost");
                shared.link.send_replace(Link::Down);
                shared.connection.send_replace(Connection::Connecting {
                    failures: 0,
                    error: None,
                });
                shared.reconnects.fetch_add(1, Ordering::Relaxed);
                // A broker that accepts and drops at once must not be met in a tight loop, nor by a whole fleet in
                // the same instant.
                tokio::time::sleep(shared.config.backoff_min.mul_f64(fastrand::f64())).await;
            }
            let next = Arc::new(reconnect(&shared).await);
            tracing::info!(broker = %shared.config.url, "connected to the broker");
            announce(&shared, Arc::clone(&next));
            session = Some(next);
        }
    };
    tokio::select! {
        () = sessions => {}
        () = closed.cancelled() => {}
    }
    if let Link::Up(session) = shared.link.send_replace(Link::Closed) {
        session.close().await;
    }
    shared.connection.send_replace(Connection::Closed);
}

/// Attempts with growing, jittered delays, without end.
async fn reconnect(shared: &Shared) -> Session {
    let config = &shared.config;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(config.backoff_min)
        .with_max_delay(config.backoff_max)
        .with_jitter()
        .without_max_times();
    loop {
        let mut failures = 0;
        let attempts = (|| Session::open(config))
            .retry(backoff)
            .notify(|error: &QueueError, wait| {
                failures += 1;
                tracing::warn!(%error, failures, ?wait, "cannot reach the broker, trying again");
                let error = Some(Arc::new(error.clone()));
                shared
                    .connection
                    .send_replace(Connection::Connecting { failures, error });
            });
        // Without a maximum the backoff never ends in an error; the loop is for the type.
        if let Ok(session) = attempts.await {
            return session;
        }
    }
}

/// Returns when `session` has failed; passes on the broker's alarms meanwhile.
async fn watch(shared: &Shared, session: &Session) {
    let mut events = stream::select(
        ending(session.consuming.events_listener()),
        ending(session.publishing.events_listener()),
    );
    // What broke before anybody listened says nothing any more.
    if !session.is_connected() {
        return;
    }
    loop {
        let event = tokio::select! {
            () = session.lost() => return,
            event = events.next() => event.flatten(),
        };
        let blocked = match event {
            None => return,
            Some(Event::Error(error)) => {
                tracing::debug!(%error, "connection error");
                return;
            }
            Some(Event::ConnectionBlocked(reason)) => Some(Arc::from(reason)),
            Some(Event::ConnectionUnblocked) => None,
            Some(_) => continue,
        };
        shared.connection.send_replace(Connection::Connected { blocked });
    }
}

/// `events`, then one `None`, so that the end of either of two is seen.
fn ending(events: impl Stream<Item = Event>) -> impl Stream<Item = Option<Event>> + Unpin {
    Box::pin(events.map(Some).chain(stream::iter([None])))
}
