//! Memory over many loads and unloads. A file of its own: tests that run beside it would count as its memory.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests may fail, too")]

mod support;

use std::path::Path;

use engine::{Engine, PhotoRequest, PhotoSource};
use pitch::analysis::Options;

/// The child's side: not a test of its own.
#[test]
#[ignore = "run by the other test as the engine process"]
fn as_child() {
    support::assert_success(engine::child::run());
}

fn own_memory() -> i64 {
    engine::memory::of_process(std::process::id())
        .written
        .cast_signed()
}

#[tokio::test]
async fn fifty_loads_and_unloads_leave_nothing() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let engine = Engine::new(support::config(&support::demo(), 1)).unwrap();
    let photo = here.join("../pitch/tests/photos/large420.jpg");
    let mut after_first = None;
    for _ in 0..50 {
        let request = PhotoRequest {
            source: PhotoSource::File(photo.clone()),
            options: Options::default(),
        };
        engine.analyse(request).await.unwrap();
        let pid = engine.stats().pid.unwrap();
        engine.stop().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        after_first.get_or_insert_with(own_memory);
    }
    let growth = own_memory() - after_first.unwrap();
    assert!(
        growth <= 1 << 20,
        "{growth} bytes more after 50 cycles than after the first"
    );
    assert_eq!(engine.stats().loads, 50);
}
