use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{PATIENCE, http, wait_until};

/// An executable that runs beside the test, with its output kept. Ends with the test, and all its children with it; when
/// the test fails, what it said is shown.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Said {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: Arc<Self>, stream: impl Read + Send + 'static) {
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                self.lines()
                    .push(String::from_utf8_lossy(&line).trim_end().to_owned());
                self.more.notify_all();
                line.clear();
            }
        });
    }
}

impl Process {
    /// Starts it, without input.
    ///
    /// # Panics
    /// When there is no such executable.
    pub fn spawn(command: &mut Command) -> Self {
        // A group of its own, so that what it starts can be ended with it.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::new(Said::default());
        Arc::clone(&said).listen(child.stdout.take().expect("a pipe"));
        Arc::clone(&said).listen(child.stderr.take().expect("a pipe"));
        Self { child, said }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ids of the processes that it started, as far as they run.
    pub fn children(&self) -> Vec<u32> {
        let id = self.id();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|&child| parent(child) == Some(id)).collect()
    }

    /// Waits for a line, of either stream, that holds `text`, and returns it. Lines of the past count, too.
    ///
    /// # Panics
    /// When none comes in time, or the process ends before.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Asked before the lines are looked at: of a process that has ended, all may have been said by now.
            let ended = self.child.try_wait().expect("a child");
            let lines = self.said.lines();
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let all = lines.join("\n");
            assert!(
                ended.is_none(),
                "ended ({ended:?}) without a line with {text:?}:\n{all}"
            );
            assert!(Instant::now() < deadline, "never said {text:?}:\n{all}");
            let moment = std::time::Duration::from_millis(100);
            drop(self.said.more.wait_timeout(lines, moment));
        }
    }

    /// Waits until `url` answers 200.
    ///
    /// # Panics
    /// When it does not in time, or the process ends before.
    pub fn wait_ready(&mut self, url: &str) {
        wait_until(&format!("200 from {url}"), || {
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none(),
                "ended ({ended:?}) before {url} was ready:\n{}",
                self.output()
            );
            http::get(url).is_some_and(|response| response.status == 200)
        });
    }

    /// SIGKILL; its children are left to themselves. Returns when it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM. Returns at once: [`wait`](Self::wait) for its end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT, as Ctrl-C gives. Returns at once.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGSTOP: it stands still until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that does not come in time.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of a process", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said so far, on both streams.
    pub fn output(&self) -> String {
        self.said.lines().join("\n")
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = pid(self.child.id()) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = pid(self.child.id()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.kill();
        if thread::panicking() {
            let (id, output) = (self.id(), self.output());
            let from = output.len().saturating_sub(20_000);
            let from = (from..).find(|&at| output.is_char_boundary(at)).unwrap_or(0);
            eprintln!("--- process {id} said ---\n{}\n---", &output[from..]);
        }
    }
}

/// SIGKILL to any process: an engine, say.
pub fn kill(id: u32) {
    if let Some(pid) = pid(id) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// SIGSTOP to any process: it stands still, and only [`kill`] ends it.
pub fn freeze(id: u32) {
    if let Some(pid) = pid(id) {
        let _ = kill_process(pid, Signal::STOP);
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

fn parent(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state and the parent follow it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
