//! One inference lane for a GPU: lanes that decode hand their inputs to a thread that owns the card's sessions and runs
//! what has come together in one batch.
//!
//! A batch waits a little for photos that are still being decoded, and never when there are none: a photo on an otherwise
//! idle engine is not held back. When the card's memory does not suffice, the batch is run again in halves, and no batch
//! is larger than a half from then on.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use pitch::networks::{DetectorShape, NetworkError, Networks, Planes, RawBoxes};

/// Networks that take several images of one size at once.
pub(crate) trait BatchNetworks {
    /// The detector's outputs, in the order of `inputs`, which all have one size.
    fn detect_batch(&mut self, inputs: &[Planes]) -> Result<Vec<RawBoxes>, NetworkError>;
    /// The classifier's logits, in the order of `inputs`.
    fn classify_batch(&mut self, inputs: &[Planes]) -> Result<Vec<[f32; 4]>, NetworkError>;
}

/// How batches are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// Most images in one.
    pub(crate) largest: NonZeroUsize,
    /// Longest time that the first of a batch waits for others that are on their way.
    pub(crate) linger: Duration,
}

enum Request {
    Detect(Planes, Sender<Result<RawBoxes, NetworkError>>),
    Classify(Planes, Sender<Result<[f32; 4], NetworkError>>),
    /// A photo is finished: nobody need wait for it.
    Finished,
}

/// What lanes and the batching thread both see.
#[derive(Debug, Default)]
struct Shared {
    /// Photos that lanes have in hand.
    in_hand: AtomicUsize,
    /// Times that the card's memory did not suffice for a batch.
    halvings: AtomicU64,
}

/// A lane's way to the batching thread.
#[derive(Clone)]
pub(crate) struct Batched {
    shape: DetectorShape,
    requests: Sender<Request>,
    shared: Arc<Shared>,
}

/// A photo that a lane has in hand: batches may wait for it until this is dropped.
pub(crate) struct InHand<'a>(&'a Batched);

impl Batched {
    /// To be held from before a photo is decoded until its analysis is there.
    pub(crate) fn begin(&self) -> InHand<'_> {
        self.shared.in_hand.fetch_add(1, Ordering::SeqCst);
        InHand(self)
    }

    /// Times that a batch was halved because the card's memory did not suffice.
    pub(crate) fn halvings(&self) -> u64 {
        self.shared.halvings.load(Ordering::Relaxed)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.shared.in_hand.fetch_sub(1, Ordering::SeqCst);
        // An ended thread waits for nobody.
        let _ = self.0.requests.send(Request::Finished);
    }
}

/// Starts the thread. It ends when every [`Batched`] is gone.
pub(crate) fn start(
    networks: impl BatchNetworks + Send + 'static,
    shape: DetectorShape,
    batching: Batching,
) -> std::io::Result<Batched> {
    let (requests, receiver) = channel();
    let shared = Arc::new(Shared::default());
    let batcher = Batcher {
        networks,
        requests: receiver,
        shared: Arc::clone(&shared),
        largest: batching.largest.get(),
        linger: batching.linger,
    };
    thread::Builder::new()
        .name("inference".to_owned())
        .spawn(move || batcher.serve())?;
    Ok(Batched {
        shape,
        requests,
        shared,
    })
}

struct Batcher<N> {
    networks: N,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
    largest: usize,
    linger: Duration,
}

impl<N: BatchNetworks> Batcher<N> {
    fn serve(mut self) {
        while let Ok(first) = self.requests.recv() {
            let mut gathered = Gathered::default();
            gathered.take(first);
            if gathered.len() == 0 {
                continue;
            }
            self.gather(&mut gathered);
            let Gathered { detect, classify } = gathered;
            let networks = &mut self.networks;
            let mut limits = Limits {
                largest: &mut self.largest,
                halvings: &self.shared.halvings,
            };
            detect.run(&mut limits, |inputs| networks.detect_batch(inputs));
            classify.run(&mut limits, |inputs| networks.classify_batch(inputs));
        }
    }

    /// Takes what is there, then waits for what may come.
    fn gather(&self, gathered: &mut Gathered) {
        let until = Instant::now() + self.linger;
        while gathered.len() < self.largest {
            match self.requests.try_recv() {
                Ok(request) => {
                    gathered.take(request);
                    continue;
                }
                // Every photo in hand is in this batch: nobody else comes before it is answered.
                Err(_) if gathered.len() >= self.shared.in_hand.load(Ordering::SeqCst) => return,
                Err(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(left) {
                Ok(request) => gathered.take(request),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[derive(Default)]
struct Gathered {
    detect: Batch<RawBoxes>,
    classify: Batch<[f32; 4]>,
}

impl Gathered {
    fn take(&mut self, request: Request) {
        match request {
            Request::Detect(input, reply) => self.detect.push(input, reply),
            Request::Classify(input, reply) => self.classify.push(input, reply),
            Request::Finished => {}
        }
    }

    fn len(&self) -> usize {
        self.detect.replies.len() + self.classify.replies.len()
    }
}

/// The largest batch so far, and how it came to that.
struct Limits<'a> {
    largest: &'a mut usize,
    halvings: &'a AtomicU64,
}

struct Batch<T> {
    inputs: Vec<Planes>,
    replies: Vec<Sender<Result<T, NetworkError>>>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            replies: Vec::new(),
        }
    }
}

impl<T> Batch<T> {
    fn push(&mut self, input: Planes, reply: Sender<Result<T, NetworkError>>) {
        self.inputs.push(input);
        self.replies.push(reply);
    }

    /// Runs images of one size together and answers each lane. A lane that no longer listens is no fault.
    fn run(self, limits: &mut Limits<'_>, mut run: impl FnMut(&[Planes]) -> Result<Vec<T>, NetworkError>) {
        let size = |planes: &Planes| (planes.width, planes.height);
        let mut waiting: Vec<_> = self.inputs.into_iter().zip(self.replies).collect();
        waiting.sort_by_key(|(planes, _)| size(planes));
        let (inputs, replies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let mut replies = replies.into_iter();
        for alike in inputs.chunk_by(|a, b| size(a) == size(b)) {
            let outputs = in_halves(alike, limits, &mut run);
            for (output, reply) in outputs.into_iter().zip(&mut replies) {
                let _ = reply.send(output);
            }
        }
    }
}

/// One output for each input: of the whole, or, where the card's memory does not suffice, of its halves.
fn in_halves<T>(
    inputs: &[Planes],
    limits: &mut Limits<'_>,
    run: &mut impl FnMut(&[Planes]) -> Result<Vec<T>, NetworkError>,
) -> Vec<Result<T, NetworkError>> {
    let mut outputs = Vec::with_capacity(inputs.len());
    let mut rest = inputs;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*limits.largest));
        match run(now) {
            Err(error) if error.out_of_memory && now.len() > 1 => {
                *limits.largest = now.len() / 2;
                limits.halvings.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                outputs.extend(now.iter().map(|_| Err(error.clone())));
                rest = later;
            }
            Ok(results) if results.len() == now.len() => {
                outputs.extend(results.into_iter().map(Ok));
                rest = later;
            }
            Ok(results) => {
                let message = format!(
                    "the network gave {} outputs for {} images",
                    results.len(),
                    now.len()
                );
                let error = NetworkError {
                    message,
                    out_of_memory: false,
                };
                outputs.extend(now.iter().map(|_| Err(error.clone())));
                rest = later;
            }
        }
    }
    outputs
}

impl Networks for Batched {
    fn detector_shape(&self) -> &DetectorShape {
        &self.shape
    }

    fn detect(&mut self, input: Planes) -> Result<RawBoxes, NetworkError> {
        self.ask(|reply| Request::Detect(input, reply))
    }

    fn classify(&mut self, input: Planes) -> Result<[f32; 4], NetworkError> {
        self.ask(|reply| Request::Classify(input, reply))
    }
}

impl Batched {
    fn ask<T>(
        &self,
        request: impl FnOnce(Sender<Result<T, NetworkError>>) -> Request,
    ) -> Result<T, NetworkError> {
        let (reply, answer) = channel();
        self.requests.send(request(reply)).map_err(|_| ended())?;
        answer.recv().unwrap_or_else(|RecvError| Err(ended()))
    }
}

fn ended() -> NetworkError {
    NetworkError {
        message: "the inference thread has ended".to_owned(),
        out_of_memory: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError as Never;
    use std::sync::{Barrier, Mutex};

    use pitch::networks::BoxForm;

    use super::*;

    /// Waiting as long as this would fail the test run.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    /// Echoes the first value of each input; writes down the batches that it saw; has memory for so many images.
    struct Echo {
        batches: Arc<Mutex<Vec<usize>>>,
        /// The first call waits here, twice.
        gate: Option<Arc<Barrier>>,
        memory: usize,
    }

    impl BatchNetworks for Echo {
        fn detect_batch(&mut self, inputs: &[Planes]) -> Result<Vec<RawBoxes>, NetworkError> {
            if let Some(gate) = self.gate.take() {
                gate.wait();
                gate.wait();
            }
            assert!(inputs.iter().all(|planes| planes.width == inputs[0].width));
            self.batches.lock().unwrap().push(inputs.len());
            if inputs.len() > self.memory {
                return Err(NetworkError {
                    message: "CUDA failure 2: out of memory".to_owned(),
                    out_of_memory: true,
                });
            }
            let outputs = inputs.iter().map(|p| RawBoxes {
                form: BoxForm::Boxes,
                rows: 1,
                anchors: 1,
                values: p.values[..1].to_vec(),
            });
            Ok(outputs.collect())
        }

        fn classify_batch(&mut self, inputs: &[Planes]) -> Result<Vec<[f32; 4]>, NetworkError> {
            Ok(inputs.iter().map(|p| [p.values[0]; 4]).collect())
        }
    }

    fn planes(width: usize, value: f32) -> Planes {
        Planes {
            width,
            height: 1,
            values: vec![value; width * 3],
        }
    }

    fn echo(
        memory: usize,
        gate: Option<Arc<Barrier>>,
        linger: Duration,
    ) -> (Batched, Arc<Mutex<Vec<usize>>>) {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let shape = DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square: false,
            classes: Vec::new(),
        };
        let networks = Echo {
            batches: batches.clone(),
            gate,
            memory,
        };
        let batching = Batching {
            largest: NonZeroUsize::new(8).unwrap(),
            linger,
        };
        (start(networks, shape, batching).unwrap(), batches)
    }

    fn send(batched: &Batched, width: usize, value: f32) -> Receiver<Result<RawBoxes, NetworkError>> {
        let (reply, answer) = channel();
        let request = Request::Detect(planes(width, value), reply);
        batched.requests.send(request).unwrap();
        answer
    }

    /// Sends while the first photo is being run, so that all of them lie there when it is done.
    fn together(memory: usize, sizes_and_values: &[(usize, f32)]) -> (Vec<usize>, u64) {
        let gate = Arc::new(Barrier::new(2));
        let (batched, batches) = echo(memory, Some(gate.clone()), Duration::ZERO);
        let first = send(&batched, 2, 0.0);
        gate.wait();
        let answers: Vec<_> = sizes_and_values
            .iter()
            .map(|&(width, value)| (value, send(&batched, width, value)))
            .collect();
        gate.wait();
        assert_eq!(first.recv().unwrap().unwrap().values, [0.0]);
        for (value, answer) in answers {
            assert_eq!(answer.recv().unwrap().unwrap().values, [value]);
        }
        let seen = batches.lock().unwrap().clone();
        (seen, batched.halvings())
    }

    #[test]
    fn what_comes_together_runs_together_by_size() {
        let photos = [(2, 1.0), (4, 2.0), (2, 3.0), (4, 4.0), (2, 5.0)];
        assert_eq!(together(8, &photos), (vec![1, 3, 2], 0));
    }

    #[test]
    fn out_of_memory_halves_the_batch_for_good_and_goes_on() {
        let photos: Vec<_> = (1..=8_u8).map(|n| (2, f32::from(n))).collect();
        // Eight are too many, and four; then four times two, and no larger batch is tried.
        assert_eq!(together(3, &photos), (vec![1, 8, 4, 2, 2, 2, 2], 2));
    }

    #[test]
    fn a_photo_that_is_alone_does_not_wait() {
        let (mut batched, _) = echo(8, None, FOR_EVER);
        let lane = batched.clone();
        let _in_hand = lane.begin();
        assert_eq!(batched.detect(planes(2, 1.0)).unwrap().values, [1.0]);
        assert_eq!(batched.classify(planes(2, 2.0)).unwrap(), [2.0; 4]);
    }

    #[test]
    fn a_batch_waits_for_photos_on_their_way_and_no_longer() {
        let (batched, batches) = echo(8, None, FOR_EVER);
        let (first, second, third) = (batched.begin(), batched.begin(), batched.begin());
        let one = send(&batched, 2, 1.0);
        let two = send(&batched, 2, 2.0);
        assert_eq!(
            one.recv_timeout(Duration::from_millis(20)).unwrap_err(),
            Never::Timeout
        );
        // The third cannot be decoded.
        drop(third);
        assert_eq!(one.recv().unwrap().unwrap().values, [1.0]);
        assert_eq!(two.recv().unwrap().unwrap().values, [2.0]);
        assert_eq!(*batches.lock().unwrap(), [2]);
        drop((first, second));
    }

    #[test]
    fn lingering_ends() {
        let (batched, batches) = echo(8, None, Duration::from_millis(1));
        let _lanes = (batched.begin(), batched.begin());
        assert_eq!(send(&batched, 2, 1.0).recv().unwrap().unwrap().values, [1.0]);
        assert_eq!(*batches.lock().unwrap(), [1]);
    }

    #[test]
    fn a_failure_reaches_those_of_its_batch_only() {
        let (mut batched, _) = echo(0, None, Duration::ZERO);
        assert!(batched.detect(planes(2, 1.0)).unwrap_err().out_of_memory);
        assert_eq!(batched.classify(planes(2, 6.0)).unwrap(), [6.0; 4]);
    }
}
