//! Whether a new batch and its uploads may be what they say.

use fleet::api::{NewBatch, NewKey, NewSource, NewUpload, NewUploads};
use fleet::ids::Tenant;

use super::problem::{ApiError, Code};
use crate::config::ApiConfig;
use crate::webhook::TargetError;

/// Characters of a batch's name and of a group.
const LONGEST_NAME: usize = 200;
/// Bytes of a key, S3's limit.
const LONGEST_KEY: usize = 1024;
/// Characters of a photo's file name.
const LONGEST_FILE_NAME: usize = 255;
/// Photos in one call of `POST …/uploads`.
const UPLOADS_AT_A_TIME: usize = 1000;

/// Checks a new batch of `tenant`.
pub(crate) fn batch(config: &ApiConfig, tenant: &Tenant, new: &NewBatch) -> Result<(), ApiError> {
    if let Some(name) = &new.name {
        text("/name", name, LONGEST_NAME)?;
    }
    if let Some(threshold) = new.options.analysis.detection_threshold
        && !(0.0..=1.0).contains(&threshold)
    {
        return Err(invalid(
            "/options/analysis/detection_threshold",
            "must be from 0 to 1",
        ));
    }
    if let Some(webhook) = &new.webhook {
        webhook_url(config, webhook)?;
    }
    match &new.source {
        NewSource::Upload => Ok(()),
        NewSource::Prefix { bucket, prefix } => {
            key("/source/prefix", prefix)?;
            source(config, tenant, bucket, prefix)
        }
        NewSource::Keys { bucket, keys } => {
            if keys.is_empty() {
                return Err(ApiError::field(
                    Code::NoPhotos,
                    "/source/keys",
                    "name at least one photo",
                ));
            }
            photos_fit(config, keys.len() as u64)?;
            for (place, NewKey { key: name, group }) in keys.iter().enumerate() {
                let pointer = || format!("/source/keys/{place}");
                if name.is_empty() {
                    return Err(invalid(pointer(), "a key must not be empty"));
                }
                key_at(pointer, name)?;
                group_at(pointer, group.as_deref())?;
                source(config, tenant, bucket, name)?;
            }
            Ok(())
        }
    }
}

/// Checks photos that are declared for upload.
pub(crate) fn uploads(config: &ApiConfig, new: &NewUploads) -> Result<(), ApiError> {
    if new.photos.is_empty() || new.photos.len() > UPLOADS_AT_A_TIME {
        let message = format!("declare 1 to {UPLOADS_AT_A_TIME} photos at a time");
        return Err(invalid("/photos", message));
    }
    let mut indices = std::collections::BTreeSet::new();
    for (place, photo) in new.photos.iter().enumerate() {
        upload(config, place, photo)?;
        if !indices.insert(photo.index) {
            let message = format!("{} is there twice", photo.index);
            return Err(invalid(format!("/photos/{place}/index"), message));
        }
    }
    Ok(())
}

fn upload(config: &ApiConfig, place: usize, photo: &NewUpload) -> Result<(), ApiError> {
    photos_fit(config, photo.index.saturating_add(1))?;
    let at = |field: &str| format!("/photos/{place}/{field}");
    if photo.name.is_empty() {
        return Err(invalid(at("name"), "must not be empty"));
    }
    text(&at("name"), &photo.name, LONGEST_FILE_NAME)?;
    group_at(|| at("group"), photo.group.as_deref())?;
    let most = config.limits.bytes_per_photo;
    if photo.size > most {
        let message = format!(
            "{} bytes are more than the {most} that a photo may have",
            photo.size
        );
        return Err(ApiError::field(Code::PhotoTooLarge, at("size"), message));
    }
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !photo.sha256.as_deref().is_none_or(hex) {
        return Err(invalid(at("sha256"), "must be 64 lower-case hexadecimal digits"));
    }
    Ok(())
}

fn photos_fit(config: &ApiConfig, photos: u64) -> Result<(), ApiError> {
    let most = config.coordinator.max_photos;
    if photos <= most {
        return Ok(());
    }
    Err(ApiError::new(
        Code::TooManyPhotos,
        format!("A batch has at most {most} photos, with indices from 0. Make several batches of them."),
    ))
}

/// A bucket that nobody may use and one that does not exist get the same answer.
fn source(config: &ApiConfig, tenant: &Tenant, bucket: &str, start: &str) -> Result<(), ApiError> {
    if config.may_import(tenant, bucket, start) {
        return Ok(());
    }
    Err(ApiError::new(
        Code::ForbiddenSource,
        format!(
            "`{start}` in the bucket `{bucket}` is not among what `{tenant}` may import. The operator allows it with \
             an `[[api.imports]]`; or upload the photos."
        ),
    ))
}

/// Read as it will be when it is dialled.
fn webhook_url(config: &ApiConfig, webhook: &str) -> Result<(), ApiError> {
    let (code, error) = match config.webhook.target(webhook) {
        Ok(_) => return Ok(()),
        Err(error @ TargetError::UnknownHost { .. }) => (Code::ForbiddenWebhook, error),
        Err(error) => (Code::InvalidBody, error),
    };
    Err(ApiError::field(code, "/webhook", error.to_string()))
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> ApiError {
    ApiError::field(Code::InvalidBody, field, message)
}

fn text(field: &str, text: &str, longest: usize) -> Result<(), ApiError> {
    if text.chars().count() > longest {
        return Err(invalid(field, format!("must have at most {longest} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "must not hold control characters"));
    }
    Ok(())
}

fn group_at(pointer: impl Fn() -> String, group: Option<&str>) -> Result<(), ApiError> {
    group.map_or(Ok(()), |group| text(&pointer(), group, LONGEST_NAME))
}

fn key(field: &str, key: &str) -> Result<(), ApiError> {
    key_at(|| field.to_owned(), key)
}

/// A prefix may end in the middle of a segment; `..` is an ordinary name for S3 and a way out of a folder.
fn key_at(pointer: impl Fn() -> String, key: &str) -> Result<(), ApiError> {
    if key.len() > LONGEST_KEY {
        return Err(invalid(
            pointer(),
            format!("must have at most {LONGEST_KEY} bytes"),
        ));
    }
    if key.chars().any(char::is_control) || key.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(invalid(
            pointer(),
            "must not hold control characters, `.` or `..`",
        ));
    }
    Ok(())
}
