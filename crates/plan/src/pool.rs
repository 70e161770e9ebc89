//! What the workers of a pool are, how fast they come, and how many there are when.

use serde::Serialize;

/// One pool of workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// Photos that one worker has with its models at the same time: its lanes.
    pub lanes: usize,
    /// Seconds that a photo keeps a lane busy.
    pub service: f64,
    /// Seconds from asking for a worker to its first photo where a node must come first: node, image, process.
    pub node_start: f64,
    /// The same where a node is there.
    pub pod_start: f64,
    /// Seconds that a node is kept, and paid, after its worker went.
    pub node_linger: f64,
    /// Seconds that loading the models takes.
    pub load: f64,
    /// Seconds without work after which the models go (`worker.unload_grace`).
    pub unload_grace: f64,
    /// How many workers there are when.
    pub scaling: Scaling,
}

impl Pool {
    /// Photos a second of one worker.
    pub fn rate(&self) -> f64 {
        self.lanes as f64 / self.service
    }
}

/// KEDA's and the horizontal pod autoscaler's settings, as the chart has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaling {
    /// Workers that are always there.
    pub min_replicas: u32,
    /// Workers at most.
    pub max_replicas: u32,
    /// Backlog, photos in hand included, that is one worker's.
    pub photos_per_replica: f64,
    /// The pool sleeps until the backlog is larger than this.
    pub activation_photos: u64,
    /// Seconds between two looks at the queue.
    pub polling: f64,
    /// Seconds from the last photo seen to no workers.
    pub cooldown: f64,
    /// Seconds for which fewer workers must have been enough before some go.
    pub stabilization: f64,
}
