//! The two networks in ONNX Runtime. Only this file and its child know `ort`.

mod card;
mod operators;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

pub(crate) use self::card::CardSessions;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionOutputs};
use ort::value::{Tensor, ValueType};
use pitch::networks::{BoxForm, DetectorShape, Grid, NetworkError, Networks, Planes, RawBoxes};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::bundle::Network;
use crate::card_memory::CardMemory;
use crate::failure::{EngineError, EngineErrorKind};
use crate::graph::{halves, silu};

/// Side of the detector's input where the model's metadata does not say (`imgsz` of ultralytics).
const DEFAULT_IMAGE_SIZE: usize = 640;
/// Stride of YOLOv8's coarsest level.
const DEFAULT_STRIDE: usize = 32;

/// A loaded ONNX Runtime library.
#[derive(Clone)]
pub(crate) struct Runtime {
    environment: Environment,
}

impl Runtime {
    /// Loads the library. Once in a process.
    ///
    /// # Errors
    /// [`EngineErrorKind::RuntimeUnusable`] when it is no ONNX Runtime, or an old one.
    pub(crate) fn load(library: &Path) -> Result<Self, EngineError> {
        let unusable = |reason: String| {
            EngineError::new(
                EngineErrorKind::RuntimeUnusable,
                format!(
                    "{} cannot be used as the ONNX Runtime library: {reason}. Version 1.24 or newer is needed; \
                     scripts/onnxruntime.sh fetches one",
                    library.display()
                ),
            )
        };
        let builder = ort::init_from(library).map_err(|error| unusable(error.to_string()))?;
        let builder = builder.with_name("pitchfleet").with_telemetry(false);
        let environment = builder.build().map_err(|error| unusable(error.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Error);
        Ok(Self { environment })
    }

    /// Whether the library was built with the CUDA execution provider.
    pub(crate) fn has_cuda(&self) -> bool {
        ep::CUDA::is_available().unwrap_or(false)
    }

    /// `model` as ONNX Runtime optimises it for this machine's CPU, with the changes of [`graph`](crate::graph); as it is
    /// where that does not come about. More sessions of an optimised model take a fifth of the time.
    pub(crate) fn prepare(&self, model: Vec<u8>) -> Model {
        let apart = halves::convolve_apart(&model);
        let optimised = self.optimise(apart.as_ref().unwrap_or(&model)).ok();
        match optimised.and_then(|optimised| silu::fuse(&optimised)) {
            Some(bytes) => Model {
                bytes,
                optimised: true,
            },
            // Whatever is wrong with it shows when a session is made.
            None => Model::as_it_is(model),
        }
    }

    fn optimise(&self, model: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        // ONNX Runtime writes to a path only; this one is in memory.
        let mut file = File::from(memfd_create("optimised-model", MemfdFlags::CLOEXEC)?);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.options()?
            .with_execution_providers([on_cpu()])?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_optimized_model_path(path)?
            .with_config_entry("session.disable_prepacking", "1")?
            .commit_from_memory(model)?;
        let mut optimised = Vec::new();
        file.read_to_end(&mut optimised)?;
        Ok(optimised)
    }

    fn options(&self) -> ort::Result<SessionBuilder> {
        Ok(Session::builder(&self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // A pattern is kept for every input size that was ever seen, and photos come in all of them.
            .with_memory_pattern(false)?)
    }
}

/// The arena keeps the largest activations for good, and with the allocator as `handle` sets it gains 3 % at most.
fn on_cpu() -> ExecutionProviderDispatch {
    ep::CPU::default().with_arena_allocator(false).build()
}

/// A `ModelProto`.
pub(crate) struct Model {
    bytes: Vec<u8>,
    /// Nothing is left for ONNX Runtime to optimise, and there are operators of ours in it.
    optimised: bool,
}

impl Model {
    /// A model file's bytes.
    pub(crate) fn as_it_is(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            optimised: false,
        }
    }
}

/// Where sessions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the thread that calls.
    Cpu,
    /// On a card.
    Cuda {
        /// Its number.
        card: u32,
        /// What it has for the networks.
        memory: CardMemory,
    },
}

/// Makes sessions of the same two models. Sharing `PrepackedWeights` among them was tried: it changed neither memory nor
/// time.
pub(crate) struct Loader {
    pub(crate) runtime: Runtime,
    pub(crate) place: Place,
    pub(crate) detector: Model,
    /// Levels of a detector that was cut before it decodes boxes.
    pub(crate) levels: Option<u32>,
    pub(crate) classifier: Model,
    /// The detector's.
    pub(crate) classes: Vec<String>,
}

impl Loader {
    /// Bytes of address space that [`load`](Self::load) may take: a file of 16-bit weights becomes its parsed form, 32-bit
    /// weights and their packed copy, which is six times the file.
    pub(crate) fn cost(&self) -> u64 {
        let files = (self.detector.bytes.len() + self.classifier.bytes.len()) as u64;
        files.saturating_mul(8).saturating_add(64 << 20)
    }

    /// Sessions of both networks.
    ///
    /// # Errors
    /// [`EngineErrorKind::ModelCorrupt`] when ONNX Runtime does not read a model, or it is not of the kind expected;
    /// [`EngineErrorKind::DeviceUnavailable`] when the card does not take it.
    pub(crate) fn load(&self) -> Result<Sessions, EngineError> {
        let detector = self.session(Network::Detector, &self.detector)?;
        let classifier = self.session(Network::Classifier, &self.classifier)?;
        let shape = detector_shape(&detector, &self.classes).map_err(|reason| {
            EngineError::new(EngineErrorKind::ModelCorrupt, format!("the detector {reason}"))
        })?;
        Ok(Sessions {
            detector,
            classifier,
            shape,
            levels: self.levels,
        })
    }

    fn session(&self, network: Network, model: &Model) -> Result<Session, EngineError> {
        let kind = match self.place {
            Place::Cpu => EngineErrorKind::ModelCorrupt,
            Place::Cuda { .. } => EngineErrorKind::DeviceUnavailable,
        };
        let name = network.name();
        self.options(network, model)
            .and_then(|mut builder| builder.commit_from_memory(&model.bytes))
            .map_err(|error| EngineError::new(kind, format!("ONNX Runtime cannot load the {name}: {error}")))
    }

    fn options(&self, network: Network, model: &Model) -> ort::Result<SessionBuilder> {
        let builder = self
            .runtime
            .options()?
            .with_execution_providers([self.provider(network)])?;
        Ok(if model.optimised {
            builder
                .with_optimization_level(GraphOptimizationLevel::Disable)?
                .with_operators(operators::domain()?)?
        } else {
            builder.with_optimization_level(GraphOptimizationLevel::All)?
        })
    }

    fn provider(&self, network: Network) -> ExecutionProviderDispatch {
        match self.place {
            Place::Cpu => on_cpu(),
            Place::Cuda { card, memory } => {
                let memory_limit = match network {
                    Network::Detector => memory.for_detector(),
                    Network::Classifier => memory.for_classifier(),
                };
                let provider = ep::CUDA::default()
                    .with_device_id(card_number(card))
                    // An arena that doubles would take twice what the largest batch needs.
                    .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested);
                let provider = match memory_limit.and_then(|bytes| usize::try_from(bytes).ok()) {
                    Some(bytes) => provider.with_memory_limit(bytes),
                    None => provider,
                };
                provider.build().error_on_failure()
            }
        }
    }
}

/// As CUDA counts; a number that it cannot have is no card's.
fn card_number(card: u32) -> i32 {
    i32::try_from(card).unwrap_or(i32::MAX)
}

/// Sessions of both networks.
pub(crate) struct Sessions {
    detector: Session,
    classifier: Session,
    shape: DetectorShape,
    levels: Option<u32>,
}

/// Batch 1, on the thread that calls.
impl Networks for Sessions {
    fn detector_shape(&self) -> &DetectorShape {
        &self.shape
    }

    fn detect(&mut self, input: Planes) -> Result<RawBoxes, NetworkError> {
        let form = self.box_form(&input);
        run(&mut self.detector, input, |outputs| {
            one(boxes(outputs, 1, &form)?)
        })
    }

    fn classify(&mut self, input: Planes) -> Result<[f32; 4], NetworkError> {
        run(&mut self.classifier, input, |outputs| one(logits(outputs, 1)?))
    }
}

impl Sessions {
    fn box_form(&self, input: &Planes) -> BoxForm {
        match self.levels {
            Some(levels) => {
                let finest = self.shape.stride >> (levels - 1).min(usize::BITS - 1);
                BoxForm::Distances(Grid::pyramid(input.width, input.height, finest, levels))
            }
            None => BoxForm::Boxes,
        }
    }
}

/// Shapes and values of a session's outputs.
type Outputs<'a> = [(Vec<usize>, &'a [f32])];

/// The detector's outputs for `n` images: N x rows x anchors each.
fn boxes(outputs: &Outputs<'_>, n: usize, form: &BoxForm) -> Result<Vec<RawBoxes>, NetworkError> {
    let anchors = outputs
        .first()
        .map_or(0, |(shape, _)| shape.get(2).copied().unwrap_or(0));
    // Once for all outputs: growing would copy a megabyte.
    let values = outputs.iter().map(|(_, values)| values.len()).sum::<usize>() / n.max(1);
    let mut images: Vec<_> = (0..n)
        .map(|_| RawBoxes {
            form: form.clone(),
            rows: 0,
            anchors,
            values: Vec::with_capacity(values),
        })
        .collect();
    for (shape, values) in outputs {
        let &[batch, rows, columns] = &shape[..] else {
            return Err(unexpected("detector", shape));
        };
        if (batch, columns) != (n, anchors) || n * rows * anchors != values.len() {
            return Err(unexpected("detector", shape));
        }
        for (image, values) in images
            .iter_mut()
            .zip(values.chunks_exact((rows * anchors).max(1)))
        {
            image.rows += rows;
            image.values.extend_from_slice(values);
        }
    }
    Ok(images)
}

/// The classifier's only output for `n` images: N x 4.
fn logits(outputs: &Outputs<'_>, n: usize) -> Result<Vec<[f32; 4]>, NetworkError> {
    let [(shape, values)] = outputs else {
        return Err(unexpected("classifier", &[]));
    };
    let (logits, rest) = values.as_chunks::<4>();
    if shape[..] == [n, 4] && rest.is_empty() && logits.len() == n {
        Ok(logits.to_vec())
    } else {
        Err(unexpected("classifier", shape))
    }
}

fn one<T>(outputs: Vec<T>) -> Result<T, NetworkError> {
    outputs.into_iter().next().ok_or_else(|| NetworkError {
        message: "the network gave no output".to_owned(),
        out_of_memory: false,
    })
}

/// Runs a session with one input on one image, whose memory becomes the tensor's.
fn run<T>(
    session: &mut Session,
    input: Planes,
    read: impl FnOnce(&Outputs<'_>) -> Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    let shape = [1, 3, input.height, input.width];
    let tensor = Tensor::from_array((shape, input.values)).map_err(failed)?;
    let outputs = session.run([tensor.upcast().into()]).map_err(failed)?;
    read_outputs(&outputs, read)
}

fn read_outputs<T>(
    outputs: &SessionOutputs<'_>,
    read: impl FnOnce(&Outputs<'_>) -> Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    let outputs: Vec<_> = outputs.values().collect();
    let mut tensors = Vec::new();
    for output in &outputs {
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let shape = shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        tensors.push((shape, values));
    }
    read(&tensors)
}

fn failed(error: ort::Error) -> NetworkError {
    let message = error.to_string();
    let lower = message.to_lowercase();
    // ONNX Runtime has no code for it.
    let out_of_memory = [
        "out of memory",
        "failed to allocate",
        "bad_alloc",
        "cudaerrormemoryallocation",
    ]
    .iter()
    .any(|phrase| lower.contains(phrase));
    NetworkError {
        message,
        out_of_memory,
    }
}

fn unexpected(name: &str, shape: &[usize]) -> NetworkError {
    NetworkError {
        message: format!("the {name} gave an output of shape {shape:?}"),
        out_of_memory: false,
    }
}

/// Reads `imgsz`, `stride` and whether the size is fixed from the model; class names come from the bundle.
fn detector_shape(session: &Session, classes: &[String]) -> Result<DetectorShape, String> {
    let [input] = session.inputs() else {
        return Err(format!("has {} inputs, not one", session.inputs().len()));
    };
    let ValueType::Tensor { shape, .. } = input.dtype() else {
        return Err("takes no tensor".to_owned());
    };
    let [_, 3, height, width] = shape[..] else {
        return Err(format!("takes {shape:?}, not N x 3 x H x W"));
    };

    let metadata = session.metadata().ok();
    // `imgsz` is "[640, 640]", `stride` is "32".
    let number = |key: &str| {
        let text = metadata.as_ref()?.custom(key)?;
        let numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse::<usize>().ok());
        numbers.max().filter(|n| (1..=8192).contains(n))
    };
    let fixed_square = height > 0 && height == width;
    if height > 0 && !fixed_square {
        return Err(format!(
            "takes {width} x {height} only: export it with dynamic=True, or square"
        ));
    }
    let image_size = if fixed_square {
        usize::try_from(height).ok()
    } else {
        number("imgsz")
    };
    Ok(DetectorShape {
        image_size: image_size.unwrap_or(DEFAULT_IMAGE_SIZE),
        stride: number("stride").unwrap_or(DEFAULT_STRIDE),
        fixed_square,
        classes: classes.to_vec(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use super::*;
    use crate::Bundle;
    use crate::config::Precision;
    use crate::graph::detector_head;

    /// The library can be loaded once in a process.
    pub(crate) fn runtime() -> Runtime {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        let load = || Runtime::load(&crate::runtime::locate(None, false).unwrap()).unwrap();
        RUNTIME.get_or_init(load).clone()
    }

    pub(crate) fn demo() -> Bundle {
        Bundle::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")).unwrap()
    }

    /// Something like a picture: waves of many lengths.
    fn picture(width: usize, height: usize) -> Planes {
        let value = |i: usize| {
            let (plane, y, x) = (i / (width * height), i / width % height, i % width);
            let wave = |n: usize, length: f32| (n as f32 / length + plane as f32).sin();
            0.5 + 0.2 * wave(x, 7.0) * wave(y, 23.0) + 0.3 * wave(x + y, 41.0)
        };
        Planes {
            width,
            height,
            values: (0..3 * width * height).map(value).collect(),
        }
    }

    #[test]
    fn a_prepared_detector_gives_what_its_file_gives() {
        let (runtime, bundle) = (runtime(), demo());
        // ONNX Runtime's sigmoid differs from processor to processor in the last bits: one that lies between two bytes may
        // be rounded otherwise than in our table, which has it exactly.
        for (precision, largest, average) in [(Precision::Int8, 0.5, 0.01), (Precision::Fp32, 1e-4, 1e-5)] {
            let cut = detector_head::cut(&bundle.read_model(Network::Detector, precision).unwrap()).unwrap();
            let loader = |detector| Loader {
                runtime: runtime.clone(),
                place: Place::Cpu,
                detector,
                levels: Some(cut.levels),
                classifier: Model::as_it_is(bundle.read_model(Network::Classifier, precision).unwrap()),
                classes: bundle.manifest().detector.classes.clone(),
            };
            let prepared = runtime.prepare(cut.model.clone());
            assert!(prepared.optimised);
            let mut as_it_is = loader(Model::as_it_is(cut.model.clone())).load().unwrap();
            let mut prepared = loader(prepared).load().unwrap();
            assert_eq!(prepared.detector_shape(), as_it_is.detector_shape());
            for (width, height) in [(256, 192), (96, 160)] {
                let expected = as_it_is.detect(picture(width, height)).unwrap();
                let found = prepared.detect(picture(width, height)).unwrap();
                assert_eq!((found.rows, found.anchors), (expected.rows, expected.anchors));
                let differences = found
                    .values
                    .iter()
                    .zip(&expected.values)
                    .map(|(found, expected)| {
                        let difference = (found - expected).abs() / expected.abs().max(1.0);
                        assert!(difference <= largest, "{found} {expected}");
                        difference
                    });
                let sum: f32 = differences.sum();
                assert!(sum <= average * found.values.len() as f32, "{sum}");
            }
        }
    }

    #[test]
    fn what_is_no_model_is_prepared_as_it_is() {
        let prepared = runtime().prepare(b"no model".to_vec());
        assert!(!prepared.optimised);
        assert_eq!(prepared.bytes, b"no model");
    }
}
