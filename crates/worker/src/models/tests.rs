use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::EngineErrorKind;
use tokio::task::yield_now;

use super::*;

/// Hands that take time and count.
#[derive(Debug, Default)]
struct Counting {
    loads: AtomicU64,
    unloads: AtomicU64,
    running: AtomicBool,
    broken: AtomicBool,
    ready: AtomicU64,
    reopened: AtomicU64,
}

impl Hands for Arc<Counting> {
    async fn load(&self) -> Result<(), EngineError> {
        assert!(!self.running.load(Ordering::SeqCst), "loaded twice");
        tokio::time::sleep(Duration::from_millis(80)).await;
        if self.broken.load(Ordering::SeqCst) {
            return Err(EngineError {
                kind: EngineErrorKind::StartFailed,
                message: "broken".into(),
            });
        }
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.running.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn unload(&self, _reason: UnloadReason) {
        assert!(self.running.swap(false, Ordering::SeqCst), "unloaded twice");
        self.unloads.fetch_add(1, Ordering::SeqCst);
    }

    async fn reopen(&self) -> Result<(), EngineError> {
        self.reopened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn is_gone(&self) -> bool {
        !self.running.load(Ordering::SeqCst)
    }

    async fn waiting(&self) -> Option<Waiting> {
        Some(Waiting {
            ready: self.ready.load(Ordering::SeqCst),
            ..Waiting::default()
        })
    }
}

const GRACE: Duration = Duration::from_secs(30);

fn driven(policy: Policy) -> (Arc<Models>, Arc<Counting>) {
    let (models, actions) = Models::new(policy);
    let (models, hands) = (Arc::new(models), Arc::new(Counting::default()));
    let (driven, with) = (Arc::clone(&models), Arc::clone(&hands));
    tokio::spawn(async move { driven.drive(actions, &with).await });
    (models, hands)
}

async fn photo(models: &Models, time: Duration) -> Result<(), EngineError> {
    let _in_hand = models.take();
    models.needed().await?;
    assert_eq!(models.state(), State::Warm);
    tokio::time::sleep(time).await;
    Ok(())
}

async fn reach(models: &Models, state: State) {
    let mut standing = models.standing.subscribe();
    standing
        .wait_for(|standing| standing.state == state)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn photos_that_arrive_together_are_one_load_and_the_grace_ends_it() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        hands.loads.load(Ordering::SeqCst),
        0,
        "nothing to do, nothing loaded"
    );
    let photos: Vec<_> = (1..=20u64)
        .map(|n| {
            let models = Arc::clone(&models);
            tokio::spawn(async move { photo(&models, Duration::from_millis(100 * n)).await })
        })
        .collect();
    for photo in photos {
        photo.await.unwrap().unwrap();
    }
    let done = Instant::now();
    reach(&models, State::Cold).await;
    let poll = Policy::new(false, Some(GRACE)).poll;
    let warm = done.elapsed();
    assert!((GRACE..=GRACE + poll).contains(&warm), "{warm:?}");
    assert_eq!(hands.loads.load(Ordering::SeqCst), 1);
    assert_eq!(hands.unloads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn work_in_sight_keeps_it_warm() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    hands.ready.store(1, Ordering::SeqCst);
    photo(&models, Duration::ZERO).await.unwrap();
    tokio::time::sleep(GRACE * 10).await;
    assert_eq!(models.state(), State::Warm);
    hands.ready.store(0, Ordering::SeqCst);
    reach(&models, State::Cold).await;
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_load_that_fails_is_told_and_photos_stay_away_for_the_pause() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    hands.broken.store(true, Ordering::SeqCst);
    let error = photo(&models, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.message, "broken");
    hands.broken.store(false, Ordering::SeqCst);
    let paused = Instant::now();
    models.takes(true).await;
    assert!(
        paused.elapsed() >= Duration::from_millis(900),
        "{:?}",
        paused.elapsed()
    );
    photo(&models, Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn orders_are_carried_out_and_what_is_in_hand_is_finished_first() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    models.order(Order::Warm { hold_ms: 3_600_000 });
    reach(&models, State::Warm).await;
    tokio::time::sleep(Duration::from_secs(1_800)).await;
    assert_eq!(models.state(), State::Warm);
    let busy = {
        let models = Arc::clone(&models);
        tokio::spawn(async move { photo(&models, Duration::from_secs(9)).await })
    };
    while models.machine().in_hand() == 0 {
        yield_now().await;
    }
    models.order(Order::Drain);
    assert_eq!(models.state(), State::Draining);
    busy.await.unwrap().unwrap();
    reach(&models, State::Cold).await;
    assert!(models.is_held());
    models.order(Order::Warm { hold_ms: 0 });
    models.takes(true).await;
    assert_eq!(hands.unloads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_farewell_waits_for_the_engine_to_end() {
    let (models, hands) = driven(Policy::new(true, None));
    models.preloaded().await.unwrap();
    models.farewell().await;
    assert!(!hands.running.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_died_idle_is_seen_and_loaded_again_for_the_next_photo() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    photo(&models, Duration::ZERO).await.unwrap();
    hands.running.store(false, Ordering::SeqCst);
    reach(&models, State::Cold).await;
    models.takes(true).await;
    photo(&models, Duration::ZERO).await.unwrap();
    assert_eq!(hands.loads.load(Ordering::SeqCst), 2);
    assert_eq!(hands.unloads.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_an_order_is_told_when_it_is_carried_out() {
    let (models, hands) = driven(Policy::new(false, Some(GRACE)));
    let given = Instant::now();
    let warm = models.order(Order::Warm { hold_ms: 60_000 });
    assert_eq!(models.obeyed(&warm).await, Ok(()));
    assert_eq!(
        (models.state(), hands.loads.load(Ordering::SeqCst)),
        (State::Warm, 1)
    );
    assert!(given.elapsed() >= Duration::from_millis(80));
    let reload = models.order(Order::Reload);
    assert_eq!(models.obeyed(&reload).await, Ok(()));
    assert_eq!(models.state(), State::Warm, "as before");
    let done = [&hands.loads, &hands.unloads, &hands.reopened].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(done, [2, 1, 1]);

    let busy = {
        let models = Arc::clone(&models);
        tokio::spawn(async move { photo(&models, Duration::from_secs(9)).await })
    };
    while models.machine().in_hand() == 0 {
        yield_now().await;
    }
    let given = Instant::now();
    let unload = models.order(Order::Unload);
    assert_eq!(models.obeyed(&unload).await, Ok(()));
    assert!(
        given.elapsed() >= Duration::from_millis(8_900),
        "what is in hand first"
    );
    busy.await.unwrap().unwrap();
    assert_eq!(
        models.obeyed(&models.order(Order::Unload)).await,
        Ok(()),
        "there is nothing to do"
    );

    hands.broken.store(true, Ordering::SeqCst);
    let warm = models.order(Order::Warm { hold_ms: 0 });
    let failed = models.obeyed(&warm).await.unwrap_err();
    assert!(failed.contains("broken"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_another_one_overtook_is_not_carried_out() {
    let (models, _hands) = driven(Policy::new(false, Some(GRACE)));
    models
        .obeyed(&models.order(Order::Warm { hold_ms: 0 }))
        .await
        .unwrap();
    let _in_hand = models.take();
    let drain = models.order(Order::Drain);
    let warm = models.order(Order::Warm { hold_ms: 0 });
    let overtaken = models.obeyed(&drain).await.unwrap_err();
    assert!(overtaken.contains("another order"), "{overtaken}");
    assert_eq!(models.obeyed(&warm).await, Ok(()));
}
