//! What the tests share: a place with photos, and the executable in its roles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Process, http};

const LISTENING: &str = "listening on ";

/// The executable with nothing of the machine's in its surroundings.
pub(crate) fn pitchfleet(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitchfleet"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PITCHFLEET_") && name != "PITCHFLEET_ONNXRUNTIME" {
            command.env_remove(name);
        }
    }
    command
        .current_dir(home)
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_STATE_HOME")
        .env("PITCHFLEET_BUNDLE", demo_bundle());
    command
}

pub(crate) fn demo_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")
}

pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples")
}

fn good_photo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pitch/tests/photos/base420.jpg")
}

/// A folder with a home, photos and a store, gone with the test.
pub(crate) struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let ground = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(ground.photos()).unwrap();
        ground
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn photos(&self) -> PathBuf {
        self.home().join("photos")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.home().join("store")
    }

    /// `count` photos, no two the same: the reuse of results would otherwise do their work.
    pub(crate) fn with_photos(count: usize) -> Self {
        let ground = Self::new();
        let photo = fs::read(good_photo()).unwrap();
        for number in 0..count {
            let mut content = photo.clone();
            // Behind the end of a JPEG anything may stand.
            content.extend_from_slice(format!("{number}").as_bytes());
            fs::write(ground.photos().join(format!("{number:04}.jpg")), content).unwrap();
        }
        ground
    }

    /// A photo that no decoder can read.
    pub(crate) fn with_a_broken_photo(self, name: &str) -> Self {
        fs::write(self.photos().join(name), b"\xff\xd8\xff and nothing that follows").unwrap();
        self
    }

    pub(crate) fn pitchfleet(&self) -> Command {
        pitchfleet(self.home())
    }

    /// `pitchfleet up` on this store, listening.
    pub(crate) fn up(&self) -> Role {
        self.up_with(&[])
    }

    pub(crate) fn up_with(&self, variables: &[(&str, &str)]) -> Role {
        let mut command = self.pitchfleet();
        command
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.store());
        command.envs(variables.iter().copied());
        Role::api(&mut command)
    }

    /// The executable as a client of `server`, to its end.
    pub(crate) fn client(&self, server: &str, arguments: &[&str]) -> Output {
        self.client_command(server, arguments).output().unwrap()
    }

    pub(crate) fn client_command(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = self.pitchfleet();
        command.env("PITCHFLEET_SERVER", server).args(arguments);
        command
    }

    /// Its standard output, when it ends with code 0.
    pub(crate) fn ask(&self, server: &str, arguments: &[&str]) -> String {
        let output = self.client(server, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Submits the photos without waiting; the batch's id.
    pub(crate) fn submit(&self, server: &str) -> String {
        let photos = self.photos();
        let id = self.ask(server, &["submit", photos.to_str().unwrap(), "--detach"]);
        id.trim().to_owned()
    }

    /// Every result of a batch by the photo's file name.
    pub(crate) fn results(&self, server: &str, batch: &str) -> BTreeMap<String, Value> {
        let lines = self.ask(server, &["results", batch, "--json"]);
        let mut results = BTreeMap::new();
        for line in lines.lines() {
            let result: Value = serde_json::from_str(line).unwrap();
            let key = result["photo"]["key"].as_str().unwrap().to_owned();
            // `<index>-<name>` in the fleet's bucket.
            let name = key
                .rsplit('/')
                .next()
                .unwrap()
                .split_once('-')
                .unwrap()
                .1
                .to_owned();
            assert!(
                results.insert(name, result).is_none(),
                "two results of one photo: {key}"
            );
        }
        results
    }
}

/// A role that serves HTTP.
pub(crate) struct Role {
    pub(crate) process: Process,
    pub(crate) server: String,
}

impl Role {
    pub(crate) fn api(command: &mut Command) -> Self {
        let mut process = Process::spawn(command);
        let line = process.wait_for_line(LISTENING);
        let rest = line.rsplit(LISTENING).next().unwrap();
        // In a JSON log, more follows.
        let server = rest.split(['"', ' ']).next().unwrap().to_owned();
        process.wait_ready(&format!("{server}/livez"));
        Self { process, server }
    }

    /// The batch as it stands.
    pub(crate) fn status(&self, batch: &str) -> Value {
        let response = http::get(&format!("{}/v1/batches/{batch}", self.server)).unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Waits until at least `count` photos of `batch` have results.
    pub(crate) fn wait_done(&self, batch: &str, count: u64) {
        testkit::wait_until(&format!("{count} results"), || {
            let counts = self.status(batch)["counts"].clone();
            counts["ok"].as_u64().unwrap() + counts["failed"].as_u64().unwrap() >= count
        });
    }

    /// Waits until `batch` is in its final state, which is returned.
    pub(crate) fn wait_final(&self, batch: &str) -> Value {
        let mut last = Value::Null;
        testkit::wait_until("a final state", || {
            last = self.status(batch);
            matches!(last["state"].as_str(), Some("completed" | "cancelled" | "failed"))
        });
        last
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
