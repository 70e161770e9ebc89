//! The engine's own lanes: each analyses pitches with its networks.

use std::fs;

use pitch::analyse::{AnalyseError, analyse};
use pitch::analysis::{Analysis, Options, Picture};
use pitch::detect::boxes::Thresholds;
use pitch::networks::Networks;
use pitch::photo::{self, CropWant, Limits};
use pitch::surface::SurfaceReader;

use super::{Lane, LoadRequest, Loaded};
use crate::batcher;
use crate::bundle::{Bundle, Network};
use crate::device::{self, Choice, Machine};
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::precision;
use crate::request::EngineFacts;
use crate::sessions::{Loader, Place, Runtime, Sessions};

/// Most images in one batch on a GPU.
const LARGEST_BATCH: usize = 16;

/// Loads what `request` says.
///
/// # Errors
/// What is missing or wrong, with the remedy.
pub(super) fn load(request: &LoadRequest) -> Result<Loaded, EngineError> {
    // Without libheif HEIC photos fail with a code that says so.
    let _ = photo::heic::preload();
    let bundle = Bundle::open(&request.bundle)?;
    let runtime = Runtime::load(&request.library)?;
    let machine = Machine::probe(runtime.has_cuda());
    let mut choice = device::choose(request.device, &machine, request.allow_cpu_fallback)?;

    let (picked, sessions) = match load_on(&choice, request, &bundle, &runtime) {
        Err(error) if error.kind == EngineErrorKind::DeviceUnavailable => {
            choice = device::fall_back(request.device, &error.message, request.allow_cpu_fallback)?;
            load_on(&choice, request, &bundle, &runtime)?
        }
        loaded => loaded?,
    };
    let detector = &bundle.manifest().detector;
    let facts = EngineFacts {
        bundle: format!("{} {}", bundle.manifest().name, bundle.manifest().version),
        bundle_digest: bundle.digest(),
        device: choice
            .card
            .map_or_else(|| "cpu".to_owned(), |card| format!("cuda:{card}")),
        execution_provider_requested: requested_provider(request, &choice).to_owned(),
        execution_provider: choice.provider().to_owned(),
        device_reason: choice.reason,
        detector_precision: picked.detector,
        classifier_precision: picked.classifier,
        precision_reason: picked.reason,
        lanes: request.lanes,
        runtime_version: ort_version(request),
        isolation: String::new(),
    };
    let lane = |networks: Box<dyn Networks + Send>| -> Box<dyn Lane> {
        Box::new(Analyst {
            networks,
            reader: SurfaceReader::default(),
            limits: request.limits.clone(),
            thresholds: Thresholds {
                confidence: detector.confidence_threshold,
                iou: detector.iou_threshold,
            },
        })
    };
    let lanes = match choice.card {
        None => sessions
            .into_iter()
            .map(|sessions| lane(Box::new(sessions)))
            .collect(),
        Some(_) => batched_lanes(sessions, request.lanes, lane)?,
    };
    Ok(Loaded { facts, lanes })
}

fn requested_provider(request: &LoadRequest, choice: &Choice) -> &'static str {
    match request.device {
        crate::Device::Cpu => device::provider_name(false),
        crate::Device::Cuda(_) => device::provider_name(true),
        crate::Device::Auto => choice.provider(),
    }
}

/// The version in the library's file name, or what ONNX Runtime says of its build.
fn ort_version(request: &LoadRequest) -> String {
    let name = fs::canonicalize(&request.library).unwrap_or_else(|_| request.library.clone());
    let name = name
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    match name.split_once(".so.") {
        Some((_, version)) => version.to_owned(),
        None => name,
    }
}

/// On the CPU one pair of sessions for each lane, on a card one for all.
fn load_on(
    choice: &Choice,
    request: &LoadRequest,
    bundle: &Bundle,
    runtime: &Runtime,
) -> Result<(precision::Picked, Vec<Sessions>), EngineError> {
    let picked = precision::pick(
        request.precision,
        bundle,
        choice.card.is_some(),
        precision::int8_instructions(),
    )?;
    let detector = bundle.read_model(Network::Detector, picked.detector)?;
    let classifier = bundle.read_model(Network::Classifier, picked.classifier)?;
    let (place, count) = match choice.card {
        None => (Place::Cpu, request.lanes),
        Some(card) => (Place::Cuda(card), 1),
    };
    let classes = &bundle.manifest().detector.classes;
    let loader = Loader::new(runtime, place, &detector, &classifier, classes);
    let sessions = (0..count).map(|_| loader.load()).collect::<Result<_, _>>()?;
    Ok((picked, sessions))
}

fn batched_lanes(
    sessions: Vec<Sessions>,
    lanes: usize,
    lane: impl Fn(Box<dyn Networks + Send>) -> Box<dyn Lane>,
) -> Result<Vec<Box<dyn Lane>>, EngineError> {
    let failed = |reason: String| EngineError::new(EngineErrorKind::StartFailed, reason);
    let sessions = sessions
        .into_iter()
        .next()
        .ok_or_else(|| failed("no session was loaded".to_owned()))?;
    let shape = sessions.shape().clone();
    let batched =
        batcher::start(sessions, shape, LARGEST_BATCH).map_err(|error| failed(error.to_string()))?;
    Ok((0..lanes).map(|_| lane(Box::new(batched.clone()))).collect())
}

/// One lane.
struct Analyst {
    networks: Box<dyn Networks + Send>,
    reader: SurfaceReader,
    limits: Limits,
    thresholds: Thresholds,
}

impl Lane for Analyst {
    fn cost(&self, photo: &[u8], options: &Options) -> u64 {
        let want = CropWant {
            analysis_max_side: options.analysis_max_side,
        };
        photo::open(photo, &self.limits).map_or(0, |photo| photo.header().decoded_cost(want))
    }

    fn analyse(&mut self, photo: &[u8], options: &Options) -> Result<(Analysis, Vec<Picture>), PhotoFailure> {
        let analysed = analyse(
            photo,
            &self.limits,
            options,
            self.thresholds,
            self.networks.as_mut(),
            &mut self.reader,
        );
        analysed.map_err(|error| match error {
            AnalyseError::Photo(error) => PhotoFailure::new(error.kind().code(), true, error.to_string()),
            AnalyseError::Network(error) if error.out_of_memory => {
                PhotoFailure::new(code::ENGINE_OUT_OF_MEMORY, false, error.to_string())
            }
            AnalyseError::Network(error) => {
                PhotoFailure::new(code::INFERENCE_FAILED, false, error.to_string())
            }
            AnalyseError::Picture(error) => PhotoFailure::new(code::ENGINE_PANICKED, true, error.to_string()),
        })
    }
}
