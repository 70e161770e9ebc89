//! `pitchfleet models pull` against a server on the loopback interface that speaks as the Hugging Face Hub does, and
//! misbehaves where a test wants it to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// Cut the connection after so many bytes of a body, so many times.
    cuts: Vec<usize>,
    etag: Option<String>,
    /// First byte of each download that was asked for, requests for metadata aside.
    ranges: Vec<(String, usize)>,
}

struct Hub {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    fn start(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files: files
                .iter()
                .map(|(path, content)| (path.to_string(), content.to_vec()))
                .collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { endpoint, state }
    }

    fn downloads(&self, suffix: &str) -> Vec<usize> {
        let state = self.state.lock().unwrap();
        let of_file = state.ranges.iter().filter(|(path, _)| path.ends_with(suffix));
        of_file.map(|(_, first)| *first).collect()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut range = None;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = value.split_once('-')?;
            range = Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()));
        }
    }
    let mut state = state.lock().ok()?;
    let Some(content) = state.files.get(&path).cloned() else {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok();
    };
    let (first, last) = range.unwrap_or((0, None));
    if first >= content.len() {
        return stream
            .write_all(
                b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )
            .ok();
    }
    let last = last.unwrap_or(content.len() - 1).min(content.len() - 1);
    let is_metadata = range == Some((0, Some(0)));
    if !is_metadata {
        state.ranges.push((path, first));
    }
    let etag = state.etag.clone().unwrap_or_else(|| hex(&content));
    let cut = if is_metadata || state.cuts.is_empty() {
        usize::MAX
    } else {
        state.cuts.remove(0)
    };
    drop(state);

    let body = &content[first..=last];
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n\
         etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\n\r\n",
        body.len(),
        content.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body[..cut.min(body.len())]).ok()?;
    stream.flush().ok()
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn model(seed: u8) -> Vec<u8> {
    (0..200_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
        .collect()
}

fn bundle(detector_place: &str, detector: &[u8], classifier: &[u8]) -> String {
    format!(
        "# A comment that stays.\nschema = \"pitchfleet.bundle/1\"\nname = \"club\"\n\n\
         [detector.fp32]\n{detector_place}\nsha256 = \"{}\"\n\n\
         [classifier.fp32]\nfile = \"classifier.onnx\"\nsha256 = \"{}\"\n",
        hex(detector),
        hex(classifier)
    )
}

fn club() -> Hub {
    let (detector, classifier) = (model(1), model(2));
    Hub::start(&[
        (
            "/acme/pitch/resolve/v3/b/bundle.toml",
            bundle("file = \"detector.onnx\"", &detector, &classifier).as_bytes(),
        ),
        ("/acme/pitch/resolve/v3/b/detector.onnx", &detector),
        ("/acme/pitch/resolve/v3/b/classifier.onnx", &classifier),
    ])
}

fn pull(hub: &Hub, home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pitchfleet"))
        .args(["models", "pull"])
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("HF_HOME", home.join("hf"))
        .env("HF_ENDPOINT", &hub.endpoint)
        .output()
        .unwrap()
}

fn installed(home: &Path) -> PathBuf {
    home.join(".local/share/pitchfleet/bundles/club")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SOURCE: &str = "hf:acme/pitch@v3/b";

#[test]
fn a_bundle_of_the_hub_becomes_one_of_this_machine() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert!(output.status.success(), "{}", stderr(&output));
    let folder = installed(home.path());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        folder.to_str().unwrap()
    );
    assert_eq!(fs::read(folder.join("detector.onnx")).unwrap(), model(1));
    assert_eq!(fs::read(folder.join("classifier.onnx")).unwrap(), model(2));
    assert!(
        fs::read_to_string(folder.join("bundle.toml"))
            .unwrap()
            .starts_with("# A comment")
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);

    // A second time nothing is fetched.
    let asked = hub.state.lock().unwrap().ranges.len();
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(hub.state.lock().unwrap().ranges.len(), asked);
}

#[test]
fn a_download_that_breaks_off_continues_where_it_stopped() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    hub.state.lock().unwrap().cuts = vec![usize::MAX, 120_000, 30_000];
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        fs::read(installed(home.path()).join("detector.onnx")).unwrap(),
        model(1)
    );
    let mut interrupted = hub.downloads("detector.onnx");
    interrupted.extend(hub.downloads("classifier.onnx"));
    interrupted.sort_unstable();
    assert_eq!(interrupted, [0, 0, 120_000, 150_000]);
}

#[test]
fn a_pull_that_gave_up_is_continued_by_the_next() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    hub.state.lock().unwrap().cuts = vec![usize::MAX, 1_000, 1_000, 1_000, 1_000, 1_000];
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("again to continue"),
        "{}",
        stderr(&output)
    );
    assert!(!installed(home.path()).exists());

    let output = pull(&hub, home.path(), &[SOURCE]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut starts = hub.downloads("detector.onnx");
    starts.extend(hub.downloads("classifier.onnx"));
    assert!(starts.contains(&5_000), "{starts:?}");
}

#[test]
fn a_file_with_another_hash_is_refused_and_not_kept() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    let path = "/acme/pitch/resolve/v3/b/detector.onnx";
    hub.state.lock().unwrap().files.insert(path.into(), model(9));
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(
        text.contains(&hex(&model(9))) && text.contains(&hex(&model(1))),
        "{text}"
    );
    assert!(!installed(home.path()).exists());

    // Mended at the source, the next pull takes it: the wrong one is not in the cache.
    hub.state.lock().unwrap().files.insert(path.into(), model(1));
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn parts_of_a_bundle_may_lie_elsewhere() {
    let (detector, classifier) = (model(3), model(4));
    let hub = Hub::start(&[("/other/weights/resolve/main/yolo.onnx", &detector)]);
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("classifier.onnx"), &classifier).unwrap();
    let text = bundle("uri = \"hf:other/weights/yolo.onnx\"", &detector, &classifier);
    fs::write(source.join("bundle.toml"), text).unwrap();

    let target = home.path().join("target");
    let output = pull(
        &hub,
        home.path(),
        &[source.to_str().unwrap(), "--to", target.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read(target.join("yolo.onnx")).unwrap(), detector);
    let text = fs::read_to_string(target.join("bundle.toml")).unwrap();
    assert!(text.contains("\"yolo.onnx\"") && !text.contains("hf:"), "{text}");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    let photos = home.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("a.jpg"), "x").unwrap();
    let output = pull(&hub, home.path(), &[SOURCE, "--to", photos.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_dir(&photos).unwrap().count(), 1);
}

#[test]
fn what_the_server_calls_a_file_cannot_lead_out_of_the_cache() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    hub.state.lock().unwrap().etag = Some("../../../../escaped".into());
    let output = pull(&hub, home.path(), &[SOURCE]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("etag"), "{}", stderr(&output));
    assert!(!home.path().join("escaped").exists());
}

#[test]
fn what_is_not_there_is_said_plainly() {
    let (hub, home) = (club(), tempfile::tempdir().unwrap());
    let output = pull(&hub, home.path(), &["hf:acme/pitch@v4/b"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("404"), "{}", stderr(&output));
    let output = pull(&hub, home.path(), &["s3:bucket/b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("bucket store"), "{}", stderr(&output));
}
