//! The fleet as a whole, as people start it: real processes, on a folder or on RabbitMQ and S3.
//!
//! Needs the ONNX Runtime library and the servers, as `make test` provides them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod collector;
mod dashboards;
mod doctor;
mod ground;
mod interrupted;
mod observed;
mod orders;
mod recycled;
mod scale_in;
mod secrets;
mod servers;
mod settings;
mod tokens;
mod traces;
