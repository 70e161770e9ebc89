//! Work for the fleet: the [`Queue`] port, its RabbitMQ adapter ([`rabbit`]) and its in-process adapter ([`memory`]).
//!
//! The port is [`port`]; what travels is [`message`]; [`topology`] alone names exchanges and queues. Payloads are
//! opaque here: what a job or a control message says is for the crates that send and read them.

pub mod delivery;
pub mod memory;
pub mod message;
pub mod port;
pub mod priority;
pub mod rabbit;
pub mod retry;
pub mod topology;

pub use delivery::{Delivery, Outcome};
pub use message::{Envelope, Message, Undecodable};
pub use port::{
    Connection, Consumer, Counters, Depths, Destination, Fanout, Lane, LaneDepth, Queue, QueueError,
    Subscription,
};
pub use retry::RetryPolicy;
pub use topology::Topology;
