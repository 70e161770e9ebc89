//! Both networks on a card: batches, copied from page-locked memory.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::Tensor;
use pitch::networks::{DetectorShape, NetworkError, Planes, RawBoxes};

use super::{Outputs, Sessions, boxes, card_number, failed, logits, read_outputs};
use crate::batcher::BatchNetworks;
use crate::failure::{EngineError, EngineErrorKind};

/// Sessions of both networks on a card.
///
/// Inputs are written to page-locked memory, which the card copies by itself, and outputs come back to it (I/O binding of
/// ONNX Runtime).
pub(crate) struct CardSessions {
    sessions: Sessions,
    detector: HostMemory,
    classifier: HostMemory,
}

impl CardSessions {
    /// `sessions` on the card with this number.
    ///
    /// # Errors
    /// [`EngineErrorKind::DeviceUnavailable`] when there is no page-locked memory to be had.
    pub(crate) fn new(sessions: Sessions, card: u32) -> Result<Self, EngineError> {
        Self::with_memory(sessions, AllocationDevice::CUDA_PINNED, card)
    }

    fn with_memory(
        sessions: Sessions,
        device: AllocationDevice<'static>,
        card: u32,
    ) -> Result<Self, EngineError> {
        let memory = |session: &Session| {
            HostMemory::new(session, &device, card).map_err(|error| {
                EngineError::new(
                    EngineErrorKind::DeviceUnavailable,
                    format!("no page-locked memory for card {card}: {error}"),
                )
            })
        };
        Ok(Self {
            detector: memory(&sessions.detector)?,
            classifier: memory(&sessions.classifier)?,
            sessions,
        })
    }

    /// How the detector wants its input.
    pub(crate) fn shape(&self) -> &DetectorShape {
        &self.sessions.shape
    }
}

impl BatchNetworks for CardSessions {
    fn detect_batch(&mut self, inputs: &[Planes]) -> Result<Vec<RawBoxes>, NetworkError> {
        let Some(first) = inputs.first() else {
            return Ok(Vec::new());
        };
        let form = self.sessions.box_form(first);
        self.detector.run(&mut self.sessions.detector, inputs, |outputs| {
            boxes(outputs, inputs.len(), &form)
        })
    }

    fn classify_batch(&mut self, inputs: &[Planes]) -> Result<Vec<[f32; 4]>, NetworkError> {
        self.classifier
            .run(&mut self.sessions.classifier, inputs, |outputs| {
                logits(outputs, inputs.len())
            })
    }
}

/// Memory of the host that a session's inputs are written to and its outputs are read from.
struct HostMemory {
    /// Keeps what it has given out and got back, so that batches of the same size take the same pages.
    inputs: Allocator,
    outputs: MemoryInfo<'static>,
}

impl HostMemory {
    fn new(session: &Session, device: &AllocationDevice<'static>, card: u32) -> ort::Result<Self> {
        let info = |memory_type| {
            let device = AllocationDevice::new(device.as_str());
            MemoryInfo::new(device, card_number(card), AllocatorType::Device, memory_type)
        };
        Ok(Self {
            inputs: Allocator::new(session, info(MemoryType::CPUInput)?)?,
            outputs: info(MemoryType::CPUOutput)?,
        })
    }

    /// Runs a session with one input on `inputs`, which all have one size.
    fn run<T>(
        &self,
        session: &mut Session,
        inputs: &[Planes],
        read: impl FnOnce(&Outputs<'_>) -> Result<T, NetworkError>,
    ) -> Result<T, NetworkError> {
        let (width, height) = inputs.first().map_or((0, 0), |first| (first.width, first.height));
        let shape = [inputs.len(), 3, height, width];
        let mut batch = Tensor::<f32>::new(&self.inputs, shape).map_err(failed)?;
        let (_, values) = batch.extract_tensor_mut();
        let images = values.chunks_exact_mut((3 * width * height).max(1));
        for (image, input) in images.zip(inputs) {
            if image.len() != input.values.len() {
                return Err(NetworkError {
                    message: format!("{} values for an image of {width} x {height}", input.values.len()),
                    out_of_memory: false,
                });
            }
            image.copy_from_slice(&input.values);
        }
        let mut binding = session.create_binding().map_err(failed)?;
        for input in session.inputs() {
            binding.bind_input(input.name(), &batch).map_err(failed)?;
        }
        for output in session.outputs() {
            binding
                .bind_output_to_device(output.name(), &self.outputs)
                .map_err(failed)?;
        }
        let outputs = session.run_binding(&binding).map_err(failed)?;
        binding.synchronize_outputs().map_err(failed)?;
        read_outputs(&outputs, read)
    }
}

#[cfg(test)]
mod tests {
    use pitch::networks::Networks;

    use super::*;
    use crate::bundle::Network;
    use crate::config::Precision;
    use crate::sessions::tests::{demo, runtime};
    use crate::sessions::{Loader, Model, Place};

    fn image(width: usize, height: usize, seed: usize) -> Planes {
        let value = |i: usize| ((i * 31 + seed * 977) % 251) as f32 / 251.0;
        Planes {
            width,
            height,
            values: (0..3 * width * height).map(value).collect(),
        }
    }

    /// There is no card here: the same binding, with the host's ordinary memory in place of page-locked memory.
    #[test]
    fn a_bound_batch_gives_what_its_images_give_alone() {
        let bundle = demo();
        let model = |network| Model::as_it_is(bundle.read_model(network, Precision::Fp32).unwrap());
        let loader = Loader {
            runtime: runtime(),
            place: Place::Cpu,
            detector: model(Network::Detector),
            levels: None,
            classifier: model(Network::Classifier),
            classes: bundle.manifest().detector.classes.clone(),
        };
        let mut alone = loader.load().unwrap();
        let mut card = CardSessions::with_memory(loader.load().unwrap(), AllocationDevice::CPU, 0).unwrap();
        let close = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= 1e-3 * b.abs().max(1.0), "{a} {b}");
            }
        };

        // Twice, with another size between, as photos come.
        for (count, width, height) in [(3, 64, 96), (1, 96, 64), (3, 64, 96)] {
            let images: Vec<_> = (0..count).map(|seed| image(width, height, seed)).collect();
            let together = card.detect_batch(&images).unwrap();
            assert_eq!(together.len(), count);
            for (boxes, image) in together.iter().zip(&images) {
                let by_itself = alone.detect(image.clone()).unwrap();
                assert_eq!((boxes.rows, boxes.anchors), (by_itself.rows, by_itself.anchors));
                close(&boxes.values, &by_itself.values);
            }
        }
        let images: Vec<_> = (0..4).map(|seed| image(224, 224, seed)).collect();
        for (logits, image) in card.classify_batch(&images).unwrap().iter().zip(&images) {
            close(logits, &alone.classify(image.clone()).unwrap());
        }
        let broken = Planes {
            values: vec![0.0; 5],
            ..image(64, 64, 0)
        };
        assert!(!card.detect_batch(&[broken]).unwrap_err().out_of_memory);
        assert!(card.detect_batch(&[]).unwrap().is_empty());
    }
}
