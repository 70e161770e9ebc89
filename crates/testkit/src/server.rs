use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server of the test's own, which it may stop, kill, freeze and start again: it comes back on the same ports with
/// what it had stored. Ends with the test.
#[derive(Debug)]
pub struct Server {
    script: PathBuf,
    arguments: &'static [&'static str],
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Server {
    /// A RabbitMQ with its management API; some seconds.
    ///
    /// # Panics
    /// When it does not start.
    pub fn rabbitmq() -> Self {
        Self::new("rabbitmq.sh", &["--management"])
    }

    /// A RabbitMQ that speaks TLS, too, with a certificate of an authority that nobody else knows.
    ///
    /// # Panics
    /// When it does not start.
    pub fn rabbitmq_with_tls() -> Self {
        Self::new("rabbitmq.sh", &["--tls"])
    }

    /// A Garage, which speaks S3.
    ///
    /// # Panics
    /// When it does not start.
    pub fn garage() -> Self {
        Self::new("garage.sh", &[])
    }

    fn new(script: &str, arguments: &'static [&'static str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../scripts/servers")
            .join(script);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self {
            script,
            arguments,
            folder,
            variables: BTreeMap::new(),
        };
        server.start();
        server
    }

    /// Starts it, when it is stopped, and returns when it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        let started = self.run("start", self.arguments);
        let text = String::from_utf8_lossy(&started.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        self.variables = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }

    /// Ends it in good order, and returns when it is gone.
    ///
    /// # Panics
    /// When the script fails.
    pub fn stop(&self) {
        self.run("stop", &[]);
    }

    /// Ends it as a power cut would.
    ///
    /// # Panics
    /// When the script fails.
    pub fn kill(&self) {
        self.run("kill", &[]);
    }

    /// Stops it in its tracks: connections stay open and nobody answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// One of the `PITCHFLEET_TEST_…` variables that point to it.
    ///
    /// # Panics
    /// When it has no such.
    pub fn variable(&self, name: &str) -> String {
        self.variables
            .get(name)
            .cloned()
            .unwrap_or_else(|| panic!("{} prints no {name}", self.script.display()))
    }

    /// The folder with its configuration and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its own command line: `rabbitmqctl`, `garage`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.run("ctl", arguments).stdout).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).expect("a server that runs");
        let pid = pid
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("a server that runs");
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let output = self.try_run(verb, arguments);
        let script = self.script.display();
        assert!(
            output.status.success(),
            "{script} {verb} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    fn try_run(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.script);
        command.arg(verb).arg(self.folder.path()).args(arguments);
        command
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.script.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed: nothing of it is needed any more, and a frozen one hears nothing else.
        self.try_run("kill", &[]);
    }
}
