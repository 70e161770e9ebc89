//! Any S3 server as a store.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream as Body;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder as HttpClientBuilder, tls::Provider};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::error::{StoreError, StoreErrorKind};
use crate::port::{
    ByteStream, FolderPage, LARGEST_PAGE, Object, ObjectInfo, Page, PresignedPut, Store, checked_folder,
    key_is_valid,
};

/// Size of a part of a multipart upload. S3 wants at least 5 MiB and allows 10,000 parts.
const PART: usize = 8 * 1024 * 1024;

/// Where the bucket is and how to reach it.
#[derive(Clone)]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// Region; any word that the server accepts on servers other than AWS.
    pub region: String,
    /// URL of the server; `None` is AWS.
    pub endpoint: Option<String>,
    /// URL under which browsers and clients outside reach the same server, for presigned requests.
    pub public_endpoint: Option<String>,
    /// Put the bucket into the path rather than the host name, as most servers other than AWS want.
    pub path_style: bool,
    /// Access key and secret; `None` takes what the environment gives (variables, profile, web identity, instance).
    pub credentials: Option<(String, String)>,
    /// Times that a request is tried in all; 3 is usual.
    pub attempts: u32,
    /// An answer that takes longer, or a stream that stands still for so long, is an error; 30 s is usual.
    pub stall_timeout: Duration,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("public_endpoint", &self.public_endpoint)
            .field("path_style", &self.path_style)
            .field(
                "credentials",
                &self.credentials.as_ref().map(|(access, _)| format!("{access}:…")),
            )
            .field("attempts", &self.attempts)
            .field("stall_timeout", &self.stall_timeout)
            .finish()
    }
}

/// A bucket on an S3 server.
#[derive(Clone, Debug)]
pub struct S3Store {
    bucket: String,
    client: Client,
    /// Signs for the address that clients outside see.
    presigner: Client,
    stall_timeout: Duration,
}

impl S3Store {
    /// Prepares a client; nothing is sent yet.
    pub async fn new(config: S3Config) -> Self {
        let http = HttpClientBuilder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let client = client(&config, config.endpoint.as_deref(), http.clone()).await;
        let presigner = match &config.public_endpoint {
            Some(public) => self::client(&config, Some(public), http).await,
            None => client.clone(),
        };
        Self {
            bucket: config.bucket,
            client,
            presigner,
            stall_timeout: config.stall_timeout,
        }
    }

    /// Another bucket on the same server, over the same connections.
    pub fn bucket(&self, name: impl Into<String>) -> Self {
        Self {
            bucket: name.into(),
            ..self.clone()
        }
    }

    async fn put_multipart(
        &self,
        key: &str,
        content_type: &str,
        parts: impl stream::Stream<Item = std::io::Result<Bytes>> + Send,
    ) -> Result<(), StoreError> {
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type);
        let created = created.send().await.map_err(|e| failed("write", key, e))?;
        let Some(upload) = created.upload_id else {
            return Err(
                StoreError::new(StoreErrorKind::Unavailable, "write", key).because("no upload id was given")
            );
        };
        let written = self.put_parts(key, &upload, parts).await;
        if written.is_err() {
            // What is left of an upload costs money until it is aborted; the first error is the one to tell.
            let abort = self
                .client
                .abort_multipart_upload()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(&upload);
            let _ = abort.send().await;
        }
        written
    }

    async fn put_parts(
        &self,
        key: &str,
        upload: &str,
        parts: impl stream::Stream<Item = std::io::Result<Bytes>> + Send,
    ) -> Result<(), StoreError> {
        let mut parts = std::pin::pin!(parts);
        let mut completed = CompletedMultipartUpload::builder();
        let mut number = 0;
        while let Some(part) = parts.next().await {
            let part =
                part.map_err(|e| StoreError::new(StoreErrorKind::Unavailable, "write", key).because(e))?;
            number += 1;
            let request = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload);
            let sent = request.part_number(number).body(Body::from(part)).send().await;
            let sent = sent.map_err(|e| failed("write", key, e))?;
            completed = completed.parts(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(sent.e_tag)
                    .build(),
            );
        }
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload);
        let request = request.multipart_upload(completed.build());
        request
            .send()
            .await
            .map(drop)
            .map_err(|e| failed("write", key, e))
    }
}

async fn client(config: &S3Config, endpoint: Option<&str>, http: SharedHttpClient) -> Client {
    let mut shared = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(config.attempts.max(1)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(config.stall_timeout)
                .build(),
        )
        // Downloads have a watch of our own, whose time runs only while a chunk is waited for: the SDK's takes a reader
        // that is slow for a server that is (aws-sdk-rust issues 1141, 1202).
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .download_enabled(false)
                .grace_period(config.stall_timeout)
                .build(),
        );
    if let Some((access, secret)) = &config.credentials {
        shared = shared.credentials_provider(Credentials::new(access, secret, None, None, "pitchfleet"));
    }
    if let Some(endpoint) = endpoint {
        shared = shared.endpoint_url(endpoint);
    }
    let shared = shared.load().await;
    let mut builder = aws_sdk_s3::config::Builder::from(&shared).force_path_style(config.path_style);
    if endpoint.is_some() {
        // Servers other than AWS reject the newer default checksums (aws-sdk-js-v3 issue 6810).
        builder = builder
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Client::from_conf(builder.build())
}

fn failed<E, R>(operation: &'static str, key: &str, error: SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let kind = match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("NoSuchKey" | "NotFound" | "NoSuchBucket") => StoreErrorKind::NotFound,
        Some(
            "AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "Forbidden" | "ExpiredToken",
        ) => StoreErrorKind::Denied,
        Some("KeyTooLongError" | "InvalidRequest") => StoreErrorKind::InvalidKey,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, operation, key).because(error)
}

fn stalled(waited: Duration) -> std::io::Error {
    let message = format!("the server sent nothing for {waited:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, message)
}

fn checked(operation: &'static str, key: &str) -> Result<(), StoreError> {
    if key_is_valid(key) {
        Ok(())
    } else {
        Err(StoreError::new(StoreErrorKind::InvalidKey, operation, key))
    }
}

/// Regroups a stream into pieces of [`PART`] bytes, the last one smaller.
fn in_parts(content: ByteStream) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold(
        (content, BytesMut::new()),
        |(mut content, mut pending)| async move {
            while pending.len() < PART {
                match content.next().await {
                    Some(chunk) => pending.extend_from_slice(&chunk?),
                    None if pending.is_empty() => return Ok(None),
                    None => return Ok(Some((pending.split().freeze(), (content, BytesMut::new())))),
                }
            }
            let part = pending.split_to(PART).freeze();
            Ok(Some((part, (content, pending))))
        },
    )
}

#[async_trait]
impl Store for S3Store {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        checked("read", key)?;
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        let got = got.map_err(|e| failed("read", key, e))?;
        let info = ObjectInfo {
            key: key.to_owned(),
            size: got
                .content_length
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
            etag: got.e_tag.unwrap_or_default(),
        };
        let patience = self.stall_timeout;
        let body = stream::try_unfold(got.body, move |mut body| async move {
            let next = timeout(patience, body.try_next()).await;
            let next = next
                .map_err(|_| stalled(patience))?
                .map_err(std::io::Error::other)?;
            Ok(next.map(|chunk| (chunk, body)))
        });
        Ok(Object {
            info,
            body: Box::pin(body),
        })
    }

    async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), StoreError> {
        checked("write", key)?;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type);
        request
            .body(Body::from(content))
            .send()
            .await
            .map(drop)
            .map_err(|e| failed("write", key, e))
    }

    async fn put_stream(&self, key: &str, content: ByteStream, content_type: &str) -> Result<(), StoreError> {
        checked("write", key)?;
        let mut parts = Box::pin(in_parts(content));
        let broken = |e| StoreError::new(StoreErrorKind::Unavailable, "write", key).because(e);
        let first = parts
            .next()
            .await
            .transpose()
            .map_err(broken)?
            .unwrap_or_default();
        if first.len() < PART {
            return self.put(key, first, content_type).await;
        }
        self.put_multipart(key, content_type, stream::once(async { Ok(first) }).chain(parts))
            .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        checked("look up", key)?;
        match self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
        {
            Ok(head) => Ok(Some(ObjectInfo {
                key: key.to_owned(),
                size: head
                    .content_length
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(0),
                etag: head.e_tag.unwrap_or_default(),
            })),
            Err(error) => match failed("look up", key, error) {
                error if error.kind == StoreErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let limit = i32::try_from(limit.clamp(1, LARGEST_PAGE)).unwrap_or(i32::MAX);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .max_keys(limit);
        let listed = request.set_start_after(after.map(str::to_owned)).send().await;
        let listed = listed.map_err(|e| failed("list", prefix, e))?;
        let objects = listed
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| {
                Some(ObjectInfo {
                    key: object.key?,
                    size: object.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    etag: object.e_tag.unwrap_or_default(),
                })
            });
        Ok(Page {
            objects: objects.collect(),
            more: listed.is_truncated.unwrap_or(false),
        })
    }

    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError> {
        checked_folder("list folders of", prefix)?;
        let limit = i32::try_from(limit.clamp(1, LARGEST_PAGE)).unwrap_or(i32::MAX);
        // `a/` sorts before what lies in it, so that starting after it would give it again; `0` follows `/`.
        let after = after.map(|after| format!("{}0", after.trim_end_matches('/')));
        let mut token = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .delimiter("/");
            let request = request
                .max_keys(limit)
                .set_start_after(after.clone())
                .set_continuation_token(token);
            let listed = request
                .send()
                .await
                .map_err(|e| failed("list folders of", prefix, e))?;
            let folders = listed.common_prefixes.unwrap_or_default();
            let folders: Vec<_> = folders.into_iter().filter_map(|folder| folder.prefix).collect();
            token = listed.next_continuation_token;
            let more = token.is_some();
            // A page may be full of objects that lie beside the folders.
            if !folders.is_empty() || !more {
                return Ok(FolderPage { folders, more });
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        checked("delete", key)?;
        match self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => match failed("delete", key, error) {
                error if error.kind == StoreErrorKind::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn presign_put(
        &self,
        key: &str,
        size: u64,
        valid_for: Duration,
    ) -> Result<PresignedPut, StoreError> {
        checked("presign", key)?;
        let unable = |e: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::new(StoreErrorKind::Unavailable, "presign", key).because(e)
        };
        let length = i64::try_from(size).map_err(|e| unable(e.into()))?;
        let expiry = PresigningConfig::expires_in(valid_for).map_err(|e| unable(e.into()))?;
        // The length is among the signed headers: the server refuses a body of another size.
        let request = self
            .presigner
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_length(length);
        let signed = request
            .presigned(expiry)
            .await
            .map_err(|e| failed("presign", key, e))?;
        Ok(PresignedPut {
            url: signed.uri().to_owned(),
            headers: signed
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}
