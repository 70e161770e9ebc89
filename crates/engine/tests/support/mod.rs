//! Engines whose process is the test executable itself. A file of tests that uses this has a test `as_child`, ignored,
//! that runs the engine's side.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::EngineConfig;

/// The folder of the demo bundle.
pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")
}

/// Engines of `lanes` lanes with the models in the folder `bundle`.
pub(crate) fn config(bundle: &Path, lanes: usize) -> EngineConfig {
    let mut config = EngineConfig::new(bundle);
    config.program = Some(std::env::current_exe().unwrap());
    config.arguments = [
        "--exact",
        "as_child",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]
    .map(OsString::from)
    .into();
    config.lanes = NonZeroUsize::new(lanes);
    config
}

/// What `as_child` ends with.
pub(crate) fn assert_success(code: ExitCode) {
    // An exit code can be compared in no other way.
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
}
