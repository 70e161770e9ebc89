//! Where photos and results lie: a bucket, or a folder on one machine.
//!
//! [`Store`] is the port; [`S3Store`] and [`FolderStore`] are its adapters, held to the same behaviour by one conformance
//! suite (`tests/conformance.rs`). The only home of `aws-sdk-s3`.

mod buckets;
mod error;
mod folder;
mod port;
mod prefixed;
mod s3;

pub use buckets::Buckets;
pub use error::{StoreError, StoreErrorKind};
pub use folder::FolderStore;
pub use port::{ByteStream, FolderPage, Object, ObjectInfo, Page, PresignedPut, Store};
pub use prefixed::PrefixedStore;
pub use s3::{S3Config, S3Store};
