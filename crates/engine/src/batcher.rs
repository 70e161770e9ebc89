//! One inference lane for a GPU: lanes that decode hand their inputs to a thread that owns the card's sessions and runs
//! what has come together in one batch.

use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::thread;

use pitch::networks::{DetectorShape, NetworkError, Networks, Planes, RawBoxes};

/// Networks that take several images of one size at once.
pub(crate) trait BatchNetworks {
    /// The detector's outputs, in the order of `inputs`, which all have one size.
    fn detect_batch(&mut self, inputs: Vec<Planes>) -> Result<Vec<RawBoxes>, NetworkError>;
    /// The classifier's logits, in the order of `inputs`.
    fn classify_batch(&mut self, inputs: Vec<Planes>) -> Result<Vec<[f32; 4]>, NetworkError>;
}

/// The only output of a batch of one.
pub(crate) fn one<T>(outputs: Vec<T>) -> Result<T, NetworkError> {
    outputs.into_iter().next().ok_or_else(|| NetworkError {
        message: "the network gave no output".to_owned(),
        out_of_memory: false,
    })
}

enum Request {
    Detect(Planes, Sender<Result<RawBoxes, NetworkError>>),
    Classify(Planes, Sender<Result<[f32; 4], NetworkError>>),
}

/// A lane's way to the batching thread.
#[derive(Clone)]
pub(crate) struct Batched {
    shape: DetectorShape,
    requests: Sender<Request>,
}

/// Starts the thread. It ends when every [`Batched`] is gone.
pub(crate) fn start(
    networks: impl BatchNetworks + Send + 'static,
    shape: DetectorShape,
    largest: usize,
) -> std::io::Result<Batched> {
    let (requests, receiver) = channel();
    thread::Builder::new()
        .name("inference".to_owned())
        .spawn(move || serve(networks, &receiver, largest.max(1)))?;
    Ok(Batched { shape, requests })
}

fn serve(mut networks: impl BatchNetworks, receiver: &Receiver<Request>, largest: usize) {
    // Waits for the first, then takes what is there: a photo on an idle engine is never held back.
    while let Ok(first) = receiver.recv() {
        let mut detect = Batch::default();
        let mut classify = Batch::default();
        let others = receiver.try_iter().take(largest - 1);
        for request in std::iter::once(first).chain(others) {
            match request {
                Request::Detect(input, reply) => detect.push(input, reply),
                Request::Classify(input, reply) => classify.push(input, reply),
            }
        }
        detect.run(|inputs| networks.detect_batch(inputs));
        classify.run(|inputs| networks.classify_batch(inputs));
    }
}

struct Batch<T> {
    waiting: Vec<(Planes, Sender<Result<T, NetworkError>>)>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<T> Batch<T> {
    fn push(&mut self, input: Planes, reply: Sender<Result<T, NetworkError>>) {
        self.waiting.push((input, reply));
    }

    /// Runs images of one size together and answers each lane. A lane that no longer listens is no fault.
    fn run(mut self, mut run: impl FnMut(Vec<Planes>) -> Result<Vec<T>, NetworkError>) {
        let size = |planes: &Planes| (planes.width, planes.height);
        self.waiting.sort_by_key(|(planes, _)| size(planes));
        let mut waiting = self.waiting.into_iter().peekable();
        while let Some((first, reply)) = waiting.next() {
            let this_size = size(&first);
            let (mut inputs, mut replies) = (vec![first], vec![reply]);
            while let Some((planes, reply)) = waiting.next_if(|(planes, _)| size(planes) == this_size) {
                inputs.push(planes);
                replies.push(reply);
            }
            match run(inputs) {
                Ok(outputs) => replies
                    .into_iter()
                    .zip(outputs)
                    .for_each(|(reply, output)| drop(reply.send(Ok(output)))),
                Err(error) => replies
                    .into_iter()
                    .for_each(|reply| drop(reply.send(Err(error.clone())))),
            }
        }
    }
}

impl Networks for Batched {
    fn detector_shape(&self) -> &DetectorShape {
        &self.shape
    }

    fn detect(&mut self, input: Planes) -> Result<RawBoxes, NetworkError> {
        let (reply, answer) = channel();
        self.requests
            .send(Request::Detect(input, reply))
            .map_err(|_| ended())?;
        answer.recv().unwrap_or_else(|RecvError| Err(ended()))
    }

    fn classify(&mut self, input: Planes) -> Result<[f32; 4], NetworkError> {
        let (reply, answer) = channel();
        self.requests
            .send(Request::Classify(input, reply))
            .map_err(|_| ended())?;
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
    use std::sync::{Arc, Barrier, Mutex};

    use pitch::networks::BoxForm;

    use super::*;

    /// Echoes the first value of each input; writes down the batches that it saw; the first call waits for `gate`.
    struct Echo {
        batches: Arc<Mutex<Vec<usize>>>,
        gate: Arc<Barrier>,
        first: bool,
    }

    impl BatchNetworks for Echo {
        fn detect_batch(&mut self, inputs: Vec<Planes>) -> Result<Vec<RawBoxes>, NetworkError> {
            if std::mem::take(&mut self.first) {
                self.gate.wait();
                self.gate.wait();
            }
            assert!(inputs.iter().all(|planes| planes.width == inputs[0].width));
            self.batches.lock().unwrap().push(inputs.len());
            if inputs[0].values[0] < 0.0 {
                return Err(NetworkError {
                    message: "negative".to_owned(),
                    out_of_memory: true,
                });
            }
            Ok(inputs
                .into_iter()
                .map(|p| RawBoxes {
                    form: BoxForm::Boxes,
                    rows: 1,
                    anchors: 1,
                    values: p.values[..1].to_vec(),
                })
                .collect())
        }

        fn classify_batch(&mut self, inputs: Vec<Planes>) -> Result<Vec<[f32; 4]>, NetworkError> {
            Ok(inputs.into_iter().map(|p| [p.values[0]; 4]).collect())
        }
    }

    fn planes(width: usize, value: f32) -> Planes {
        Planes {
            width,
            height: 1,
            values: vec![value; width * 3],
        }
    }

    fn echo() -> (Batched, Arc<Mutex<Vec<usize>>>, Arc<Barrier>) {
        let (batches, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(2)));
        let shape = DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square: false,
            classes: Vec::new(),
        };
        let networks = Echo {
            batches: batches.clone(),
            gate: gate.clone(),
            first: true,
        };
        (start(networks, shape, 8).unwrap(), batches, gate)
    }

    #[test]
    fn what_comes_together_runs_together_by_size() {
        let (batched, batches, gate) = echo();
        thread::scope(|scope| {
            let mut lane = batched.clone();
            scope.spawn(move || assert_eq!(lane.detect(planes(2, 0.0)).unwrap().values, [0.0]));
            // The first one is being run: the others gather meanwhile.
            gate.wait();
            let (sent, all_sent) = channel();
            for (width, value) in [(2, 1.0), (4, 2.0), (2, 3.0), (4, 4.0), (2, 5.0)] {
                let (reply, answer) = channel();
                batched
                    .requests
                    .send(Request::Detect(planes(width, value), reply))
                    .unwrap();
                sent.send((value, answer)).unwrap();
            }
            drop(sent);
            gate.wait();
            for (value, answer) in all_sent {
                assert_eq!(answer.recv().unwrap().unwrap().values, [value]);
            }
        });
        assert_eq!(*batches.lock().unwrap(), [1, 3, 2]);
    }

    #[test]
    fn a_failure_reaches_those_of_its_batch_only() {
        let (mut batched, _, gate) = echo();
        let opener = thread::spawn(move || (gate.wait(), gate.wait()));
        assert!(batched.detect(planes(2, -1.0)).unwrap_err().out_of_memory);
        opener.join().unwrap();
        assert_eq!(batched.detect(planes(2, 7.0)).unwrap().values, [7.0]);
        assert_eq!(batched.classify(planes(2, 6.0)).unwrap(), [6.0; 4]);
    }
}
