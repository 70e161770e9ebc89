//! What is killed in the middle goes on.

use std::fs;
use std::process::Stdio;

use testkit::Process;

use crate::ground::{Ground, stderr};

#[test]
fn batches_finish_without_help_after_the_fleet_was_killed() {
    const PHOTOS: u64 = 60;
    let ground = Ground::with_photos(60).with_a_broken_photo("broken.jpg");
    let mut up = ground.up();
    let batch = ground.submit(&up.server);
    up.wait_done(&batch, 5);
    up.process.kill();

    // Again, while it has not even begun to analyse.
    let mut up = ground.up();
    up.process.kill();

    let up = ground.up();
    let ended = up.wait_final(&batch);
    assert_eq!(ended["state"], "completed");
    assert_eq!(ended["counts"]["ok"], PHOTOS);
    assert_eq!(ended["counts"]["failed"], 1);
    let results = ground.results(&up.server, &batch);
    assert_eq!(results.len() as u64, PHOTOS + 1);
    assert_eq!(results["broken.jpg"]["outcome"], "failed");
}

#[test]
fn a_watcher_outlives_the_fleet() {
    let ground = Ground::with_photos(40);
    let mut up = ground.up();
    let address = up.server.trim_start_matches("http://").to_owned();
    let batch = ground.submit(&up.server);
    let mut watcher = Process::spawn(&mut ground.client_command(&up.server, &["watch", &batch]));
    up.wait_done(&batch, 3);
    up.process.kill();
    let mut command = ground.pitchfleet();
    command
        .args(["up", "--listen", &address, "--data"])
        .arg(ground.store());
    let _up = crate::ground::Role::api(&mut command);
    let status = watcher.wait();
    assert!(status.success(), "{}", watcher.output());
    assert!(watcher.output().contains("40 analysed"), "{}", watcher.output());
}

#[test]
fn an_interrupted_upload_goes_on_where_it_stopped() {
    const PHOTOS: usize = 120;
    let ground = Ground::with_photos(PHOTOS);
    let up = ground.up();
    let photos = ground.photos();
    let arguments = ["submit", photos.to_str().unwrap(), "--detach", "--parallel", "1"];
    let noted = ground.home().join(".local/state/pitchfleet/uploads");
    let uploaded = || {
        let entries = fs::read_dir(&noted).into_iter().flatten().flatten();
        let count = entries.map(|entry| {
            fs::read_to_string(entry.path())
                .unwrap_or_default()
                .lines()
                .count()
        });
        count.sum::<usize>().saturating_sub(1)
    };
    let mut first = Process::spawn(&mut ground.client_command(&up.server, &arguments));
    testkit::wait_until("some uploads", || uploaded() >= 3);
    first.kill();
    let before = uploaded();
    assert!(before < PHOTOS, "nothing was left to upload");

    // What was uploaded is not read again: it may even be gone.
    let second = ground.client(&up.server, &arguments);
    assert!(second.status.success(), "{second:?}");
    let told = stderr(&second);
    assert!(
        told.contains(&format!(" of {PHOTOS} photos are uploaded already")),
        "{told}"
    );
    let batch = String::from_utf8(second.stdout).unwrap().trim().to_owned();
    let ended = up.wait_final(&batch);
    assert_eq!(ended["counts"]["ok"], PHOTOS as u64);
    assert_eq!(uploaded(), 0, "what was noted is forgotten");
}

#[test]
fn ctrl_c_leaves_a_watcher_and_stops_a_fleet() {
    let ground = Ground::with_photos(200);
    let mut up = ground.up();
    let batch = ground.submit(&up.server);
    let mut command = ground.client_command(&up.server, &["watch", &batch]);
    command.stderr(Stdio::piped());
    let mut watcher = Process::spawn(&mut command);
    watcher.wait_for_line("running");
    watcher.interrupt();
    assert_eq!(watcher.wait().code(), Some(130));

    up.wait_done(&batch, 1);
    up.process.terminate();
    let status = up.process.wait();
    assert!(status.success(), "{}", up.process.output());
    // What was in hand is whole, and the rest goes on.
    let up = ground.up();
    let ended = up.wait_final(&batch);
    assert_eq!(ended["counts"]["ok"], 200);
}

#[test]
fn a_second_fleet_on_the_same_folder_is_refused() {
    let ground = Ground::new();
    let _up = ground.up();
    let mut command = ground.pitchfleet();
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(ground.store());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("another `pitchfleet up` works in"));
}
