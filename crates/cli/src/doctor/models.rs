//! Are the models whole, does the ONNX Runtime library load, and on which device does the engine start?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::bundle::Network;
use engine::{Bundle, Device, Engine, EngineError, EngineErrorKind, EngineFacts, runtime};
use tokio::task::spawn_blocking;

use super::finding::{Finding, chain};
use crate::roles::parts;
use crate::settings::Settings;

const BUNDLE: &str = "bundle";
const RUNTIME: &str = "runtime";
const DEVICE: &str = "device";
const ENGINE: &str = "engine";

/// `run`: whether an engine is to run here; an API reads the bundle's name and digest only.
pub(super) async fn check(settings: &Settings, run: bool, limit: Duration) -> Vec<Finding> {
    let asked = settings.clone();
    let seen = spawn_blocking(move || (bundle(&asked), run.then(|| library(&asked)))).await;
    let Ok(((folder, mut findings), library)) = seen else {
        return vec![Finding::fail(BUNDLE, "the check itself broke").with("please report this as a bug")];
    };
    match (folder, library) {
        (_, None) => {}
        (Some(folder), Some(Ok(library))) => findings.extend(start(settings, &folder, &library, limit).await),
        (None, Some(Ok(library))) => findings.push(
            Finding::warn(
                RUNTIME,
                format!(
                    "{} is there; it was not loaded, for there are no models to load with it",
                    library.display()
                ),
            )
            .with("see the bundle, then ask again"),
        ),
        (_, Some(Err(finding))) => findings.push(finding),
    }
    findings
}

/// The folder, when everything in it is as it should be.
fn bundle(settings: &Settings) -> (Option<PathBuf>, Vec<Finding>) {
    let folder = match parts::bundle_folder(settings) {
        Ok(folder) => folder,
        Err(error) => {
            let finding = Finding::fail(BUNDLE, error.to_string())
                .with("`pitchfleet models pull` fetches one; or correct models.bundle");
            return (None, vec![finding]);
        }
    };
    let checked = Bundle::open(&folder).and_then(|bundle| bundle.verify().map(|()| bundle));
    match checked {
        Ok(bundle) => {
            let manifest = bundle.manifest();
            let precisions: Vec<_> = Network::ALL
                .into_iter()
                .map(|network| {
                    let names: Vec<_> = bundle
                        .precisions(network)
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    format!("{} {}", network.name(), names.join(" and "))
                })
                .collect();
            let found = format!(
                "{} {}, {}, every file as its SHA-256 says, {}, in {}",
                manifest.name,
                manifest.version,
                precisions.join(", "),
                bundle.digest(),
                folder.display()
            );
            (Some(folder), vec![Finding::ok(BUNDLE, found)])
        }
        Err(error) => {
            let finding = Finding::fail(BUNDLE, chain(&error)).with(
                "fetch it again (`pitchfleet models pull`), or, if the change is meant, write its new SHA-256 into its \
                 bundle.toml",
            );
            (None, vec![finding])
        }
    }
}

fn library(settings: &Settings) -> Result<PathBuf, Finding> {
    let want_gpu = settings.worker.device != Device::Cpu;
    runtime::locate(settings.models.runtime_library.as_deref(), want_gpu).map_err(|error| no_runtime(&error))
}

fn no_runtime(error: &EngineError) -> Finding {
    Finding::fail(RUNTIME, error.to_string()).with(
        "run scripts/onnxruntime.sh, or set models.runtime_library (or PITCHFLEET_ONNXRUNTIME) to a libonnxruntime.so \
         of version 1.24 or newer",
    )
}

/// Starts an engine as a worker would, and ends it.
async fn start(settings: &Settings, folder: &Path, library: &Path, limit: Duration) -> Vec<Finding> {
    let mut config = parts::engine_config(settings, folder);
    config.runtime_library = Some(library.to_owned());
    config.load_deadline = config.load_deadline.min(limit);
    let engine = match Engine::new(config) {
        Ok(engine) => engine,
        Err(error) => return vec![failed(&error)],
    };
    let loaded = engine.load().await;
    let took = engine.stats().last_load_ms;
    engine.stop().await;
    match loaded {
        Ok(facts) => vec![
            Finding::ok(
                RUNTIME,
                format!("ONNX Runtime {}, {}", facts.runtime_version, library.display()),
            ),
            device(settings, &facts, driver().as_deref()),
            ready(&facts, took),
        ],
        Err(error) => vec![failed(&error)],
    }
}

fn failed(error: &EngineError) -> Finding {
    match error.kind {
        EngineErrorKind::RuntimeMissing | EngineErrorKind::RuntimeUnusable => no_runtime(error),
        EngineErrorKind::DeviceUnavailable => Finding::fail(DEVICE, error.to_string()).with(
            "see `nvidia-smi`; in a container the card is to be given to it (`--gpus`, `nvidia.com/gpu`); or set \
             worker.device to cpu, or worker.allow_cpu_fallback",
        ),
        EngineErrorKind::StartTimeout => Finding::fail(ENGINE, error.to_string())
            .with("is the machine overloaded or its disk slow? --limit gives the check more time"),
        EngineErrorKind::StartFailed => Finding::fail(ENGINE, error.to_string()).with(
            "most often memory is short: compare the machine's line; a library of another architecture or a kernel \
             that forbids new processes does it, too",
        ),
        _ => Finding::fail(ENGINE, error.to_string())
            .with("fetch the bundle again: `pitchfleet models pull`; worker and bundle are to be of the same release"),
    }
}

fn device(settings: &Settings, facts: &EngineFacts, driver: Option<&str>) -> Finding {
    let reason = match facts.device_reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let found = format!("{} with {}{reason}", facts.device, facts.execution_provider);
    let found = match driver {
        Some(driver) => format!("{found}; {driver}"),
        None => found,
    };
    let is_replaced = facts.execution_provider != facts.execution_provider_requested;
    if is_replaced && settings.worker.device != Device::Auto {
        return Finding::warn(DEVICE, found).with(format!(
            "{} was asked for: see `nvidia-smi`, and that the library is the one for GPUs (`scripts/onnxruntime.sh \
             --gpu`)",
            settings.worker.device
        ));
    }
    Finding::ok(DEVICE, found)
}

fn ready(facts: &EngineFacts, took: Option<f64>) -> Finding {
    let took = took.map_or_else(String::new, |ms| format!(" in {ms:.0} ms"));
    let found = format!(
        "ready{took}: {} lanes, {}; fenced in by {}",
        facts.lanes,
        facts.precision(),
        if facts.isolation.is_empty() {
            "nothing"
        } else {
            &facts.isolation
        }
    );
    if facts.isolation.is_empty() {
        return Finding::warn(ENGINE, found).with(
            "photos come from strangers: use a kernel with Landlock and seccomp (Linux 5.13 or newer) where that is \
             possible",
        );
    }
    Finding::ok(ENGINE, found)
}

/// The NVIDIA driver's own words.
fn driver() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    Some(driver_version(&text))
}

/// From `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug …`.
fn driver_version(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match line.split_whitespace().find(is_version) {
        Some(version) => format!("NVIDIA driver {version}"),
        None => "an NVIDIA driver that does not say its version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn the_drivers_version_is_read() {
        for (text, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:",
                "NVIDIA driver 535.104.05",
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build",
                "NVIDIA driver 560.35.03",
            ),
            ("", "an NVIDIA driver that does not say its version"),
        ] {
            assert_eq!(driver_version(text), version);
        }
    }

    fn facts() -> EngineFacts {
        EngineFacts {
            bundle: "demo 1".into(),
            bundle_digest: "sha256:0".into(),
            device: "cpu".into(),
            execution_provider_requested: "CUDAExecutionProvider".into(),
            execution_provider: "CPUExecutionProvider".into(),
            device_reason: "no NVIDIA driver is loaded".into(),
            detector_precision: engine::Precision::Int8,
            classifier_precision: engine::Precision::Int8,
            precision_reason: String::new(),
            lanes: 2,
            runtime_version: "1.32.0".into(),
            isolation: "landlock, seccomp".into(),
        }
    }

    #[test]
    fn a_card_that_was_asked_for_and_replaced_is_told_of() {
        let mut settings = Settings::default();
        assert_eq!(
            device(&settings, &facts(), None).level,
            Level::Ok,
            "`auto` is content"
        );
        settings.worker.device = Device::Cuda(0);
        let found = device(&settings, &facts(), None);
        assert_eq!(found.level, Level::Warn);
        assert!(found.found.contains("no NVIDIA driver"), "{found:?}");
    }

    #[test]
    fn an_engine_without_a_fence_is_told_of() {
        assert_eq!(ready(&facts(), Some(80.0)).level, Level::Ok);
        let bare = EngineFacts {
            isolation: String::new(),
            ..facts()
        };
        assert_eq!(ready(&bare, None).level, Level::Warn);
    }
}
