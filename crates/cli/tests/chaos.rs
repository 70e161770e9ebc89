//! Nothing lost, nothing twice: 500 photos while workers, engines, APIs, the broker and the S3 server are stopped and
//! killed. Every photo ends with exactly one result, the one that `pitchfleet analyze` gives, and every batch reaches
//! its final state without help.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the functions beside the test may fail, too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use store::{PrefixedStore, S3Config, S3Store, Store};
use testkit::{Bucket, Process, Server, Vhost, http};

/// Photos of each batch; the last two are small enough for the express lane.
const BATCHES: [usize; 5] = [200, 150, 100, 45, 5];
/// Every so many photos one is broken, and must end as a failure.
const BROKEN: usize = 50;
/// For all of it. Photos that met several disturbances wait up to two minutes for their next try.
const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// What is done to the fleet, one after another, in random order.
const BLOWS: [Blow; 20] = [
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Worker,
    Blow::Engine,
    Blow::Engine,
    Blow::Engine,
    Blow::Engine,
    Blow::Api,
    Blow::Api,
    Blow::Api,
    Blow::BrokerStops,
    Blow::BrokerDies,
    Blow::BucketStops,
    Blow::BucketDies,
    Blow::BucketFreezes,
];

#[derive(Clone, Copy, Debug)]
enum Blow {
    Worker,
    Engine,
    Api,
    BrokerStops,
    BrokerDies,
    BucketStops,
    BucketDies,
    BucketFreezes,
}

/// The executable with nothing of the machine's in its surroundings.
fn pitchfleet(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitchfleet"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PITCHFLEET_") && name != "PITCHFLEET_ONNXRUNTIME" {
            command.env_remove(name);
        }
    }
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo");
    command
        .current_dir(home)
        .env("HOME", home)
        .env("PITCHFLEET_BUNDLE", bundle);
    command
}

/// Photos that differ to the eye, and one that is cut off.
struct Originals(Vec<(String, Vec<u8>)>);

impl Originals {
    fn read() -> Self {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
        let mut paths = Vec::new();
        photos_in(&samples, &mut paths);
        paths.sort();
        let named = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        };
        Self(paths.iter().map(named).collect())
    }

    /// The photo that number `n` of all is a copy of. Behind the end of a JPEG anything may stand, so that no two
    /// copies have the same bytes: the reuse of results would do the work otherwise.
    fn copy(&self, n: usize) -> (String, Vec<u8>) {
        if n % BROKEN == BROKEN - 1 {
            let (_, content) = &self.0[0];
            return ("broken.jpg".to_owned(), content[..content.len() / 2].to_vec());
        }
        let (name, content) = &self.0[n % self.0.len()];
        (name.clone(), [content, n.to_string().as_bytes()].concat())
    }

    /// What `pitchfleet analyze` says of each, by name.
    fn analysed(&self) -> BTreeMap<String, Value> {
        let home = tempfile::tempdir().unwrap();
        let photos = home.path().join("photos");
        fs::create_dir(&photos).unwrap();
        for (name, content) in &self.0 {
            fs::write(photos.join(name), content).unwrap();
        }
        let (broken, content) = self.copy(BROKEN - 1);
        fs::write(photos.join(broken), content).unwrap();
        let out = home.path().join("out");
        let output = pitchfleet(home.path())
            .arg("analyze")
            .arg(&photos)
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap();
        let results = fs::read_dir(out.join("results"));
        let results = results.unwrap_or_else(|_| panic!("no results: {output:?}"));
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let result: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
            (original_name(&result), essence(&result))
        };
        results.map(read).collect()
    }
}

fn photos_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            photos_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "jpg") {
            found.push(path);
        }
    }
}

/// `<number>_<name>` in the bucket, the name alone in a folder.
fn original_name(result: &Value) -> String {
    let key = result["photo"]["key"].as_str().unwrap();
    let name = key.rsplit('/').next().unwrap();
    name.split_once('~').map_or(name, |(_, name)| name).to_owned()
}

/// What must not depend on how a photo was handled: all but whose it is, who did it and how long it took.
fn essence(result: &Value) -> Value {
    let photo = &result["photo"];
    json!({
        "outcome": result["outcome"],
        "code": result["failure"]["code"],
        "format": photo["format"], "width": photo["width"], "height": photo["height"],
        "orientation": photo["orientation"], "taken_at": photo["taken_at"],
        "detection": result["detection"], "surface": result["surface"],
        "classification": result["classification"], "advice": result["advice"],
        "digest": result["digest"],
    })
}

struct Batch {
    id: String,
    photos: usize,
}

struct Fleet {
    runtime: tokio::runtime::Runtime,
    home: tempfile::TempDir,
    broker: Server,
    vhost: Vhost,
    garage: Server,
    bucket: Bucket,
    store: Arc<dyn Store>,
    apis: Vec<(Process, String)>,
    workers: Vec<Process>,
    random: Rng,
    deadline: Instant,
}

impl Fleet {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (broker, garage) = (Server::rabbitmq(), Server::garage());
        let (vhost, bucket) = (Vhost::on(&broker), Bucket::on(&garage));
        let whole = runtime.block_on(S3Store::new(S3Config {
            bucket: bucket.name.clone(),
            region: bucket.region.clone(),
            endpoint: Some(bucket.endpoint.clone()),
            public_endpoint: None,
            path_style: true,
            credentials: Some((bucket.access_key.clone(), bucket.secret_key.clone())),
            attempts: 5,
            stall_timeout: Duration::from_secs(30),
        }));
        let store = PrefixedStore::new(Arc::new(whole), &bucket.prefix).unwrap();
        let seed = std::env::var("PITCHFLEET_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("PITCHFLEET_TEST_SEED={seed} gives the same order of disturbances");
        let mut fleet = Self {
            runtime,
            home: tempfile::tempdir().unwrap(),
            broker,
            vhost,
            garage,
            bucket,
            store: Arc::new(store),
            apis: Vec::new(),
            workers: Vec::new(),
            random: Rng::with_seed(seed),
            deadline: Instant::now() + DEADLINE,
        };
        for _ in 0..2 {
            let (api, worker) = (fleet.api(), fleet.worker());
            fleet.apis.push(api);
            fleet.workers.push(worker);
        }
        fleet
    }

    fn role(&self, arguments: &[&str]) -> Command {
        let bucket = &self.bucket;
        let mut command = pitchfleet(self.home.path());
        command.args(arguments).envs([
            ("PITCHFLEET_BROKER_URL", self.vhost.url()),
            ("PITCHFLEET_STORE_BUCKET", &bucket.name),
            ("PITCHFLEET_STORE_ENDPOINT", &bucket.endpoint),
            ("PITCHFLEET_STORE_REGION", &bucket.region),
            ("PITCHFLEET_STORE_ACCESS_KEY", &bucket.access_key),
            ("PITCHFLEET_STORE_SECRET_KEY", &bucket.secret_key),
            ("PITCHFLEET_STORE_PREFIX", &bucket.prefix),
            (
                "PITCHFLEET_SOURCES",
                &format!("[{{ bucket = \"{}\" }}]", bucket.name),
            ),
            ("PITCHFLEET_WORKER_LANES", "1"),
        ]);
        command
    }

    fn api(&self) -> (Process, String) {
        let mut process = Process::spawn(&mut self.role(&["api", "--listen", "127.0.0.1:0"]));
        let line = process.wait_for_line("listening on ");
        let url = line.rsplit("listening on ").next().unwrap().trim().to_owned();
        (process, url)
    }

    fn worker(&self) -> Process {
        Process::spawn(&mut self.role(&["worker"]))
    }

    fn kill_api(&mut self, which: usize) {
        self.apis[which].0.kill();
        self.apis[which] = self.api();
    }

    fn kill_worker(&mut self, which: usize) {
        self.workers[which].kill();
        self.workers[which] = self.worker();
    }

    /// Puts the photos of a batch where it will be imported from.
    fn put(&self, batch: usize, photos: impl Iterator<Item = (String, Vec<u8>)>) {
        let puts = photos.enumerate().map(|(n, (name, content))| {
            let (store, key) = (Arc::clone(&self.store), format!("imports/{batch}/{n:04}~{name}"));
            async move { store.put(&key, Bytes::from(content), "image/jpeg").await }
        });
        let puts: futures_util::stream::FuturesUnordered<_> = puts.collect();
        self.runtime.block_on(puts.try_collect::<Vec<_>>()).unwrap();
    }

    /// Submits a batch until somebody has said what its id is, and kills who said so at some moment after.
    fn submit(&mut self, batch: usize) -> Batch {
        let prefix = format!("{}/imports/{batch}/", self.bucket.prefix);
        let source = json!({"kind": "prefix", "bucket": self.bucket.name, "prefix": prefix});
        let body = json!({"name": format!("batch {batch}"), "source": source}).to_string();
        let key = format!("chaos-{batch}");
        let headers = [("content-type", "application/json"), ("idempotency-key", &key)];
        let mut ids = BTreeSet::new();
        // Twice: the second is told about the batch that the first has made.
        for turn in 0..2 {
            let which = (batch + turn) % 2;
            let url = format!("{}/v1/batches", self.apis[which].1);
            let answer = loop {
                let answer = http::request("POST", &url, &headers, body.as_bytes());
                match answer {
                    Some(answer) if answer.status < 300 => break answer,
                    Some(answer) if answer.status < 500 && answer.status != 409 => panic!("{answer:?}"),
                    _ => self.pause(50),
                }
            };
            ids.insert(answer.json()["id"].as_str().unwrap().to_owned());
            if turn == 0 {
                let moment = self.random.u64(0..150);
                sleep(Duration::from_millis(moment));
                self.kill_api(which);
            }
        }
        assert_eq!(ids.len(), 1, "one batch for one idempotency key");
        Batch {
            id: ids.pop_first().unwrap(),
            photos: BATCHES[batch],
        }
    }

    fn pause(&self, milliseconds: u64) {
        assert!(
            Instant::now() < self.deadline,
            "not done in {DEADLINE:?}: {:#?}",
            self.vhost.queues()
        );
        sleep(Duration::from_millis(milliseconds));
    }

    /// Keys below `local/batches/<id>/<folder>/`, of a bucket that may be away at the moment.
    fn keys(&self, batch: &Batch, folder: &str) -> Vec<String> {
        self.below(&format!("local/batches/{}/{folder}", batch.id))
    }

    /// Keys that begin with `prefix`.
    fn below(&self, prefix: &str) -> Vec<String> {
        loop {
            let listed = self
                .store
                .objects(prefix, None)
                .map_ok(|object| object.key)
                .try_collect();
            match self.runtime.block_on(listed) {
                Ok(keys) => return keys,
                Err(_) => self.pause(100),
            }
        }
    }

    fn is_finished(&self, batch: &Batch) -> bool {
        !self.keys(batch, "finished.json").is_empty()
    }

    fn done(&self, batches: &[Batch]) -> usize {
        batches
            .iter()
            .map(|batch| self.keys(batch, "results/").len())
            .sum()
    }

    fn deal(&mut self, blow: Blow) {
        let which = self.random.usize(0..2);
        match blow {
            Blow::Worker => self.kill_worker(which),
            Blow::Engine => {
                // One that is loading or cold has none; then the other's.
                let engines = [which, 1 - which].map(|which| self.workers[which].children());
                if let Some(engine) = engines.iter().flatten().next() {
                    testkit::kill(*engine);
                }
            }
            Blow::Api => self.kill_api(which),
            Blow::BrokerStops => self.broker.stop(),
            Blow::BrokerDies => self.broker.kill(),
            Blow::BucketStops => self.garage.stop(),
            Blow::BucketDies => self.garage.kill(),
            Blow::BucketFreezes => self.garage.freeze(),
        }
        match blow {
            Blow::BrokerStops | Blow::BrokerDies => self.broker.start(),
            Blow::BucketStops | Blow::BucketDies => {
                // Long enough for every photo in hand to notice.
                self.pause(2000);
                self.garage.start();
            }
            Blow::BucketFreezes => {
                self.pause(2000);
                self.garage.thaw();
            }
            Blow::Worker | Blow::Engine | Blow::Api => {}
        }
    }

    fn document(&self, batch: &Batch, name: &str) -> String {
        let key = format!("local/batches/{}/{name}", batch.id);
        let read = async { self.store.get(&key).await.unwrap().into_bytes().await.unwrap() };
        String::from_utf8(self.runtime.block_on(read)).unwrap()
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_done_twice() {
    let originals = Originals::read();
    let expected = originals.analysed();
    assert_eq!(expected.len(), originals.0.len() + 1);
    assert_eq!(expected["broken.jpg"]["outcome"], "failed");

    let mut fleet = Fleet::start();
    let mut next = 0;
    for (batch, &photos) in BATCHES.iter().enumerate() {
        fleet.put(batch, (next..next + photos).map(|n| originals.copy(n)));
        next += photos;
    }
    let batches: Vec<_> = (0..BATCHES.len()).map(|batch| fleet.submit(batch)).collect();

    let mut blows = BLOWS;
    fleet.random.shuffle(&mut blows);
    let total: usize = BATCHES.iter().sum();
    for (dealt, blow) in blows.into_iter().enumerate() {
        // Spread over the work, and only when the fleet has recovered from the last one.
        let due = total * dealt / (blows.len() + 2) + 5;
        while fleet.done(&batches) < due {
            fleet.pause(100);
        }
        println!(
            "{:?}: {} done, {blow:?}",
            Instant::now() - (fleet.deadline - DEADLINE),
            fleet.done(&batches)
        );
        fleet.deal(blow);
    }

    // The moment between the last result and the end is short: whoever finalises is killed at some moment in it.
    let mut finalising = vec![0; batches.len()];
    while !batches.iter().all(|batch| fleet.is_finished(batch)) {
        for (batch, kills) in batches.iter().zip(&mut finalising) {
            if *kills < 2 && fleet.keys(batch, "results/").len() == batch.photos && !fleet.is_finished(batch)
            {
                *kills += 1;
                let moment = fleet.random.u64(0..1500);
                fleet.pause(moment);
                fleet.kill_api(0);
                fleet.kill_api(1);
            }
        }
        fleet.pause(50);
    }
    println!(
        "{:?}: finished, killed while finalising: {finalising:?}",
        Instant::now() - (fleet.deadline - DEADLINE)
    );

    let mut seen = 0;
    for batch in &batches {
        let status = http::get(&format!("{}/v1/batches/{}", fleet.apis[0].1, batch.id))
            .unwrap()
            .json();
        assert_eq!(status["state"], "completed", "{status}");

        let keys = fleet.keys(batch, "results/");
        let root = format!("local/batches/{}/results", batch.id);
        let each = (0..batch.photos).map(|index| format!("{root}/{index:08}.json"));
        assert!(
            keys.into_iter().eq(each),
            "one result for each photo, and no other"
        );

        let lines = fleet.document(batch, "report/results.ndjson");
        let results: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let indices: Vec<_> = results
            .iter()
            .map(|result| result["index"].as_u64().unwrap())
            .collect();
        assert!(
            indices.into_iter().eq(0..batch.photos as u64),
            "each photo once in the documents"
        );
        let (mut ok, mut failed) = (0, 0);
        for result in &results {
            let name = original_name(result);
            assert_eq!(essence(result), expected[&name], "{name} of {result}");
            match result["outcome"].as_str() {
                Some("ok") => ok += 1,
                _ => failed += 1,
            }
        }
        assert_eq!(
            status["counts"],
            json!({"photos": batch.photos, "ok": ok, "failed": failed})
        );
        assert_eq!(fleet.keys(batch, "failures/").len(), failed);
        for name in ["verdict.json", "summary.csv", "report.html"] {
            assert!(
                !fleet.document(batch, &format!("report/{name}")).is_empty(),
                "{name}"
            );
        }
        seen += results.len();
    }
    assert_eq!(seen, total);

    // Nothing of it is left anywhere, once whoever wrote the end of a batch has cleared up, or who came after it.
    while !fleet.below("active/").is_empty() {
        fleet.pause(100);
    }
    testkit::wait_until("queues without work", || {
        let queues = fleet.vhost.queues();
        let work = queues
            .iter()
            .filter(|queue| !queue.name.starts_with("amq.") && !queue.name.contains("retry"));
        work.map(|queue| queue.ready + queue.unacknowledged).sum::<u64>() == 0
    });
}
