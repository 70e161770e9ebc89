//! `pitchfleet analyze` as a whole: the executable, its engine process, the demo bundle, folders on disk.
//!
//! Needs the ONNX Runtime library, as `make test` provides it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(120);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../pitch/tests/photos")
        .join(name)
}

fn demo_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")
}

fn pitchfleet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitchfleet"));
    command.env("PITCHFLEET_BUNDLE", demo_bundle());
    command
}

/// A folder of photos and a place for results.
struct Day {
    dir: tempfile::TempDir,
}

impl Day {
    fn new() -> Self {
        let day = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(day.photos()).unwrap();
        day
    }

    fn photos(&self) -> PathBuf {
        self.dir.path().join("photos")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn copy(&self, fixture_name: &str, to: impl AsRef<Path>) {
        let target = self.photos().join(to);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(fixture(fixture_name), target).unwrap();
    }

    fn write(&self, to: impl AsRef<Path>, content: &[u8]) {
        let target = self.photos().join(to);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }

    /// `count` good photos.
    fn with_photos(count: usize) -> Self {
        let day = Self::new();
        for number in 0..count {
            day.copy("base420.jpg", format!("{number:03}.jpg"));
        }
        day
    }

    fn analyze(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pitchfleet();
        command
            .arg("analyze")
            .arg(self.photos())
            .arg("--out")
            .arg(self.out())
            .args(arguments);
        command
    }

    /// The results by the photo's key below the folder of photos.
    fn results(&self) -> BTreeMap<String, Value> {
        let entries = fs::read_dir(self.out().join("results"))
            .into_iter()
            .flatten()
            .flatten();
        let prefix = format!("{}/", self.photos().display());
        let of = |path: PathBuf| {
            let result: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let key = result["photo"]["key"].as_str().unwrap();
            (key.strip_prefix(&prefix).unwrap_or(key).to_owned(), result)
        };
        entries.map(|entry| of(entry.path())).collect()
    }

    fn code_of(&self, key: &str) -> String {
        let results = self.results();
        let result = results
            .get(key)
            .unwrap_or_else(|| panic!("no result of {key} in {:?}", results.keys()));
        result["failure"]["code"].as_str().unwrap_or("none").to_owned()
    }

    fn report(&self, name: &str) -> Vec<u8> {
        fs::read(self.out().join("report").join(name)).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_ended(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}\n{}",
        stdout(output),
        stderr(output)
    );
}

fn zip_of(path: &Path, entries: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, content) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// Half-written files anywhere in the output.
fn partial_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(partial_files(&path));
        } else if entry.file_name().as_bytes().starts_with(b".partial-") {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_folder_becomes_a_report_and_broken_photos_stop_nothing() {
    let day = Day::new();
    day.copy("base420.jpg", "north/1.jpg");
    day.copy("cmyk.jpg", "north/2.jpg");
    day.copy("grey16.png", "south/3.png");
    day.copy("bomb.png", "south/bomb.png");
    day.copy("many_pixels.png", "south/many.png");
    day.copy("animated.webp", "south/moving.webp");
    day.write("empty.jpg", b"");
    day.write("text.jpg", b"This is no photo.");
    day.write("notes.txt", b"Not looked at.");
    let jpeg = fs::read(fixture("base420.jpg")).unwrap();
    day.write("cut.jpg", &jpeg[..jpeg.len() / 2]);

    let output = day.analyze(&["--overlays", "grass,box"]);
    assert_ended(&output, 0);
    let results = day.results();
    assert_eq!(results.len(), 9, "{:?}", results.keys());
    for (key, group) in [
        ("north/1.jpg", "north"),
        ("north/2.jpg", "north"),
        ("south/3.png", "south"),
    ] {
        let result = &results[key];
        assert_eq!(result["outcome"], "ok", "{key}: {}", result["failure"]);
        assert_eq!(result["group"], group);
        assert_eq!(result["photo"]["sha256"].as_str().unwrap().len(), 64);
        for picture in ["grass", "box"] {
            let jpeg = fs::read(day.out().join(result["overlays"][picture].as_str().unwrap())).unwrap();
            assert!(jpeg.starts_with(b"\xff\xd8"), "{key} {picture}");
        }
    }
    for (key, code) in [
        ("empty.jpg", "empty_file"),
        ("text.jpg", "unsupported_format"),
        ("cut.jpg", "truncated"),
        ("south/bomb.png", "side_too_long"),
        ("south/many.png", "too_many_pixels"),
        ("south/moving.webp", "animated"),
    ] {
        assert_eq!(day.code_of(key), code, "{key}");
        let message = results[key]["failure"]["message"].as_str().unwrap();
        assert!(message.starts_with(key.rsplit('/').next().unwrap()), "{message}");
    }

    let verdict: Value = serde_json::from_slice(&day.report("verdict.json")).unwrap();
    assert_eq!(verdict["batch"]["counts"]["photos"], 9);
    assert_eq!(verdict["batch"]["counts"]["failed"], 6);
    assert_eq!(verdict["groups"].as_array().unwrap().len(), 2);
    assert_eq!(day.report("summary.csv").lines().count(), 10);
    assert_eq!(day.report("results.ndjson").lines().count(), 9);
    let parquet = day.report("results.parquet");
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let coco: Value = serde_json::from_slice(&day.report("coco.json")).unwrap();
    assert_eq!(coco["images"].as_array().unwrap().len(), 3);
    assert!(
        day.report("report.html").starts_with(b"<!DOCTYPE html>")
            || day.report("report.html").starts_with(b"<!doctype html>")
    );
    let manifest: Value =
        serde_json::from_slice(&fs::read(day.out().join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["id"], results["north/1.jpg"]["batch"]);
    let told = stdout(&output);
    for part in [
        "north",
        "south",
        "too_many_pixels",
        "3 analysed",
        "6 failed",
        "report.html",
        "memory",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert_eq!(stderr(&output), "");
    assert!(partial_files(&day.out()).is_empty());
}

#[test]
fn a_terminal_gets_a_bar_that_moves() {
    let day = Day::with_photos(12);
    day.write("text.jpg", b"This is no photo.");
    // `script` gives the command a terminal.
    let line = format!(
        "{} analyze {} --out {}",
        env!("CARGO_BIN_EXE_pitchfleet"),
        day.photos().display(),
        day.out().display()
    );
    let output = Command::new("timeout")
        .args([
            "100",
            "script",
            "--quiet",
            "--return",
            "--command",
            &line,
            "/dev/null",
        ])
        .env("PITCHFLEET_BUNDLE", demo_bundle())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ended(&output, 0);
    let screen = stdout(&output);
    for part in ["/13", "photos/s", "1 failed", "12 analysed"] {
        assert!(screen.contains(part), "{part} is missing in {screen:?}");
    }
}

#[test]
fn failures_can_fail_the_command() {
    let day = Day::with_photos(1);
    day.write("text.jpg", b"This is no photo.");
    assert_ended(&day.analyze(&["--fail-on-error"]), 1);
    fs::remove_file(day.photos().join("text.jpg")).unwrap();
    assert_ended(&day.analyze(&["--fail-on-error"]), 0);
}

#[test]
fn json_goes_to_the_pipe_and_nothing_to_disk() {
    let day = Day::with_photos(2);
    day.write("text.jpg", b"This is no photo.");
    let work = tempfile::tempdir().unwrap();
    let output = pitchfleet()
        .args(["analyze", "--json"])
        .arg(day.photos())
        .current_dir(work.path())
        .output()
        .unwrap();
    assert_ended(&output, 0);
    let results: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(results.len(), 3);
    assert_eq!(
        results.iter().filter(|result| result["outcome"] == "ok").count(),
        2
    );
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let day = Day::with_photos(60);
    let mut child = day
        .command(&["--json", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with('{'));
    let output = child.wait_with_output().unwrap();
    assert_ended(&output, 130);
    assert!(!stderr(&output).contains("panicked"));
}

#[test]
fn archives_are_read_in_place() {
    let day = Day::new();
    let jpeg = fs::read(fixture("base420.jpg")).unwrap();
    let good = day.dir.path().join("day.zip");
    zip_of(
        &good,
        &[
            ("north/1.jpg", &jpeg),
            ("north/readme.txt", b"x"),
            ("../../escape.jpg", &jpeg),
            ("2.jpg", b"no photo"),
        ],
    );

    // A stored entry whose checksum no longer fits.
    let broken = day.dir.path().join("broken.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&broken).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("1.jpg", stored).unwrap();
    zip.write_all(&jpeg).unwrap();
    zip.finish().unwrap();
    let mut bytes = fs::read(&broken).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&broken, bytes).unwrap();

    // One that says it is encrypted: the flag in the local and in the central header.
    let locked = day.dir.path().join("locked.zip");
    zip_of(&locked, &[("1.jpg", &jpeg)]);
    let mut bytes = fs::read(&locked).unwrap();
    for (signature, offset) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = bytes.windows(4).position(|window| window == signature).unwrap();
        bytes[at + offset] |= 1;
    }
    fs::write(&locked, bytes).unwrap();

    let nonsense = day.dir.path().join("nonsense.zip");
    fs::write(&nonsense, b"no archive at all").unwrap();

    let output = pitchfleet()
        .arg("analyze")
        .args([&good, &broken, &locked, &nonsense])
        .arg("--out")
        .arg(day.out())
        .output()
        .unwrap();
    assert_ended(&output, 0);
    let prefix = day.dir.path().display();
    let results = day.results();
    assert_eq!(results[&format!("{prefix}/day.zip/north/1.jpg")]["outcome"], "ok");
    assert_eq!(
        results[&format!("{prefix}/day.zip/north/1.jpg")]["group"],
        "day/north"
    );
    assert_eq!(
        results[&format!("{prefix}/day.zip/../../escape.jpg")]["outcome"],
        "ok"
    );
    for (key, code) in [
        ("day.zip/2.jpg", "unsupported_format"),
        ("broken.zip/1.jpg", "zip_corrupt"),
        ("locked.zip/1.jpg", "zip_encrypted"),
        ("nonsense.zip", "zip_corrupt"),
    ] {
        assert_eq!(day.code_of(&format!("{prefix}/{key}")), code, "{key}");
    }
    assert_eq!(results.len(), 6);
    assert!(!day.dir.path().parent().unwrap().join("escape.jpg").exists());
}

#[test]
fn what_cannot_be_read_is_a_failure_with_its_own_code() {
    let day = Day::with_photos(1);
    std::os::unix::fs::symlink("nowhere", day.photos().join("gone.jpg")).unwrap();
    let status = Command::new("mkfifo")
        .arg(day.photos().join("pipe.jpg"))
        .status()
        .unwrap();
    assert!(status.success());
    // Opens for everybody, and reading it fails even for root: the first page of a process is never mapped.
    std::os::unix::fs::symlink("/proc/self/mem", day.photos().join("unmapped.jpg")).unwrap();
    let foreign = OsStr::from_bytes(b"caf\xe9.jpg");
    fs::copy(fixture("base420.jpg"), day.photos().join(foreign)).unwrap();

    assert_ended(&day.analyze(&[]), 0);
    assert_eq!(day.code_of("gone.jpg"), "unreadable");
    assert_eq!(day.code_of("pipe.jpg"), "unreadable");
    assert_eq!(day.code_of("unmapped.jpg"), "unreadable");
    assert_eq!(day.results()["caf%E9.jpg"]["outcome"], "ok");
    assert_eq!(day.results()["000.jpg"]["outcome"], "ok");
}

#[test]
fn a_second_run_continues() {
    let day = Day::with_photos(3);
    day.write("broken.jpg", b"This is no photo.");
    assert_ended(&day.analyze(&[]), 0);
    let first = day.results();

    // Mended, added, changed: those three are analysed, the others are not.
    day.copy("base420.jpg", "broken.jpg");
    day.copy("base444.jpg", "added.jpg");
    day.copy("grey.jpg", "001.jpg");
    let output = day.analyze(&[]);
    assert_ended(&output, 0);
    assert!(
        stdout(&output).contains("3 analysed, 2 done before"),
        "{}",
        stdout(&output)
    );
    let second = day.results();
    assert_eq!(second.len(), 5);
    assert_eq!(second["000.jpg"], first["000.jpg"]);
    assert_ne!(
        second["001.jpg"]["photo"]["sha256"],
        first["001.jpg"]["photo"]["sha256"]
    );
    assert_eq!(second["001.jpg"]["index"], first["001.jpg"]["index"]);
    assert_eq!(second["broken.jpg"]["outcome"], "ok");
    assert_eq!(second["added.jpg"]["index"], 4);

    // With everything there no model is loaded; with other options everything is done again.
    let output = day.analyze(&[]);
    assert!(
        stdout(&output).contains("0 analysed, 5 done before"),
        "{}",
        stdout(&output)
    );
    let output = day.analyze(&["--full-frame"]);
    assert!(stdout(&output).contains("5 analysed"), "{}", stdout(&output));

    // A result of a machine on which `auto` ran another precision is not mixed in.
    let key = day.out().join("results").join("00000000.json");
    let mut other: Value = serde_json::from_slice(&fs::read(&key).unwrap()).unwrap();
    other["worker"]["precision"] = "fp16".into();
    fs::write(&key, other.to_string()).unwrap();
    let output = day.analyze(&["--full-frame"]);
    assert!(
        stdout(&output).contains("1 analysed, 4 done before"),
        "{}",
        stdout(&output)
    );

    // What is gone is forgotten.
    fs::remove_file(day.photos().join("added.jpg")).unwrap();
    assert_ended(&day.analyze(&["--full-frame"]), 0);
    assert_eq!(day.results().len(), 4);
    let verdict: Value = serde_json::from_slice(&day.report("verdict.json")).unwrap();
    assert_eq!(verdict["batch"]["counts"]["photos"], 4);
}

/// Waits until `done`, and fails when that takes too long.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < DEADLINE, "{what} took too long");
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn interrupted_by(name: &str) {
    let day = Day::with_photos(150);
    let child = day
        .command(&["--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the first result", || day.results_written() > 2);
    signal(&child, name);
    let output = child.wait_with_output().unwrap();
    assert_ended(&output, 130);
    let done = day.results();
    assert!((3..150).contains(&done.len()), "{}", done.len());
    assert!(
        done.values().all(|result| result["outcome"] == "ok"),
        "what was in hand was finished"
    );
    assert!(stdout(&output).contains("again continues"), "{}", stdout(&output));
    assert_eq!(day.report("results.ndjson").lines().count(), done.len());
    assert!(partial_files(&day.out()).is_empty());

    let output = day.analyze(&[]);
    assert_ended(&output, 0);
    let expected = format!("{} analysed, {} done before", 150 - done.len(), done.len());
    assert!(
        stdout(&output).contains(&expected),
        "{expected} is missing in {}",
        stdout(&output)
    );
    assert_eq!(day.results().len(), 150);
}

impl Day {
    fn results_written(&self) -> usize {
        fs::read_dir(self.out().join("results")).map_or(0, Iterator::count)
    }
}

#[test]
fn ctrl_c_finishes_what_is_in_hand_and_the_next_run_continues() {
    interrupted_by("INT");
}

#[test]
fn sigterm_does_as_ctrl_c() {
    interrupted_by("TERM");
}

#[test]
fn a_terminals_ctrl_c_reaches_the_engine_too_and_harms_nothing() {
    use std::os::unix::process::CommandExt;
    let day = Day::with_photos(150);
    let mut command = day.command(&["--jobs", "1"]);
    let child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the first result", || day.results_written() > 2);
    let group = format!("-{}", child.id());
    assert!(
        Command::new("kill")
            .args(["-INT", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_ended(&output, 130);
    assert!(
        day.results().values().all(|result| result["outcome"] == "ok"),
        "the engine went on"
    );
}

#[test]
fn the_second_signal_ends_the_run_at_once() {
    let day = Day::with_photos(150);
    let mut child = day
        .command(&["--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the first result", || day.results_written() > 2);
    signal(&child, "INT");
    signal(&child, "INT");
    let status = child.wait().unwrap();
    assert!(
        status.code() == Some(130) || status.signal().is_some(),
        "{status:?}"
    );
    // What is there is whole.
    assert!(!day.results().is_empty());
}

/// A file system of `kilobytes`, gone when the value is.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(at: &Path, kilobytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_the_run_with_a_plain_error() {
    let day = Day::with_photos(40);
    let disk = SmallDisk::mount(&day.out(), 64);
    let output = if disk.is_some() {
        day.analyze(&[])
    } else {
        // Without root the limit on a file's size stands in for the size of the disk: 4 blocks of 512 bytes.
        let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", limited, env!("CARGO_BIN_EXE_pitchfleet"), "analyze"])
            .arg(day.photos());
        command
            .arg("--out")
            .arg(day.out())
            .env("PITCHFLEET_BUNDLE", demo_bundle())
            .output()
            .unwrap()
    };
    assert_ended(&output, 5);
    let text = stderr(&output);
    assert!(
        text.contains("is full") == disk.is_some() && text.contains("written"),
        "{text}"
    );
    assert!(
        partial_files(&day.out()).is_empty(),
        "{:?}",
        partial_files(&day.out())
    );
    for result in day.results().values() {
        assert_eq!(result["schema"], "pitchfleet.result/1");
    }
    drop(disk);

    // With room it goes through.
    assert_ended(&day.analyze(&[]), 0);
    assert_eq!(day.results().len(), 40);
}

#[test]
fn set_up_that_is_missing_is_said_before_anything_is_written() {
    let day = Day::with_photos(1);
    let output = day.analyze(&["--bundle", "/no/such/bundle"]);
    assert_ended(&output, 3);
    assert!(stderr(&output).contains("--bundle"), "{}", stderr(&output));
    assert!(!day.out().exists());

    let output = day
        .command(&[])
        .env("PITCHFLEET_ONNXRUNTIME", "/no/such/libonnxruntime.so")
        .output()
        .unwrap();
    assert_ended(&output, 3);
    assert!(stderr(&output).contains("onnxruntime.sh"), "{}", stderr(&output));

    // A library that is none.
    let fake = day.dir.path().join("libonnxruntime.so");
    fs::write(&fake, "not a library").unwrap();
    let output = day
        .command(&[])
        .env("PITCHFLEET_ONNXRUNTIME", &fake)
        .output()
        .unwrap();
    assert_ended(&output, 3);

    let bundle = day.dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    for entry in fs::read_dir(demo_bundle()).unwrap().flatten() {
        fs::copy(entry.path(), bundle.join(entry.file_name())).unwrap();
    }
    for name in ["detector.fp32.onnx", "detector.int8.onnx"] {
        let mut model = fs::read(bundle.join(name)).unwrap();
        let middle = model.len() / 2;
        model[middle] ^= 1;
        fs::write(bundle.join(name), model).unwrap();
    }
    let output = day.analyze(&["--bundle", bundle.to_str().unwrap()]);
    assert_ended(&output, 3);
    assert!(stderr(&output).contains("detector."), "{}", stderr(&output));
    assert!(day.results().is_empty());
}

#[test]
fn command_lines_that_cannot_be_used_are_refused() {
    let day = Day::with_photos(1);
    for arguments in [
        ["--device", "gpu"],
        ["--precision", "fp64"],
        ["--overlays", "grass,snow"],
        ["--detection-threshold", "1.5"],
        ["--jobs", "0"],
    ] {
        assert_ended(&day.analyze(&arguments), 2);
    }
    let output = pitchfleet().args(["analyze", "no/such/folder"]).output().unwrap();
    assert_ended(&output, 2);
    assert!(stderr(&output).contains("no/such/folder"));

    // Neither other files nor other photos' results are overwritten.
    let output = pitchfleet()
        .arg("analyze")
        .arg(day.photos())
        .arg("--out")
        .arg(day.photos())
        .output()
        .unwrap();
    assert_ended(&output, 2);
    assert_ended(&day.analyze(&[]), 0);
    let other = Day::with_photos(1);
    let output = pitchfleet()
        .arg("analyze")
        .arg(other.photos())
        .arg("--out")
        .arg(day.out())
        .output()
        .unwrap();
    assert_ended(&output, 2);
    assert!(stderr(&output).contains("other photos"), "{}", stderr(&output));
}

#[test]
fn a_folder_without_photos_is_nothing_to_analyse() {
    let day = Day::new();
    day.write("notes.txt", b"x");
    zip_of(&day.photos().join("day.zip"), &[]);
    let output = day.analyze(&[]);
    assert_ended(&output, 4);
    let text = stderr(&output);
    assert!(
        text.contains("no photos") && text.contains("1 zip archive"),
        "{text}"
    );
    assert!(!day.out().exists());
}

#[test]
fn help_has_examples_and_exit_codes() {
    for (arguments, parts) in [
        (vec!["--help"], vec!["Exit codes", "130"]),
        (vec!["analyze", "--help"], vec!["Examples:", "--fail-on-error"]),
        (vec!["models", "--help"], vec!["Examples:", "pull"]),
        (vec!["models", "pull", "--help"], vec!["Examples:", "HF_ENDPOINT"]),
        (vec!["memory-report", "--help"], vec!["Examples:", "--cycles"]),
        (vec!["bench", "--help"], vec!["Examples:", "--rounds"]),
    ] {
        let mut text = String::new();
        let mut child = pitchfleet()
            .args(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        for part in parts {
            assert!(text.contains(part), "{part} is missing in {arguments:?}:\n{text}");
        }
    }
}
