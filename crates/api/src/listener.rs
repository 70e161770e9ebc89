//! One ear on the events fanout for the whole process.

use fleet::event::Event;
use queue::{Fanout, QueueError};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// Hands what is said on the events fanout to whoever keeps track, until `shutdown`.
///
/// # Errors
/// When the queue is closed.
pub(crate) async fn run(shared: &Shared, shutdown: &CancellationToken) -> Result<(), QueueError> {
    let subscribing = shutdown.run_until_cancelled(shared.queue.subscribe(Fanout::Events));
    let Some(subscription) = subscribing.await else {
        return Ok(());
    };
    let mut subscription = subscription?;
    while let Some(Some(body)) = shutdown.run_until_cancelled(subscription.next()).await {
        match serde_json::from_slice::<Event>(&body) {
            Ok(event) => {
                let now_ms = shared.clock.now_ms();
                match &event {
                    Event::Heartbeat(heartbeat) => shared.roster.record(heartbeat, now_ms),
                    Event::Unload { worker, receipt } => shared.roster.record_unload(worker, *receipt),
                    _ => shared.orders.record(&event),
                }
                shared.progress.record(&event);
            }
            // A newer program's event, or not ours: nothing depends on events.
            Err(error) => tracing::debug!(%error, "an event that is not readable"),
        }
    }
    Ok(())
}
