//! The engine's own lanes: each analyses pitches with its networks.

use std::sync::Arc;
use std::{fs, iter, thread};

use pitch::analyse::{AnalyseError, analyse};
use pitch::analysis::{Analysis, Options, Picture};
use pitch::detect::boxes::Thresholds;
use pitch::networks::Networks;
use pitch::photo::{self, CropWant, Limits};
use pitch::surface::SurfaceReader;

use super::{Lane, LoadRequest, Loaded};
use crate::batcher::{self, Batched, Batching};
use crate::bundle::{Bundle, Network};
use crate::card_memory::CardMemory;
use crate::device::{self, Choice, Machine};
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::graph::detector_head;
use crate::precision;
use crate::request::EngineFacts;
use crate::sessions::{CardSessions, Loader, Model, Place, Runtime, Sessions};

/// Loads what `request` says.
///
/// # Errors
/// What is missing or wrong, with the remedy.
pub(super) fn load(request: &LoadRequest) -> Result<Loaded, EngineError> {
    let bundle = Bundle::open(&request.bundle)?;
    let runtime = Runtime::load(&request.library)?;
    thread::scope(|scope| {
        // While the sessions are built: it takes about ten milliseconds, and is over before the process fences itself in.
        // Without libheif HEIC photos fail with a code that says so.
        scope.spawn(|| photo::heic::preload().is_ok());
        load_networks(request, &bundle, &runtime)
    })
}

fn load_networks(request: &LoadRequest, bundle: &Bundle, runtime: &Runtime) -> Result<Loaded, EngineError> {
    let machine = Machine::probe(runtime.has_cuda());
    let mut choice = device::choose(request.device, &machine, request.allow_cpu_fallback)?;
    let OnDevice {
        picked,
        loader,
        sessions,
        memory,
    } = match load_on(&choice, request, bundle, runtime) {
        Err(error) if error.kind == EngineErrorKind::DeviceUnavailable => {
            choice = device::fall_back(request.device, &error.message, request.allow_cpu_fallback)?;
            load_on(&choice, request, bundle, runtime)?
        }
        loaded => loaded?,
    };
    let detector = &bundle.manifest().detector;
    let thresholds = Thresholds {
        confidence: detector.confidence_threshold,
        iou: detector.iou_threshold,
    };
    let lane = |networks: LaneNetworks| -> Box<dyn Lane> {
        Box::new(Analyst {
            networks,
            reader: SurfaceReader::default(),
            limits: request.limits.clone(),
            thresholds,
        })
    };
    let lanes = match choice.card.zip(memory) {
        None => {
            let loader = Arc::new(loader);
            let first = LaneNetworks::Built(Box::new(sessions));
            let others = (1..request.lanes).map(|_| LaneNetworks::ToBuild(loader.clone()));
            iter::once(first).chain(others).map(lane).collect()
        }
        Some((card, memory)) => {
            let sessions = CardSessions::new(sessions, card)?;
            let largest = memory.largest_batch(&request.card, sessions.shape());
            let batching = Batching {
                largest,
                linger: request.card.linger,
            };
            batched(sessions, request.lanes, batching)?
                .into_iter()
                .map(lane)
                .collect()
        }
    };
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

/// What was loaded on a device.
struct OnDevice {
    picked: precision::Picked,
    /// Makes more sessions.
    loader: Loader,
    /// Of the first lane, or of a card for all lanes.
    sessions: Sessions,
    /// The card's.
    memory: Option<CardMemory>,
}

fn load_on(
    choice: &Choice,
    request: &LoadRequest,
    bundle: &Bundle,
    runtime: &Runtime,
) -> Result<OnDevice, EngineError> {
    // Before anything is on the card.
    let memory = choice.card.map(|card| CardMemory::probe(card, &request.card));
    let picked = precision::pick(
        request.precision,
        bundle,
        choice.card.is_some(),
        precision::int8_instructions(),
    )?;
    let whole = bundle.read_model(Network::Detector, picked.detector)?;
    let (detector, levels) = match choice.card {
        // A card decodes all boxes in no time, and would have more to send; and it has its own SiLU.
        Some(_) => (Model::as_it_is(whole), None),
        None => match detector_head::cut(&whole) {
            Some(cut) => (runtime.prepare(cut.model), Some(cut.levels)),
            None => (runtime.prepare(whole), None),
        },
    };
    let loader = Loader {
        runtime: runtime.clone(),
        place: match choice.card.zip(memory) {
            Some((card, memory)) => Place::Cuda { card, memory },
            None => Place::Cpu,
        },
        detector,
        levels,
        classifier: Model::as_it_is(bundle.read_model(Network::Classifier, picked.classifier)?),
        classes: bundle.manifest().detector.classes.clone(),
    };
    let sessions = loader.load()?;
    Ok(OnDevice {
        picked,
        loader,
        sessions,
        memory,
    })
}

/// Ways to one pair of sessions for all lanes.
fn batched(
    sessions: CardSessions,
    lanes: usize,
    batching: Batching,
) -> Result<Vec<LaneNetworks>, EngineError> {
    let shape = sessions.shape().clone();
    let batched = batcher::start(sessions, shape, batching)
        .map_err(|error| EngineError::new(EngineErrorKind::StartFailed, error.to_string()))?;
    Ok((0..lanes)
        .map(|_| LaneNetworks::Batched(batched.clone()))
        .collect())
}

/// One lane.
struct Analyst {
    networks: LaneNetworks,
    reader: SurfaceReader,
    limits: Limits,
    thresholds: Thresholds,
}

/// Building sessions takes 70 ms a lane. The first lane's are built before the engine is ready, those of the others on
/// their own threads while photos are analysed already.
enum LaneNetworks {
    Built(Box<dyn Networks + Send>),
    ToBuild(Arc<Loader>),
    /// A card's, for all lanes.
    Batched(Batched),
}

impl Lane for Analyst {
    fn prepare(&mut self) -> Result<(), EngineError> {
        if let LaneNetworks::ToBuild(loader) = &self.networks {
            // The last lane to drop the loader frees the model files' bytes.
            self.networks = LaneNetworks::Built(Box::new(loader.load()?));
        }
        Ok(())
    }

    fn batch_halvings(&self) -> u64 {
        match &self.networks {
            LaneNetworks::Batched(batched) => batched.halvings(),
            LaneNetworks::Built(_) | LaneNetworks::ToBuild(_) => 0,
        }
    }

    fn preparation_cost(&self) -> u64 {
        match &self.networks {
            LaneNetworks::Built(_) | LaneNetworks::Batched(_) => 0,
            LaneNetworks::ToBuild(loader) => loader.cost(),
        }
    }

    fn cost(&self, photo: &[u8], options: &Options) -> u64 {
        let want = CropWant {
            analysis_max_side: options.analysis_max_side,
        };
        photo::open(photo, &self.limits).map_or(0, |photo| photo.header().decoded_cost(want))
    }

    fn analyse(&mut self, photo: &[u8], options: &Options) -> Result<(Analysis, Vec<Picture>), PhotoFailure> {
        let (mut batched, _in_hand);
        let networks: &mut dyn Networks = match &mut self.networks {
            LaneNetworks::Built(networks) => networks.as_mut(),
            LaneNetworks::Batched(shared) => {
                batched = shared.clone();
                _in_hand = shared.begin();
                &mut batched
            }
            LaneNetworks::ToBuild(_) => {
                let message = "this lane has no sessions yet";
                return Err(PhotoFailure::new(code::ENGINE_UNAVAILABLE, false, message));
            }
        };
        let analysed = analyse(
            photo,
            &self.limits,
            options,
            self.thresholds,
            networks,
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
