//! The client commands against a fleet in one process.

use std::fs;

use crate::ground::{Ground, samples, stderr, stdout};

#[test]
fn a_folder_goes_in_and_everything_comes_out() {
    let ground = Ground::new();
    let up = ground.up();
    let server = up.server.as_str();
    let folder = samples();

    let submitted = ground.client(server, &["submit", folder.to_str().unwrap(), "--name", "samples"]);
    assert!(submitted.status.success(), "{submitted:?}");
    let told = stdout(&submitted);
    assert!(told.contains("completed"), "{told}");

    let batches = ground.ask(server, &["batches"]);
    assert!(
        batches.contains("samples") && batches.contains("completed"),
        "{batches}"
    );

    let csv = ground.ask(server, &["results", "last", "--csv"]);
    let photos = csv.lines().count() - 1;
    assert!(csv.starts_with("index,key,group,"), "{csv}");
    assert!(photos > 0);
    let table = ground.ask(server, &["results"]);
    assert!(table.contains("favours"), "{table}");
    let lines = ground.ask(server, &["results", "last", "--json"]);
    assert_eq!(lines.lines().count(), photos);
    let three = ground.ask(server, &["results", "last", "--json", "--limit", "3"]);
    assert_eq!(three.lines().count(), 3.min(photos));
    let mut by_class = 0;
    for class in ["batting", "bowling", "seam", "spin"] {
        by_class += ground
            .ask(server, &["results", "last", "--json", "--class", class])
            .lines()
            .count();
    }
    assert_eq!(by_class, photos);

    // The first heartbeat may have been before anybody listened.
    testkit::wait_until("a worker in the list", || {
        let workers = ground.ask(server, &["workers", "--json"]);
        workers.lines().count() == 1 && workers.contains("\"vanished\":false")
    });
    let workers = ground.ask(server, &["workers"]);
    assert!(
        workers.contains("demo") || workers.contains("not loaded"),
        "{workers}"
    );

    // The same photos with the same choices are the same batch.
    let again = ground.client(
        server,
        &[
            "submit",
            folder.to_str().unwrap(),
            "--name",
            "samples",
            "--detach",
        ],
    );
    assert!(stderr(&again).contains("submitted before"), "{again:?}");
    let first: serde_json::Value =
        serde_json::from_str(ground.ask(server, &["batches", "--json"]).lines().next().unwrap()).unwrap();
    assert_eq!(stdout(&again).trim(), first["id"].as_str().unwrap());
}

#[test]
fn a_failed_photo_is_shown_and_tried_again_when_asked() {
    let ground = Ground::with_photos(3).with_a_broken_photo("broken.jpg");
    let up = ground.up();
    let server = up.server.as_str();
    let photos = ground.photos();
    let submitted = ground.client(server, &["submit", photos.to_str().unwrap(), "--fail-on-error"]);
    assert_eq!(submitted.status.code(), Some(1), "{submitted:?}");
    let told = stdout(&submitted);
    assert!(
        told.contains("broken.jpg") && told.contains("3 analysed, 1 failed"),
        "{told}"
    );

    let failed = ground.ask(server, &["results", "last", "--failed", "--json"]);
    assert_eq!(failed.lines().count(), 1);
    assert!(ground.ask(server, &["retry", "last"]).contains(" 1 photos"));
    let watched = ground.client(server, &["watch"]);
    assert!(watched.status.success(), "{watched:?}");
    assert!(stdout(&watched).contains("3 analysed, 1 failed"), "{watched:?}");
}

#[test]
fn a_cancelled_batch_ends_early_and_says_so() {
    let ground = Ground::with_photos(300);
    let up = ground.up();
    let server = up.server.as_str();
    let batch = ground.submit(server);
    up.wait_done(&batch, 1);
    ground.ask(server, &["cancel", &batch]);
    let ended = up.wait_final(&batch);
    assert_eq!(ended["state"], "cancelled");
    let watched = ground.client(server, &["watch", &batch]);
    assert_eq!(watched.status.code(), Some(1), "{watched:?}");
    assert!(stdout(&watched).contains("not analysed"), "{watched:?}");
}

#[test]
fn bad_requests_end_with_what_to_do() {
    let ground = Ground::with_photos(1);
    let up = ground.up();
    let photos = ground.photos();
    let unknown = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
    let nobody = "http://127.0.0.1:1";
    for (server, arguments, code, expected) in [
        (up.server.as_str(), &["watch", unknown][..], 2, unknown),
        (&up.server, &["results", "last"], 2, "no batches yet"),
        (&up.server, &["results", "../x"], 2, "pitchfleet batches"),
        (&up.server, &["submit", "s3://forbidden/x"], 6, "forbidden"),
        (&up.server, &["submit", "no/such/folder"], 2, "does not exist"),
        (&up.server, &["export", "last", "xml"], 2, "no export format"),
        (nobody, &["batches"], 6, "pitchfleet up"),
        ("ftp://x", &["batches"], 2, "no server's address"),
    ] {
        let output = ground.client(server, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {output:?}");
    }
    // Something that is no pitchfleet server.
    let empty = ground.home().join("empty");
    fs::create_dir(&empty).unwrap();
    let output = ground.client(&up.server, &["submit", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    drop(photos);
}

#[test]
fn documents_are_fetched_and_the_verdict_is_shown() {
    let ground = Ground::with_photos(3);
    let up = ground.up();
    let server = up.server.as_str();
    let photos = ground.photos();
    let submitted = ground.client(server, &["submit", photos.to_str().unwrap()]);
    assert!(submitted.status.success(), "{submitted:?}");
    assert!(stdout(&submitted).contains("favours"), "{submitted:?}");

    let exported = ground.client(server, &["export", "last", "parquet"]);
    assert!(exported.status.success(), "{exported:?}");
    let parquet = fs::read(ground.home().join("results.parquet")).unwrap();
    // Apache Parquet, "File Format": the magic number at both ends.
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let page = ground.ask(server, &["export", "last", "html", "-o", "-"]);
    assert!(page.contains("<html"));
}
