//! A worker whose unloads leave too much begins anew: the same process, with nothing of what it held.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use testkit::Process;
use testkit::http;

use crate::ground::{Ground, Role};
use crate::servers::Servers;

/// Unloads that the floor is made of, and those above it that a worker bears.
const SETTLING: usize = 3;
const BORNE: usize = 3;
/// Photos of the last batch before it begins anew.
const BUSY: usize = 12;

/// Connections to the worker's own port, each of which makes it keep a request that never ends: memory that no unload
/// gives back.
struct Held(Vec<TcpStream>);

impl Held {
    const CONNECTIONS: usize = 12;
    /// Below what the worker refuses as too large a request, and before it has waited long enough for the rest.
    const BYTES: usize = 350_000;

    fn by(worker: &Process) -> Self {
        let said = worker.output();
        let address = said.rsplit("metrics on http://").next().unwrap();
        let address = address.split('/').next().unwrap();
        let connections = (0..Self::CONNECTIONS).map(|_| {
            let mut connection = TcpStream::connect(address).unwrap();
            let begun = format!("GET /livez HTTP/1.1\r\nX-Rest: {}", "x".repeat(Self::BYTES));
            connection.write_all(begun.as_bytes()).unwrap();
            connection
        });
        Self(connections.collect())
    }

    /// Whether the worker has hung up on all of them.
    fn are_gone(&mut self) -> bool {
        self.0.iter_mut().all(|connection| {
            connection.set_nonblocking(true).unwrap();
            !matches!(connection.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        })
    }
}

struct Fleet {
    servers: Servers,
    ground: Ground,
    api: Role,
    worker: Process,
    /// Photos that were submitted.
    taken: usize,
}

impl Fleet {
    fn start() -> Self {
        let ground = Ground::with_photos(2 * SETTLING + BORNE + BUSY);
        let servers = Servers::shared();
        let api = Role::api(&mut servers.role(&ground, &["api", "--listen", "127.0.0.1:0"]));
        let mut worker = servers.role(&ground, &["worker"]);
        worker.envs([
            ("PITCHFLEET_LOG", "info,worker=debug"),
            ("PITCHFLEET_WORKER_NAME", "leaks"),
            ("PITCHFLEET_WORKER_UNLOAD_GRACE", "500ms"),
            ("PITCHFLEET_WORKER_METRICS_LISTEN", "127.0.0.1:0"),
        ]);
        let mut worker = Process::spawn(&mut worker);
        worker.wait_for_line("metrics on ");
        let mut fleet = Self {
            servers,
            ground,
            api,
            worker,
            taken: 0,
        };
        let ready = format!("{}/readyz", fleet.api.server);
        fleet.api.process.wait_ready(&ready);
        fleet
    }

    /// A batch of the next `count` photos, none of which was ever seen.
    fn submit(&mut self, count: usize) -> String {
        let folder = self.ground.home().join(format!("from-{}", self.taken));
        fs::create_dir(&folder).unwrap();
        for number in self.taken..self.taken + count {
            let name = format!("{number:04}.jpg");
            fs::copy(self.ground.photos().join(&name), folder.join(&name)).unwrap();
        }
        self.taken += count;
        let arguments = ["submit", folder.to_str().unwrap(), "--detach"];
        self.ground.ask(&self.api.server, &arguments).trim().to_owned()
    }

    fn analyse(&mut self, count: usize) {
        let batch = self.submit(count);
        self.assert_complete(&batch, count);
    }

    fn assert_complete(&self, batch: &str, count: usize) {
        let ended = self.api.wait_final(batch);
        assert_eq!(ended["state"], "completed");
        assert_eq!(ended["counts"]["ok"], count, "{ended}");
        let results = self.ground.results(&self.api.server, batch);
        assert_eq!(results.len(), count, "one result for each photo");
    }

    fn said(&self, text: &str) -> usize {
        self.worker.output().matches(text).count()
    }

    fn wait_said(&mut self, text: &str, times: usize) {
        testkit::wait_until(&format!("{text:?} {times} times"), || {
            assert!(self.worker.is_running(), "the worker ended");
            self.said(text) >= times
        });
    }

    /// When the worker began, as its heartbeats say, and the process that it is, as the kernel does.
    fn began(&self) -> Option<(u64, String)> {
        let response = http::get(&format!("{}/v1/workers", self.api.server))?;
        let workers: Value = response.json();
        let worker = workers["workers"].as_array()?.first()?.clone();
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.worker.id())).ok()?;
        // Field 22, the time that the process was started: `exec` does not change it.
        let started = stat.rsplit(')').next()?.split_whitespace().nth(19)?.to_owned();
        Some((worker["last"]["started_ms"].as_u64()?, started))
    }

    fn wait_began_after(&self, before: u64) -> (u64, String) {
        let mut found = None;
        testkit::wait_until("a heartbeat of a new worker", || {
            found = self.began().filter(|(began, _)| *began > before);
            found.is_some()
        });
        found.unwrap()
    }
}

#[test]
fn a_worker_that_leaks_begins_anew_when_it_is_idle_and_loses_nothing() {
    let mut fleet = Fleet::start();
    for round in 1..=SETTLING {
        fleet.analyse(1);
        fleet.wait_said("the models are unloaded", round);
    }
    let (began, started) = fleet.wait_began_after(0);

    for round in 1..BORNE {
        let _held = Held::by(&fleet.worker);
        fleet.analyse(1);
        fleet.wait_said("an unload left too much", round);
    }
    // The next will be one too many, but not before these are done.
    let mut held = Held::by(&fleet.worker);
    fleet.analyse(BUSY);
    fleet.wait_said("worker started", 2);
    let said = fleet.worker.output();
    let (before, after) = said.split_once("this process ends when it is idle").unwrap();
    assert_eq!(before.matches("worker started").count(), 1);
    let analysed = before.matches("photo handled outcome=\"ok\"").count();
    assert_eq!(analysed, SETTLING + BORNE - 1 + BUSY, "all of them by the first");
    assert!(after.contains("requeued=0 in_time=true"), "{after}");
    assert!(held.are_gone(), "the new one holds nothing of the old one's");

    // It is the same process, and another worker.
    assert_eq!(fleet.wait_began_after(began).1, started);
    assert_eq!(
        fleet.said("the models are unloaded"),
        SETTLING + BORNE,
        "nothing is loaded while there is nothing to do"
    );
    for round in 1..=SETTLING {
        fleet.analyse(1);
        fleet.wait_said("the models are unloaded", SETTLING + BORNE + round);
    }
    assert_eq!(fleet.said("worker started"), 2);
    assert_eq!(
        fleet.said("an unload left too much"),
        BORNE,
        "it counts from the beginning"
    );
    testkit::wait_until("the broker to count nothing that is left", || {
        let queues = fleet.servers.vhost.queues();
        let photos = queues
            .iter()
            .filter(|queue| queue.name.contains("jobs") || queue.name.contains("dead"));
        photos
            .map(|queue| queue.ready + queue.unacknowledged)
            .sum::<u64>()
            == 0
    });
    fleet.worker.terminate();
    assert!(fleet.worker.wait().success(), "{}", fleet.worker.output());
}
