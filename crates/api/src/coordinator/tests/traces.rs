//! What of a batch is kept in traces.

use std::num::NonZeroU16;

use fleet::batch::Active;
use fleet::job::Job;
use fleet::layout::active_key;
use queue::{Lane, Outcome, Queue};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// W3C Trace Context, section 3.2.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(start_paused = true)]
async fn of_a_big_set_some_photos_are_traced_and_all_have_the_trace() {
    const PHOTOS: usize = 450;
    let tracing = trace::Tracing::start("test", "test", "0", None).unwrap();
    let subscriber = tracing_subscriber::registry().with(tracing.layer());
    // For the whole process: what a span means to one of several subscribers is remembered for all threads.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let fleet = Fleet::new();
    let keys: Vec<String> = (0..PHOTOS).map(|n| format!("day/{n:04}.jpg")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    fleet.photograph(&keys).await;

    let request = tracing::info_span!("request");
    trace::begin(&request, Some(&format!("00-{TRACE}-b7ad6b7169203331-01")));
    let (batch, _) = fleet.submit("day/").instrument(request).await;
    let _coordinator = fleet.coordinate(&fleet.shared());
    let mut jobs = fleet.queue.consume(Lane::Bulk, NonZeroU16::MAX).await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..PHOTOS {
        let delivery = jobs.next().await.unwrap();
        let parent = delivery.envelope().unwrap().traceparent.clone().unwrap();
        assert_eq!(&parent[3..35], TRACE, "{parent}");
        if parent.ends_with("-01") {
            kept.push(delivery.open::<Job>().unwrap().item.index);
        }
        delivery.settle(Outcome::Done).await.unwrap();
    }
    // 450 photos are more than twice 200: every third.
    let third: Vec<u64> = (0..PHOTOS as u64).step_by(3).collect();
    assert_eq!(kept, third);

    let marker = fleet.home.get(&active_key(&fleet.tenant, batch)).await.unwrap();
    let marker: Active = serde_json::from_slice(&marker.into_bytes().await.unwrap()).unwrap();
    let parent = marker.traceparent.unwrap();
    assert_eq!(
        &parent[3..35],
        TRACE,
        "whoever goes on after a crash is in the trace, too"
    );
}
