//! Engine processes that misbehave. The child is this test executable itself, run with the arguments that make it call
//! [`as_child`]; its lanes do what the bytes of the "photo" say.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions beside the tests may fail, too"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::child::{Lane, LoadRequest, Loaded};
use engine::failure::code;
use engine::{
    Analysed, Engine, EngineConfig, EngineErrorKind, EngineFacts, OpenPhoto, PhotoFailure, PhotoReader,
    PhotoRequest, PhotoSource, Precision,
};
use pitch::analysis::{Analysis, Options, Picture};

/// Bytes that decoded photos may hold.
const BUDGET: u64 = 64 << 20;

/// The child's side: not a test of its own.
#[test]
#[ignore = "run by the other tests as the engine process"]
fn as_child() {
    support::assert_success(engine::child::serve(load));
}

fn load(request: &LoadRequest) -> Result<Loaded, engine::EngineError> {
    let facts = EngineFacts {
        bundle: "test".into(),
        bundle_digest: "sha256:0".into(),
        device: "cpu".into(),
        execution_provider_requested: "CPUExecutionProvider".into(),
        execution_provider: "CPUExecutionProvider".into(),
        device_reason: String::new(),
        detector_precision: Precision::Fp32,
        classifier_precision: Precision::Fp32,
        precision_reason: String::new(),
        lanes: request.lanes,
        runtime_version: "none".into(),
        isolation: String::new(),
    };
    let lanes = (0..request.lanes)
        .map(|number| Box::new(Obedient { number }) as Box<dyn Lane>)
        .collect();
    Ok(Loaded { facts, lanes })
}

/// The third lane of an engine cannot be prepared, the fifth never comes to an end with it.
struct Obedient {
    number: usize,
}

impl Lane for Obedient {
    fn prepare(&mut self) -> Result<(), engine::EngineError> {
        match self.number {
            2 => Err(engine::EngineError {
                kind: EngineErrorKind::ModelCorrupt,
                message: "as told".into(),
            }),
            3 => panic!("as told"),
            4 => loop {
                std::thread::park();
            },
            _ => Ok(()),
        }
    }

    fn cost(&self, photo: &[u8], _options: &Options) -> u64 {
        let text = String::from_utf8_lossy(photo);
        match text.split_once(' ') {
            Some(("header", "crash")) => std::process::abort(),
            Some(("header", "hang")) => loop {
                std::thread::park();
            },
            // As much as the whole budget: one after the other.
            Some(("large" | "until", _)) => BUDGET,
            _ => 0,
        }
    }

    fn analyse(
        &mut self,
        photo: &[u8],
        _options: &Options,
    ) -> Result<(Analysis, Vec<Picture>), PhotoFailure> {
        let text = String::from_utf8_lossy(photo);
        let (command, argument) = text.split_once(' ').unwrap_or((&text, ""));
        match command {
            "ok" => return Ok((analysis(), Vec::new())),
            "slow" | "large" => {
                std::thread::sleep(Duration::from_millis(argument.parse().unwrap()));
                return Ok((analysis(), Vec::new()));
            }
            // Holds its memory until the file is there.
            "until" => {
                while !Path::new(argument).exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Ok((analysis(), Vec::new()));
            }
            "crash" => std::process::abort(),
            "exit" => std::process::exit(3),
            "hang" => loop {
                std::thread::park();
            },
            "panic" => panic!("as told"),
            "devour" => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    eaten.push(vec![1; 64 << 20]);
                }
            }
            "read" => return told(std::fs::read(argument).map(|bytes| format!("{} bytes", bytes.len()))),
            "write" => return told(std::fs::write(argument, "x").map(|()| "written".to_owned())),
            "connect" => return told(std::net::TcpStream::connect(argument).map(|_| "connected".to_owned())),
            "run" => {
                return told(
                    std::process::Command::new(argument)
                        .status()
                        .map(|status| status.to_string()),
                );
            }
            "variables" => {
                return told(Ok(std::env::vars()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
                    .join(" ")));
            }
            "files" => return told(open_files()),
            _ => {}
        }
        Err(failure(&format!("no such command: {text}")))
    }
}

fn told(result: std::io::Result<String>) -> Result<(Analysis, Vec<Picture>), PhotoFailure> {
    Err(failure(
        &result.unwrap_or_else(|error| format!("refused: {error}")),
    ))
}

/// File descriptors beyond the standard ones that answer to `fcntl`, one by one: /proc cannot be listed from within.
fn open_files() -> std::io::Result<String> {
    use std::os::fd::BorrowedFd;
    let is_open = |fd: &i32| {
        #[expect(unsafe_code, reason = "asks about descriptors that nobody here owns")]
        // SAFETY: the descriptor is only asked for its flags; one that is closed answers with an error.
        rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*fd) }).is_ok()
    };
    Ok((3..256).filter(is_open).count().to_string())
}

fn failure(message: &str) -> PhotoFailure {
    PhotoFailure {
        code: "told".into(),
        message: message.to_owned(),
        permanent: true,
        sha256: None,
    }
}

fn analysis() -> Analysis {
    serde_json::from_str(include_str!("fixtures/analysis.json")).unwrap()
}

/// An engine of `lanes` lanes whose child is this executable.
fn engine(lanes: usize, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = support::config(&support::demo(), lanes);
    config.memory_budget = Some(BUDGET);
    change(&mut config);
    Engine::new(config).unwrap()
}

async fn tell(engine: &Engine, command: &str) -> Result<Analysed, PhotoFailure> {
    let request = PhotoRequest {
        source: PhotoSource::Bytes(command.as_bytes().into()),
        options: Options::default(),
    };
    engine.analyse(request).await
}

/// Waits for `condition`, with a limit that only a broken engine reaches.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap();
}

async fn answer(engine: &Engine, command: &str) -> String {
    tell(engine, command).await.unwrap_err().message
}

#[tokio::test]
async fn photos_go_in_and_analyses_come_out() {
    let engine = engine(2, |_| ());
    let many = (0..50).map(|_| tell(&engine, "ok"));
    for result in futures_util::future::join_all(many).await {
        let mut analysed = result.unwrap();
        assert!(std::mem::take(&mut analysed.analysis.timing.fetch) > 0.0);
        assert_eq!(analysed.analysis, analysis());
        assert_eq!(analysed.bytes, 2);
        // printf ok | sha256sum
        assert_eq!(
            analysed.sha256,
            "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df"
        );
    }
    let stats = engine.stats();
    assert_eq!((stats.loads, stats.restarts, stats.in_flight), (1, 0, 0));
}

#[tokio::test]
async fn the_photo_that_crashes_is_found_and_its_neighbours_lose_nothing() {
    let engine = engine(2, |_| ());
    for (command, expected) in [
        ("crash", code::ENGINE_CRASHED),
        ("exit 3", code::ENGINE_CRASHED),
        ("devour", code::ENGINE_OUT_OF_MEMORY),
    ] {
        let commands = ["ok", "slow 20", "ok", command, "ok", "slow 20", "ok"];
        let results = futures_util::future::join_all(commands.map(|command| tell(&engine, command))).await;
        for (told, result) in commands.iter().zip(results) {
            if *told == command {
                let failure = result.unwrap_err();
                assert_eq!(failure.code, expected, "{}", failure.message);
                assert!(
                    failure.permanent && failure.message.contains("alone"),
                    "{}",
                    failure.message
                );
            } else {
                assert!(result.is_ok(), "{command}: {told}: {result:?}");
            }
        }
    }
    // Each was tried twice; after the last death nothing came that would have started another process.
    assert!(engine.stats().restarts >= 5, "{}", engine.stats().restarts);
}

#[tokio::test]
async fn a_photo_that_hangs_is_ended_at_its_deadline() {
    let engine = engine(2, |config| config.photo_deadline = Duration::from_millis(300));
    let results = futures_util::future::join_all(["ok", "hang", "ok", "ok"].map(|c| tell(&engine, c))).await;
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0].code, code::ENGINE_TIMEOUT);
}

#[tokio::test]
async fn a_header_that_crashes_or_hangs_is_its_photos_fault() {
    let engine = engine(2, |config| config.photo_deadline = Duration::from_millis(300));
    for (command, expected) in [
        ("header crash", code::ENGINE_CRASHED),
        ("header hang", code::ENGINE_TIMEOUT),
    ] {
        let commands = ["ok", command, "ok"];
        let results = futures_util::future::join_all(commands.map(|c| tell(&engine, c))).await;
        let [Ok(_), Err(failure), Ok(_)] = &results[..] else {
            panic!("{command}: {results:?}");
        };
        assert_eq!(failure.code, expected, "{}", failure.message);
    }
}

#[tokio::test]
async fn waiting_for_memory_does_not_count_against_the_deadline() {
    let engine = engine(2, |config| config.photo_deadline = Duration::from_millis(400));
    let results = futures_util::future::join_all(["large 250"; 4].map(|c| tell(&engine, c))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(engine.stats().restarts, 0);
}

#[tokio::test]
async fn what_is_taken_of_the_budget_and_who_waits_for_it_is_told() {
    let engine = engine(2, |_| ());
    let stats = engine.stats();
    assert_eq!(
        (
            stats.memory_budget,
            stats.memory_admitted,
            stats.waiting_for_memory
        ),
        (BUDGET, 0, 0)
    );
    let small = tell(&engine, "ok").await.unwrap().admission;
    assert_eq!((small.bytes, small.memory_wait), (2, Duration::ZERO));

    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let command = format!("until {}", gate.display());
    let held = [(); 2].map(|()| {
        let (engine, command) = (engine.clone(), command.clone());
        tokio::spawn(async move { tell(&engine, &command).await })
    });
    // One holds all of the budget, and the other waits for it, however long that takes.
    let cost = BUDGET + command.len() as u64;
    until(|| {
        let stats = engine.stats();
        (stats.memory_admitted, stats.waiting_for_memory) == (cost, 1)
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    let mut waits = Vec::new();
    for photo in held {
        let admission = photo.await.unwrap().unwrap().admission;
        assert_eq!(admission.bytes, cost);
        waits.push(admission.memory_wait);
    }
    waits.sort_unstable();
    assert_eq!(waits[0], Duration::ZERO, "the first one found the budget free");
    assert!(waits[1] > Duration::ZERO, "{waits:?}");
    let stats = engine.stats();
    assert_eq!((stats.memory_admitted, stats.waiting_for_memory), (0, 0));
}

#[tokio::test]
async fn a_process_that_dies_holds_nothing_of_the_budget() {
    let engine = engine(1, |_| ());
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let command = format!("until {}", gate.display());
    let held = tokio::spawn({
        let engine = engine.clone();
        async move { tell(&engine, &command).await }
    });
    until(|| engine.stats().memory_admitted > BUDGET).await;
    let pid = i32::try_from(engine.stats().pid.unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // It is tried again by another process, which then holds it once and not twice.
    until(|| {
        let stats = engine.stats();
        stats.restarts == 1 && stats.memory_admitted > BUDGET
    })
    .await;
    assert!(engine.stats().memory_admitted < 2 * BUDGET);
    // Nobody waits for it any more; its lane has it still.
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    assert!(engine.stats().memory_admitted > BUDGET);
    std::fs::write(&gate, "").unwrap();
    until(|| engine.stats().memory_admitted == 0).await;
}

/// A photo that is longer than what goes in one frame, and whose end does not come.
struct Endless;

impl OpenPhoto for Endless {
    fn open(&self) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<PhotoReader>> + Send + '_>> {
        use tokio::io::AsyncReadExt as _;
        Box::pin(async { Ok(Box::pin(tokio::io::repeat(7).take(u64::MAX)) as PhotoReader) })
    }
}

#[tokio::test]
async fn photos_that_are_given_up_half_sent_harm_no_other() {
    let engine = engine(2, |_| ());
    tell(&engine, "ok").await.unwrap();
    for milliseconds in [1, 2, 3, 5, 8, 13] {
        let request = PhotoRequest {
            source: PhotoSource::Open(Arc::new(Endless)),
            options: Options::default(),
        };
        let given_up =
            tokio::time::timeout(Duration::from_millis(milliseconds), engine.analyse(request)).await;
        assert!(given_up.is_err());
        tell(&engine, "ok").await.unwrap();
    }
    assert_eq!((engine.stats().restarts, engine.stats().in_flight), (0, 0));
}

/// What the engine makes of a photo in a file with this content: opened by it, and open already with its cursor at the end.
async fn in_files(engine: &Engine, content: &[u8]) -> [Result<Analysed, PhotoFailure>; 2] {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let sources = [
        PhotoSource::File(file.path().to_owned()),
        PhotoSource::Opened(Arc::new(file.reopen().unwrap())),
    ];
    if let PhotoSource::Opened(file) = &sources[1] {
        std::io::copy(&mut &**file, &mut std::io::sink()).unwrap();
    }
    let options = Options::default();
    let requests = sources.map(|source| {
        let options = options.clone();
        engine.analyse(PhotoRequest { source, options })
    });
    futures_util::future::join_all(requests).await.try_into().unwrap()
}

#[tokio::test]
async fn photos_in_files_are_read_by_the_process() {
    let engine = engine(2, |config| config.limits.max_bytes = 1 << 20);
    let open = answer(&engine, "files").await;
    let many = futures_util::future::join_all((0..20).map(|_| in_files(&engine, b"ok"))).await;
    for analysed in many.into_iter().flatten() {
        let mut analysed = analysed.unwrap();
        assert!(std::mem::take(&mut analysed.analysis.timing.fetch) > 0.0);
        assert_eq!((analysed.analysis, analysed.bytes), (analysis(), 2));
    }
    // Twice, the second time alone: it is read anew.
    for died in in_files(&engine, b"crash").await {
        assert_eq!(died.unwrap_err().code, code::ENGINE_CRASHED);
    }
    for (length, kept) in [(0, 0), (300_000, 300_000), ((1 << 20) + 5, (1 << 20) + 1)] {
        for refused in in_files(&engine, &vec![b'x'; length]).await {
            // printf 'x%.0s' {1..300000} | sha256sum, and so on
            let sha256 = match kept {
                0 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                300_000 => "29927e273accc68286005017f7fa6e4f27bddb4db3083ff8b8d4c3667905b7fa",
                _ => "154b8ed3c2383ce429058768595935faf7851b5c38db2b1732594be1d88bc05a",
            };
            assert_eq!(refused.unwrap_err().sha256.unwrap(), sha256, "{length} bytes");
        }
    }
    assert_eq!(
        answer(&engine, "files").await,
        open,
        "each is closed once it is read"
    );
}

#[tokio::test]
async fn a_photo_without_end_is_cut_at_the_limit() {
    let engine = engine(1, |config| config.limits.max_bytes = 1 << 20);
    let request = PhotoRequest {
        source: PhotoSource::Open(Arc::new(Endless)),
        options: Options::default(),
    };
    assert_eq!(engine.analyse(request).await.unwrap_err().code, "told");
}

#[tokio::test]
async fn lanes_that_cannot_be_prepared_are_done_without() {
    let engine = engine(5, |_| ());
    engine.load().await.unwrap();
    // Both are told of in their own time, which may be after the first photos.
    while engine.stats().facts.unwrap().lanes != 3 {
        let many = (0..20).map(|_| tell(&engine, "ok"));
        for result in futures_util::future::join_all(many).await {
            result.unwrap();
        }
    }
    assert_eq!(tell(&engine, "ok").await.unwrap().facts.lanes, 3);
    assert_eq!((engine.stats().loads, engine.stats().restarts), (1, 0));
}

#[tokio::test]
async fn a_panic_costs_one_photo_and_no_restart() {
    let engine = engine(1, |_| ());
    let failure = tell(&engine, "panic").await.unwrap_err();
    assert_eq!(failure.code, code::ENGINE_PANICKED);
    assert!(failure.message.contains("as told"), "{}", failure.message);
    assert!(tell(&engine, "ok").await.is_ok());
    assert_eq!(engine.stats().restarts, 0);
}

#[tokio::test]
async fn a_process_killed_from_outside_costs_no_photo() {
    let engine = engine(1, |_| ());
    tell(&engine, "ok").await.unwrap();
    let slow = tell(&engine, "slow 400");
    let kill = async {
        while engine.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        let pid = i32::try_from(engine.stats().pid.unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let (slow, ()) = tokio::join!(slow, kill);
    slow.unwrap();
    assert_eq!(engine.stats().restarts, 1);
}

#[tokio::test]
async fn the_process_sees_nothing_of_its_users() {
    let kept = tempfile::NamedTempFile::new().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(1, |_| ());
    let new_file = std::env::temp_dir().join(format!("pitchfleet-escape-{}", std::process::id()));
    for command in [
        "read /etc/passwd".to_owned(),
        format!("read {}", kept.path().display()),
        "read /proc/self/environ".to_owned(),
        format!("write {}", new_file.display()),
        format!("connect {}", listener.local_addr().unwrap()),
        "run /bin/true".to_owned(),
    ] {
        let message = answer(&engine, &command).await;
        assert!(message.starts_with("refused: "), "{command}: {message}");
    }
    assert!(!new_file.exists());
    let variables = answer(&engine, "variables").await;
    assert!(
        variables.split(' ').all(|name| name.starts_with("MALLOC_")
            || ["ORT_DISABLE_TELEMETRY", "LD_LIBRARY_PATH"].contains(&name)),
        "{variables}"
    );
    // Its own two handles of the socket beside standard input.
    let files: usize = answer(&engine, "files").await.parse().unwrap();
    assert!(files <= 2, "{files}");
    let facts = engine.load().await.unwrap();
    assert_eq!(facts.isolation, "address space, landlock, seccomp");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_leaves_no_process() {
    let engine = engine(1, |_| ());
    tell(&engine, "ok").await.unwrap();
    let pid = engine.stats().pid.unwrap();
    let in_hand = tokio::spawn({
        let engine = engine.clone();
        async move { tell(&engine, "slow 100").await }
    });
    while engine.stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    engine.stop().await;
    assert!(in_hand.await.unwrap().is_ok());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert_eq!(engine.stats().pid, None);
    assert!(
        tell(&engine, "ok").await.is_ok(),
        "the next photo starts it again"
    );
    assert_eq!(engine.stats().loads, 2);
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_no_process() {
    let engine = engine(1, |_| ());
    tell(&engine, "ok").await.unwrap();
    let pid = engine.stats().pid.unwrap();
    drop(engine);
    for _ in 0..500 {
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} is still there");
}

/// A stream that breaks after some bytes.
struct Breaking;

impl OpenPhoto for Breaking {
    fn open(&self) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<PhotoReader>> + Send + '_>> {
        use tokio::io::AsyncReadExt as _;
        let broken = tokio_test::io::Builder::new()
            .read(b"ok")
            .read_error(std::io::Error::other("the line went dead"))
            .build();
        Box::pin(async { Ok(Box::pin(broken.take(1 << 20)) as PhotoReader) })
    }
}

#[tokio::test]
async fn a_photo_that_cannot_be_read_fails_alone() {
    let engine = engine(1, |_| ());
    let folder = tempfile::tempdir().unwrap();
    let sources = [
        PhotoSource::File(folder.path().join("absent.jpg")),
        PhotoSource::File(folder.path().to_owned()),
        PhotoSource::Open(Arc::new(Breaking)),
    ];
    for source in sources {
        let request = PhotoRequest {
            source,
            options: Options::default(),
        };
        let failure = engine.analyse(request).await.unwrap_err();
        assert_eq!(failure.code, code::UNREADABLE, "{}", failure.message);
    }
    assert!(tell(&engine, "ok").await.is_ok());
    assert_eq!(engine.stats().restarts, 0);
}

#[tokio::test]
async fn a_program_that_is_no_engine_is_said_to_be_none() {
    let not_an_engine = engine(1, |config| config.arguments = vec!["--list".into()]);
    let error = not_an_engine.load().await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::StartFailed);
    let absent = engine(1, |config| config.program = Some("/nowhere/pitchfleet".into()));
    assert_eq!(
        absent.load().await.unwrap_err().kind,
        EngineErrorKind::StartFailed
    );
}
