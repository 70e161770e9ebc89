//! Fewer workers in the middle of a set, as an autoscaler makes them: SIGTERM, some time, SIGKILL. Nothing is lost, and
//! nothing is done twice beyond what a killed one had in hand.

use testkit::Process;

use crate::ground::{Ground, Role};
use crate::servers::Servers;

const PHOTOS: u64 = 150;
/// Photos that a worker with one lane has in hand at most: with the models, and fetched ahead.
const IN_HAND: u64 = 1 + 2;

struct Fleet {
    servers: Servers,
    ground: Ground,
    api: Role,
}

impl Fleet {
    fn start() -> Self {
        let (servers, ground) = (Servers::shared(), Ground::with_photos(150));
        let mut api = Role::api(&mut servers.role(&ground, &["api", "--listen", "127.0.0.1:0"]));
        api.process.wait_ready(&format!("{}/readyz", api.server));
        Self { servers, ground, api }
    }

    fn worker(&self, name: &str) -> Process {
        let mut command = self.servers.role(&self.ground, &["worker"]);
        command.envs([
            ("PITCHFLEET_LOG", "warn,pitchfleet=info,worker=debug"),
            ("PITCHFLEET_WORKER_NAME", name),
            ("PITCHFLEET_WORKER_LANES", "1"),
            ("PITCHFLEET_WORKER_AHEAD", "2"),
        ]);
        Process::spawn(&mut command)
    }

    /// Waits for the end of the batch, and looks at what came of it.
    fn assert_complete(&self, batch: &str) {
        let ended = self.api.wait_final(batch);
        assert_eq!(ended["state"], "completed");
        assert_eq!(ended["counts"]["ok"], PHOTOS, "{ended}");
        let results = self.ground.results(&self.api.server, batch);
        assert_eq!(results.len() as u64, PHOTOS, "one result for each photo");
        testkit::wait_until("queues without work", || {
            let queues = self.servers.vhost.queues();
            let work = queues
                .iter()
                .filter(|queue| queue.name.contains("jobs") || queue.name.contains("dead"));
            work.map(|queue| queue.ready + queue.unacknowledged).sum::<u64>() == 0
        });
    }
}

/// Photos that a worker took to their results. One that was killed may have stored what it did not live to tell, and
/// another then finds it.
fn analysed(worker: &Process) -> u64 {
    let said = worker.output();
    let is_done = |line: &&str| {
        ["ok", "reused"]
            .iter()
            .any(|outcome| line.contains(&format!("photo handled outcome=\"{outcome}\"")))
    };
    said.lines().filter(is_done).count() as u64
}

#[test]
fn a_worker_that_is_asked_to_go_in_the_middle_of_a_set_leaves_no_work_to_be_repeated() {
    let fleet = Fleet::start();
    let (mut goes, mut stays) = (fleet.worker("goes"), fleet.worker("stays"));
    let batch = fleet.ground.submit(&fleet.api.server);
    testkit::wait_until("both at work", || analysed(&goes) >= 5 && analysed(&stays) >= 5);
    goes.terminate();
    assert!(goes.wait().success(), "{}", goes.output());
    assert!(goes.output().contains("in_time=true"), "{}", goes.output());
    fleet.assert_complete(&batch);
    stays.terminate();
    assert!(stays.wait().success(), "{}", stays.output());
    let (before, after) = (analysed(&goes), analysed(&stays));
    assert!(before < PHOTOS, "it went in the middle");
    assert_eq!(before + after, PHOTOS, "each photo was analysed once");
}

#[test]
fn a_worker_that_is_killed_when_its_time_is_over_costs_what_it_had_in_hand() {
    let fleet = Fleet::start();
    let (mut killed, mut stays) = (fleet.worker("killed"), fleet.worker("stays"));
    let batch = fleet.ground.submit(&fleet.api.server);
    testkit::wait_until("both at work", || analysed(&killed) >= 5 && analysed(&stays) >= 5);
    // What is with its models will never be done: it cannot go in time.
    let engines = killed.children();
    assert!(!engines.is_empty());
    engines.into_iter().for_each(testkit::freeze);
    killed.terminate();
    killed.wait_for_line("asked to stop");
    assert!(killed.is_running(), "it waits for what it has in hand");
    killed.kill();
    fleet.assert_complete(&batch);
    stays.terminate();
    assert!(stays.wait().success(), "{}", stays.output());
    let handled = analysed(&killed) + analysed(&stays);
    assert!(handled >= PHOTOS, "nothing is lost: {handled}");
    assert!(
        handled <= PHOTOS + IN_HAND,
        "no more was repeated than one worker has in hand: {handled}"
    );
}
